"""What `edgewise emulator install` left in the cache: the bundle, QEMU and the counter."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any

from edgewise.errors import DeviceError
from edgewise.files import staged
from edgewise.targets.validation.devices.address import EMULATED_CPUS

#: names another folder for the cache
CACHE_VARIABLE = "EDGEWISE_CACHE"
RECORD_NAME = "emulator.json"
LOADER = "ld-linux-aarch64.so.1"
#: one line, and nothing in it that a shell on the way would have to be told of
_BOOTSTRAP = (
    "import sys; n = int(sys.stdin.buffer.readline()); "
    "exec(compile(sys.stdin.buffer.read(n), 'edgewise-runner', 'exec'), {'__name__': '__main__'})"
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """An assembled bundle on this machine. `digest` is that of its files."""

    root: Path
    archive: Path  # the same as .tar.gz, to be pushed to devices
    digest: str
    versions: Mapping[str, str]

    def interpreter(self, root: PurePosixPath | Path | None = None) -> list[str]:
        """The command of its Python without options, where the bundle lies at `root`."""
        at = self.root if root is None else root
        return [
            str(at / "lib" / LOADER),
            "--library-path",
            str(at / "lib"),
            str(at / "bin" / "python3"),
        ]

    def python(self, root: PurePosixPath | Path | None = None) -> list[str]:
        """The command of its Python, apart from all that the machine has for another."""
        return [*self.interpreter(root), "-I", "-S", "-B"]

    def runner(self, root: PurePosixPath | Path | None = None) -> list[str]:
        """The command that reads a runner from standard input (`runner_source`) and becomes it."""
        at = self.root if root is None else root
        return [*self.python(at), "-u", "-c", _BOOTSTRAP, str(at / "site")]


def runner_source() -> bytes:
    """What the bootstrap reads first: this version's runner, whatever is in the bundle."""
    package = resources.files("edgewise.targets.validation.devices")
    source = package.joinpath("runner.py").read_bytes()
    return b"%d\n" % len(source) + source


@dataclass(frozen=True, slots=True)
class Counter:
    """A QEMU that takes plugins, and the plugin that counts instructions."""

    qemu: Path
    plugin: Path


@dataclass(frozen=True, slots=True)
class Installation:
    """`qemu` is None where this machine runs ARM64 code itself; `cpus` are what it can be told."""

    bundle: Bundle
    qemu: Path | None
    qemu_version: str
    #: below it, `<cpu>/proc/cpuinfo` for a QEMU that does not emulate it (before 10)
    qemu_prefix: Path | None = None
    counter: Counter | None = None
    cpus: tuple[str, ...] = EMULATED_CPUS
    notes: tuple[str, ...] = ()  # for the user: versions that are not this machine's


def cache_folder() -> Path:
    """`$EDGEWISE_CACHE`, else `edgewise` in the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "edgewise"


def installed() -> Installation:
    """What is installed. Raises DeviceError where nothing is, or where it is damaged."""
    record = cache_folder() / RECORD_NAME
    try:
        return _read(json.loads(record.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise DeviceError(
            "the ARM64 bundle is not installed",
            why=f"there is no {record}",
            remedy="Run `edgewise emulator install` once; it takes about a minute.",
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeviceError(
            "the record of the ARM64 bundle is damaged",
            where=str(record),
            why=str(error),
            remedy="Run `edgewise emulator install` again.",
        ) from error


def made_for(folder: Path) -> Any:
    """What the installation in a cache folder was made of; None where it does not say."""
    try:
        return json.loads((folder / RECORD_NAME).read_text(encoding="utf-8")).get("made_for")
    except (OSError, ValueError, AttributeError):
        return None


def write_record(folder: Path, installation: Installation, made_of: Mapping[str, Any]) -> None:
    """From now on, this is what is installed."""
    bundle, counter = installation.bundle, installation.counter
    record = {
        "bundle": {
            "root": str(bundle.root),
            "archive": str(bundle.archive),
            "digest": bundle.digest,
            "versions": dict(bundle.versions),
        },
        "qemu": _text(installation.qemu),
        "qemu_version": installation.qemu_version,
        "qemu_prefix": _text(installation.qemu_prefix),
        "counter": counter and {"qemu": str(counter.qemu), "plugin": str(counter.plugin)},
        "cpus": list(installation.cpus),
        "notes": list(installation.notes),
        "made_for": dict(made_of),
    }
    with staged(folder / RECORD_NAME) as path:
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def forget_record(folder: Path) -> None:
    """From now on, nothing is installed."""
    (folder / RECORD_NAME).unlink(missing_ok=True)


def _read(record: Mapping[str, Any]) -> Installation:
    bundle, counter = record["bundle"], record.get("counter")
    found = Installation(
        bundle=Bundle(
            Path(bundle["root"]), Path(bundle["archive"]), bundle["digest"], bundle["versions"]
        ),
        qemu=_path(record["qemu"]),
        qemu_version=record["qemu_version"],
        qemu_prefix=_path(record.get("qemu_prefix")),
        counter=None
        if counter is None
        else Counter(Path(counter["qemu"]), Path(counter["plugin"])),
        cpus=tuple(record.get("cpus", EMULATED_CPUS)),
        notes=tuple(record.get("notes", ())),
    )
    needed = (found.bundle.root, found.bundle.archive, found.qemu)
    for path in needed:
        if path is not None and not path.exists():
            raise ValueError(f"{path} is gone")
    return found


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
