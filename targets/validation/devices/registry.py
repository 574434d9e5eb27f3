"""Names that the user gave to devices, in `devices.toml`.

The file lies in `$EDGEWISE_CONFIG`, or in `edgewise` of the user's folder for configuration:

    [pi]
    address = "ssh://pi@board:22"
    threads = 4  # threads while latency is measured there
    benchmark_model = "/home/me/benchmark_model"  # of a phone: the vendor's tool, on this machine

It is rewritten as a whole, under a lock, so that comments in it are not kept: `add` and `remove`
tell whether there were any. `resolve` is the one place where a name becomes an address.
"""

from __future__ import annotations

import difflib
import fcntl
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgewise.errors import DeviceError, UsageError
from edgewise.files import staged
from edgewise.targets.base import LOCAL
from edgewise.targets.validation.devices.address import EMULATED_CPUS, DeviceAddress

#: names another folder for the configuration
CONFIG_VARIABLE = "EDGEWISE_CONFIG"
FILE_NAME = "devices.toml"
_HEAD = "# Written by `edgewise devices`; comments are not kept when it is written again.\n"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
#: what an address is, or begins with
_KINDS = ("local", "emulated", "ssh", "adb", "mac")


@dataclass(frozen=True, slots=True)
class NamedDevice:
    """A device that the user named. None where a setting was not given."""

    name: str
    address: str
    threads: int | None = None
    benchmark_model: str | None = None


@dataclass(frozen=True, slots=True)
class ResolvedDevice:
    """What the user wrote, the address behind it, and the settings of a named device."""

    text: str
    address: DeviceAddress
    threads: int | None = None
    benchmark_model: Path | None = None


def resolve(text: str) -> ResolvedDevice:
    """The device that a name or an address means.

    Raises:
        DeviceError: there is no such device; the nearest name is suggested.
        UsageError: the file with the names is damaged.
    """
    if _NAME.fullmatch(text) is None or text in _KINDS:
        return ResolvedDevice(text, DeviceAddress.of(text))
    named = registered()
    if text not in named:
        known = (*named, LOCAL, "adb", "mac", *(f"emulated:{cpu}" for cpu in EMULATED_CPUS))
        raise DeviceError(
            f"there is no device '{text}'{_nearest(text, known)}",
            remedy="`edgewise devices` lists them; `edgewise devices add` gives one a name.",
        )
    device = named[text]
    tool = None if device.benchmark_model is None else Path(device.benchmark_model)
    return ResolvedDevice(text, DeviceAddress.of(device.address), device.threads, tool)


def registered() -> dict[str, NamedDevice]:
    """The named devices, by name. Raises UsageError where the file is damaged."""
    path = registry_path()
    try:
        content = path.read_text(encoding="utf-8")
        return _devices(tomllib.loads(content))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, DeviceError) as error:  # TOML and UTF-8 errors are ValueErrors
        raise UsageError(
            "the list of devices is damaged",
            where=str(path),
            why=error.what if isinstance(error, DeviceError) else str(error),
            remedy="Correct it, or delete it and name the devices again.",
        ) from error


def add(device: NamedDevice) -> bool:
    """Keep a device; gives whether comments of the file were lost.

    Raises UsageError for a name that is taken or cannot be one, DeviceError for an address that is
    none.
    """
    with _locked():
        check_new(device)
        return _write({**registered(), device.name: device})


def remove(name: str) -> bool:
    """Forget a device; gives whether comments of the file were lost. Raises UsageError."""
    with _locked():
        named_device(name)
        return _write({key: value for key, value in registered().items() if key != name})


def named_device(name: str) -> NamedDevice:
    """Raises UsageError where no device has the name."""
    devices = registered()
    if name not in devices:
        raise UsageError(
            f"no device is named '{name}'{_nearest(name, devices)}",
            remedy="`edgewise devices` lists the names.",
        )
    return devices[name]


def check_name(name: str) -> None:
    """Raises UsageError for what cannot be a name."""
    if name in _KINDS:
        raise UsageError(
            f"a device cannot be named '{name}'",
            why="that is an address of its own",
            remedy="Choose another name.",
        )
    if _NAME.fullmatch(name) is None:
        raise UsageError(
            f"a device cannot be named '{name}'",
            why="names have letters, digits, '-' and '_', and begin with a letter or digit",
        )


def check_new(device: NamedDevice) -> None:
    """Raises UsageError for a name that is taken, and as `check` does."""
    check(device)
    earlier = registered().get(device.name)
    if earlier is not None:
        raise UsageError(
            f"there is a device '{device.name}' already",
            why=f"it is {earlier.address}",
            remedy=f"Choose another name, or `edgewise devices remove {device.name}` first.",
        )


def check(device: NamedDevice) -> None:
    """Raises UsageError for what cannot be kept, DeviceError for an address that is none."""
    check_name(device.name)
    for value in (device.address, device.benchmark_model or ""):
        if not value.isprintable():
            raise UsageError("holds what cannot be written to a text file", where=repr(value))
    kind = DeviceAddress.of(device.address).kind
    if kind == "local":
        raise UsageError("this machine needs no name", where=device.name, remedy="It is 'local'.")
    if device.benchmark_model is not None and kind != "adb":
        raise UsageError(
            "benchmark_model is for phones only",
            why=f"{device.address} is none",
            remedy="Name the device without it.",
        )
    if device.threads is not None and device.threads < 1:
        raise UsageError(
            f"found {device.threads}; allowed: a whole number of at least 1", where="threads"
        )


def registry_path() -> Path:
    """`devices.toml` in `$EDGEWISE_CONFIG`, else in the user's folder for configuration."""
    chosen = os.environ.get(CONFIG_VARIABLE)
    if chosen:
        return Path(chosen).absolute() / FILE_NAME
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "edgewise" / FILE_NAME


def _devices(content: Mapping[str, Any]) -> dict[str, NamedDevice]:
    """Raises ValueError or DeviceError for what is no list of devices."""
    devices = {}
    types = {"address": str, "threads": int, "benchmark_model": str}
    for name, table in content.items():
        if not isinstance(table, dict):
            raise ValueError(f"'{name}' is no table")
        for key, value in table.items():
            if key not in types:
                raise ValueError(f"[{name}] has the unknown key '{key}'{_nearest(key, types)}")
            if type(value) is not types[key]:
                raise ValueError(f"[{name}] {key} is {value!r}")
        if "address" not in table:
            raise ValueError(f"[{name}] has no address")
        devices[name] = NamedDevice(name, **table)
        try:
            check(devices[name])
        except UsageError as error:
            raise ValueError(str(error)) from None
    return devices


def _write(devices: Mapping[str, NamedDevice]) -> bool:
    path = registry_path()
    path = path.resolve() if path.is_symlink() else path  # a link into the user's own files stays
    older = path.read_text(encoding="utf-8") if path.is_file() else ""
    with staged(path) as temporary:
        temporary.write_text(_HEAD + "".join(map(_table, devices.values())), encoding="utf-8")
    return any(line.lstrip().startswith("#") for line in older.removeprefix(_HEAD).splitlines())


def _table(device: NamedDevice) -> str:
    # a printable JSON string is a TOML string of the same content
    lines = [
        f"{key} = {json.dumps(value, ensure_ascii=False)}"
        for key, value in asdict(device).items()
        if key != "name" and value is not None
    ]
    return f"\n[{device.name}]\n" + "\n".join(lines) + "\n"


@contextmanager
def _locked() -> Iterator[None]:
    """One writer at a time, over processes. Raises UsageError where nothing can be written."""
    path = registry_path().with_suffix(".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise UsageError(
            "cannot write the list of devices",
            where=str(path.parent),
            why=error.strerror or str(error),
            remedy=f"Name another folder in {CONFIG_VARIABLE}, or change its permissions.",
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _nearest(name: str, known: Iterable[str]) -> str:
    match = difflib.get_close_matches(name, list(known), n=1)
    return f": did you mean '{match[0]}'?" if match else ""
