"""`edgewise emulator install`: the bundle, a QEMU where this machine needs one, and the counter.

All is made in a folder beside its place, tried, and moved there; the record (`installation`) is
written last, so that an installation is whole or not there. One process at a time installs.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgewise.errors import DeviceError
from edgewise.progress import SILENT, Progress
from edgewise.targets.validation.devices.address import EMULATED_CPUS
from edgewise.targets.validation.devices.bundle.assembly import assemble
from edgewise.targets.validation.devices.bundle.cpuinfo import write_cpuinfo
from edgewise.targets.validation.devices.bundle.installation import (
    Bundle,
    Installation,
    cache_folder,
    forget_record,
    installed,
    made_for,
    write_record,
)
from edgewise.targets.validation.devices.bundle.packages import release_names
from edgewise.targets.validation.devices.bundle.qemu import (
    Qemu,
    download_qemu,
    host_architecture,
    qemu_on_path,
)
from edgewise.targets.validation.devices.bundle.tools import ToolFailed, run_tool
from edgewise.targets.validation.devices.bundle.wheels import wanted_versions
from edgewise.targets.validation.devices.counter.build import build_counter

#: of what is in a bundle and where; another number installs again
_FORMAT = 1
_SPACE_NEEDED = 900_000_000  # bytes, most of them only meanwhile
_STAGING = ".install-"
_OURS = ("bundle-*", "qemu-*", "counter*", f"{_STAGING}*")
_NATIVE = "native"
_TRIAL = """
import sys
sys.path.append(sys.argv[1])
import numpy, onnxruntime, ai_edge_litert
from ai_edge_litert.interpreter import Interpreter
print(ai_edge_litert.__version__, numpy.__version__, onnxruntime.__version__)
"""


@dataclass(frozen=True, slots=True)
class _Emulator:
    """None for both on an ARM64 machine."""

    qemu: Qemu | None
    prefix: Path | None

    def on(self, cpu: str) -> list[str]:
        """What goes before a command of the bundle."""
        if self.qemu is None:
            return []
        place = [] if self.prefix is None else ["-L", str(self.prefix / cpu)]
        return [str(self.qemu.path), "-cpu", cpu, *place]


def install(
    *, counter: bool = False, force: bool = False, progress: Progress = SILENT
) -> tuple[Installation, bool]:
    """Install what is missing or of other versions than this machine's, all with `force`.

    Returns the installation, and whether anything was installed.

    Raises:
        DeviceError: this machine cannot, the network or the space is missing, or a tool failed.
    """
    architecture = host_architecture()
    folder = cache_folder()
    with _told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder, progress):
            for left in folder.glob(f"{_STAGING}*"):  # of a process that was killed
                shutil.rmtree(left)
            wanted = _inputs()
            found = None if force else _current(wanted)
            current = found or _installed_anew(folder, architecture, wanted, progress)
            if counter:
                built = build_counter(folder / "counter", progress)
                if built != current.counter:
                    current, found = replace(current, counter=built), None
                    write_record(folder, current, wanted)
            return current, found is None


def remove() -> int:
    """Delete what was installed; how many bytes that frees. Raises DeviceError."""
    folder = cache_folder()
    if not folder.is_dir():
        return 0
    with _told(folder), _alone(folder, SILENT):
        ours = [path for pattern in _OURS for path in folder.glob(pattern)]
        files = [file for path in ours for file in (path, *path.rglob("*"))]
        freed = sum(file.lstat().st_size for file in files if file.is_file())
        forget_record(folder)
        for path in ours:
            _delete(path)
        return freed


def _inputs() -> dict[str, Any]:
    """What an installation depends on, and can be seen without the network."""
    return {"format": _FORMAT, "release": release_names(), "wheels": wanted_versions()}


def _current(wanted: dict[str, Any]) -> Installation | None:
    try:
        current = installed()
    except DeviceError:
        return None
    return current if made_for(cache_folder()) == wanted else None


def _installed_anew(
    folder: Path, architecture: str, wanted: dict[str, Any], progress: Progress
) -> Installation:
    free = shutil.disk_usage(folder).free
    if free < _SPACE_NEEDED:
        raise DeviceError(
            "no space for the ARM64 bundle",
            where=str(folder),
            why=f"{free / 1e6:.0f} MB are free, {_SPACE_NEEDED / 1e6:.0f} MB are needed meanwhile",
            remedy="Free some space, or name another folder in EDGEWISE_CACHE.",
        )
    with tempfile.TemporaryDirectory(prefix=_STAGING, dir=folder) as name:
        staging = Path(name)
        emulator = _emulator(staging, architecture, progress)
        bundle, notes = assemble(staging, emulator.on(EMULATED_CPUS[0]), progress=progress)
        emulator = _with_cpuinfo(emulator, bundle, staging)
        progress.step("Trying both runtimes under emulation")
        _try(bundle, emulator)
        try:
            counter = installed().counter
        except DeviceError:
            counter = None
        current = _moved(folder, staging, bundle, emulator, notes)
        current = replace(current, counter=counter)
        write_record(folder, current, wanted)
        _delete_older(folder, current)
        return current


def _emulator(staging: Path, architecture: str, progress: Progress) -> _Emulator:
    if architecture == "arm64":
        return _Emulator(None, None)
    found = qemu_on_path() or download_qemu(architecture, staging / "qemu", progress=progress)
    return _Emulator(found, None)


def _with_cpuinfo(emulator: _Emulator, bundle: Bundle, staging: Path) -> _Emulator:
    qemu = emulator.qemu
    if qemu is None or qemu.is_recent:
        return emulator
    prefix = staging / "qemu" / "cpu"
    write_cpuinfo(prefix, qemu.cpus, lambda cpu: [*emulator.on(cpu), *bundle.python()])
    return replace(emulator, prefix=prefix)


def _try(bundle: Bundle, emulator: _Emulator) -> None:
    """Raises DeviceError where the runtimes do not load."""
    command = [*emulator.on(EMULATED_CPUS[0]), *bundle.python()]
    try:
        quiet = {"ORT_DISABLE_TELEMETRY": "1"}  # which would write into the user's home
        trial = [*command, "-c", _TRIAL, str(bundle.root / "site")]
        said = run_tool(trial, environment=quiet).split()
    except ToolFailed as error:
        raise DeviceError(
            "the ARM64 bundle does not run here", why=error.reason(), where=_about(emulator)
        ) from error
    expected = [bundle.versions[name] for name in sorted(wanted_versions())]
    if said != expected:
        raise DeviceError(
            "the ARM64 bundle has other versions than its wheels", why=f"{said}, not {expected}"
        )


def _about(emulator: _Emulator) -> str:
    return "this machine" if emulator.qemu is None else f"QEMU {emulator.qemu.version}"


def _moved(
    folder: Path, staging: Path, bundle: Bundle, emulator: _Emulator, notes: tuple[str, ...]
) -> Installation:
    """Bring all to its place; what is there of the same name is replaced."""
    name = f"bundle-{bundle.digest[:16]}"
    root = _put(bundle.root, folder / name, staging)
    archive = _put(bundle.archive, folder / f"{name}.tar.gz", staging)
    qemu, prefix = emulator.qemu, emulator.prefix
    path = None if qemu is None else qemu.path
    if qemu is not None and qemu.path.is_relative_to(staging):
        place = _put(staging / "qemu", folder / f"qemu-{qemu.version}", staging)
        path = place / qemu.path.name
        prefix = None if prefix is None else place / prefix.name
    return Installation(
        bundle=replace(bundle, root=root, archive=archive),
        qemu=path,
        qemu_version=_NATIVE if qemu is None else qemu.version,
        qemu_prefix=prefix,
        cpus=EMULATED_CPUS if qemu is None else qemu.cpus,
        notes=notes,
    )


def _put(source: Path, place: Path, staging: Path) -> Path:
    if place.exists():
        place.rename(staging / f"replaced-{place.name}")
    source.rename(place)
    return place


def _delete_older(folder: Path, current: Installation) -> None:
    kept = {current.bundle.root, current.bundle.archive}
    if current.qemu is not None:
        kept.add(current.qemu.parent)
    for pattern in _OURS[:2]:
        for path in folder.glob(pattern):
            if path not in kept:
                _delete(path)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


@contextmanager
def _alone(folder: Path, progress: Progress) -> Iterator[None]:
    """No other process installs or removes meanwhile."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.step("Waiting for another process that installs")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Raises DeviceError for what the file system refuses."""
    try:
        yield
    except OSError as error:
        raise DeviceError(
            "cannot write the ARM64 bundle",
            where=error.filename or str(folder),
            why=error.strerror or str(error),
            remedy="Free some space, or name another folder in EDGEWISE_CACHE.",
        ) from error
