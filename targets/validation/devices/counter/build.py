"""The counter: a QEMU that takes plugins, and `edgecount.c` compiled for it.

1. What an earlier run made is used as long as it fits: where only the plugin's source changed, the
   plugin is compiled again.
2. A QEMU with plugins on PATH is used, where its header and GLib's are there to compile against.
   QEMU of Debian and Ubuntu has no plugins.
3. Else `qemu-aarch64` is built from the distribution's source package (`qemu_build`).

The folder then holds:

| path | what |
|---|---|
| `qemu-aarch64`, `lib/` | where it was built: the emulator, and the libraries it is linked with |
| `include/` | `qemu-plugin.h` and GLib's headers |
| `edgecount.so` | the plugin |
| `counter.json` | where the emulator is, its version, and digests of the plugin and its source |
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

from edgewise.errors import DeviceError
from edgewise.files import sha256, staged
from edgewise.progress import SILENT, Progress
from edgewise.targets.validation.devices.bundle.installation import Counter
from edgewise.targets.validation.devices.bundle.tools import ToolFailed, run_tool
from edgewise.targets.validation.devices.counter.program import BEGIN, END, EXIT, NOP, program
from edgewise.targets.validation.devices.counter.qemu_build import build_qemu, compiler

#: the oldest version whose plugins count per thread
_OLDEST = 9
_RECORD = "counter.json"
_PLUGIN = "edgecount"
_VERSION = re.compile(r"version (\d+(?:\.\d+)+)")
#: between the marks of the trial: a nop, and `mov` and `svc` of the second mark
_TRIED = {"integer": 1, "other": 2}
_FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden")


@dataclass(frozen=True, slots=True)
class _Made:
    """`counter.json`. `headers` are the compiler's options to find them."""

    qemu: str
    version: str
    headers: tuple[str, ...]
    source: str = ""  # SHA-256 of edgecount.c
    plugin: str = ""  # SHA-256 of edgecount.so


def build_counter(folder: Path, progress: Progress = SILENT) -> Counter:
    """The counter in a folder: what is there already where it fits, else made anew.

    Building QEMU takes three to four minutes of a processor and a download of 45 MB. What is there
    is replaced when all is made, and stays as it is on an error.

    Raises:
        DeviceError: there is no compiler, no source package, or the build failed (its log stays in
            the folder's parent); one line each.
    """
    folder = folder.absolute()
    if re.search(r"[\s:,]", str(folder)):
        raise DeviceError(
            "QEMU cannot be built in a folder whose name has blanks, colons or commas",
            where=str(folder),
            remedy="Name another folder in EDGEWISE_CACHE.",
        )
    source = _source()
    digest = hashlib.sha256(source).hexdigest()
    made = _read(folder)
    if made is not None and made.source == digest and _is_whole(folder, made):
        return _counter(folder, made)
    if made is not None and _version_of(Path(made.qemu)) == made.version:
        progress.step("Compiling the instruction counter")
        return _finished(folder, Path(made.qemu), made.headers, source)
    found = _on_path()
    if found is not None:
        progress.step(f"Compiling the instruction counter for {found[0]}")
        return _finished(folder, *found, source)
    with staged(folder) as part:
        build_qemu(part, folder, progress)
    qemu = folder / "qemu-aarch64"
    headers = tuple(f"-I{folder / 'include' / name}" for name in ("qemu", "glib", "glib-config"))
    _write_record(folder, _Made(str(qemu), _version_of(qemu) or "", headers))  # the long part
    progress.step("Compiling the instruction counter")
    return _finished(folder, qemu, headers, source)


def _finished(folder: Path, qemu: Path, headers: Sequence[str], source: bytes) -> Counter:
    """Compile the plugin, try it, and write the record."""
    folder.mkdir(parents=True, exist_ok=True)
    plugin = folder / f"{_PLUGIN}.so"
    with staged(plugin) as part:
        _compile(source, part, headers)
        _try(qemu, part)
    version = _version_of(qemu)
    assert version is not None  # `_try` ran it
    made = _Made(
        str(qemu), version, tuple(headers), hashlib.sha256(source).hexdigest(), sha256(plugin)
    )
    _write_record(folder, made)
    return _counter(folder, made)


def _write_record(folder: Path, made: _Made) -> None:
    with staged(folder / _RECORD) as part:
        part.write_text(json.dumps(asdict(made), indent=2) + "\n", encoding="utf-8")


def _compile(source: bytes, plugin: Path, headers: Sequence[str]) -> None:
    command = [compiler(), "-x", "c", "-", *_FLAGS, *headers, "-o", str(plugin)]
    try:
        run_tool(command, source=source)
    except ToolFailed as error:
        raise DeviceError(
            "cannot compile the instruction counter",
            where=Path(command[0]).name,
            why=_first_error(error.said),
            remedy="Install the C library's headers: apt-get install build-essential.",
        ) from error


def _try(qemu: Path, plugin: Path) -> None:
    """Count a program that does nothing but a `nop` between the marks."""
    executable = plugin.parent / "program"
    executable.write_bytes(program([*BEGIN, NOP, *END, *EXIT]))
    executable.chmod(0o755)
    try:
        said = run_tool([str(qemu), "-plugin", f"{plugin},fd=1", str(executable)])
        counted = {name: count for name, count in json.loads(said).items() if count}
    except (ToolFailed, ValueError, AttributeError) as error:
        raise DeviceError(
            "QEMU does not take the instruction counter", where=str(qemu), why=str(error)
        ) from error
    if counted != _TRIED:
        raise DeviceError(
            "the instruction counter counts wrong", where=str(qemu), why=f"{counted}, not {_TRIED}"
        )


def _on_path() -> tuple[Path, tuple[str, ...]] | None:
    """A QEMU that takes plugins, with the compiler's options for what it takes to make one."""
    name = shutil.which("qemu-aarch64")
    if name is None or shutil.which("pkg-config") is None:
        return None
    qemu = Path(name).resolve()
    include = qemu.parent.parent / "include"
    version = _version_of(qemu)
    if version is None or int(version.partition(".")[0]) < _OLDEST:
        return None
    if not (include / "qemu-plugin.h").is_file():
        return None
    try:
        if "-plugin" not in run_tool([str(qemu), "-h"]):
            return None
        flags = run_tool(["pkg-config", "--cflags", "glib-2.0"]).split()
    except ToolFailed:
        return None
    return qemu, (f"-I{include}", *flags)


def _version_of(qemu: Path) -> str | None:
    """None where it does not run."""
    try:
        found = _VERSION.search(run_tool([str(qemu), "--version"]))
    except ToolFailed:
        return None
    return None if found is None else found[1]


def _source() -> bytes:
    package = resources.files("edgewise.targets.validation.devices.counter")
    return package.joinpath(f"{_PLUGIN}.c").read_bytes()


def _read(folder: Path) -> _Made | None:
    """None where nothing was made, or not by a version that this one understands."""
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        return _Made(**{**record, "headers": tuple(record["headers"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _is_whole(folder: Path, made: _Made) -> bool:
    plugin = folder / f"{_PLUGIN}.so"
    if not plugin.is_file() or sha256(plugin) != made.plugin:
        return False
    return _version_of(Path(made.qemu)) == made.version


def _counter(folder: Path, made: _Made) -> Counter:
    return Counter(Path(made.qemu), folder / f"{_PLUGIN}.so")


def _first_error(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line), lines[-1] if lines else "")
