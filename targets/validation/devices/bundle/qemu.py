"""QEMU's user mode for ARM64: found on this machine, or out of a package of its distribution.

1. An ARM64 machine needs none.
2. One on PATH of version 10 or newer is used as it is.
3. Else the package of the distribution or of its backports that holds it without a loader, if it is
   10 or newer: one file of it is kept.
4. Else the same of an older version, without the cores that have SVE: on `max` of 7.2, XNNPACK's
   int8 outputs are wrong, and right with `sve=off`. 7.2 shows programs the `/proc/cpuinfo` of this
   machine, on which the library that ONNX Runtime asks for the processor ends with a fault:
   programs are shown one file per core instead, below the folder that `-L` names.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from edgewise.errors import DeviceError
from edgewise.progress import SILENT, Progress
from edgewise.targets.validation.devices.address import EMULATED_CPUS
from edgewise.targets.validation.devices.bundle.packages import (
    Package,
    PackageArchive,
    own_suites,
    package_archive,
    told,
)
from edgewise.targets.validation.devices.bundle.tools import ToolFailed, run_tool

NEWEST_NEEDED = 10
_NAMES = ("qemu-aarch64", "qemu-aarch64-static")
_PACKAGES = ("qemu-user", "qemu-user-static")
_COMPONENTS = ("main", "universe")
_WITH_SVE = ("neoverse-v1", "max")
_VERSION = re.compile(r"version (\d+(?:\.\d+)+)")
_SMALLEST = 10_000_000  # bytes: a package with it, not one that only leads to another
_ARCHITECTURES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True)
class Qemu:
    """`cpus` are those of ours that it knows."""

    path: Path
    version: str
    cpus: tuple[str, ...]

    @property
    def is_recent(self) -> bool:
        """Whether it is right on every core, and programs see that core in /proc/cpuinfo."""
        return int(self.version.partition(".")[0]) >= NEWEST_NEEDED


def host_architecture() -> str:
    """This machine's, as Debian names it. Raises DeviceError where nothing is known for it."""
    machine = platform.machine()
    if platform.system() != "Linux" or machine not in _ARCHITECTURES:
        raise DeviceError(
            "the ARM64 bundle cannot be installed on this machine",
            why=f"it takes Linux on x86-64 or ARM64, and this is {platform.system()} on {machine}",
            remedy="Use a container of Debian or Ubuntu.",
        )
    return _ARCHITECTURES[machine]


def qemu_on_path() -> Qemu | None:
    """The first on PATH that is new enough."""
    for name in _NAMES:
        found = shutil.which(name)
        if found is not None:
            qemu = _probed(Path(found))
            if qemu is not None and qemu.is_recent:
                return qemu
    return None


def download_qemu(architecture: str, folder: Path, *, progress: Progress = SILENT) -> Qemu:
    """The newest of the distribution and its backports, as `qemu-aarch64` in a folder.

    Raises:
        DeviceError: there is none that runs on its own, or the archive cannot be reached.
    """
    own = own_suites(_COMPONENTS)
    with suppress(DeviceError):  # most releases have no backports, or none of it
        found = _downloaded([_backports(own)], NEWEST_NEEDED, architecture, folder, progress)
        if found is not None:
            return found
    found = _downloaded(own, 0, architecture, folder, progress)
    if found is None:
        raise DeviceError(
            "the archive of this machine's release has no QEMU that runs on its own",
            remedy=f"Install qemu-user {NEWEST_NEEDED} or newer.",
        )
    return found


def _downloaded(
    suites: Sequence[str], least: int, architecture: str, folder: Path, progress: Progress
) -> Qemu | None:
    """None where the suites have none of such a version. Raises DeviceError."""
    with package_archive(
        architecture, folder, suites=suites, components=_COMPONENTS, progress=progress
    ) as archive:
        package = _standalone(archive)
        if package is None or package.release < (least,):
            return None
        progress.step(f"Downloading QEMU {_dotted(package)}: {told([package])}")
        (file,) = archive.download([package.name], folder)
        return _taken_out(file, folder)


def _backports(suites: Sequence[str]) -> str:
    return f"{min(suites, key=len)}-backports"


def _standalone(archive: PackageArchive) -> Package | None:
    """The package with a QEMU that needs no library. Releases differ in which of them it is."""
    for name in _PACKAGES:
        with suppress(DeviceError):
            (package,) = archive.show([name])
            is_linked = re.search(r"\blibc6\b", package.depends) is not None
            if not is_linked and package.installed_size >= _SMALLEST:
                return package
    return None


def _dotted(package: Package) -> str:
    return ".".join(map(str, package.release))


def _taken_out(package: Path, folder: Path) -> Qemu:
    """Keep the one file of a package that is wanted, and delete the package."""
    path = folder / _NAMES[0]
    command = ["dpkg-deb", "--fsys-tarfile", str(package)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
                for member in tar:
                    content = tar.extractfile(member) if _is_qemu(member) else None
                    if content is not None:
                        with path.open("wb") as file:
                            shutil.copyfileobj(content, file)
                        break
        finally:
            process.kill()  # the rest of the package is not wanted
    package.unlink()
    path.chmod(0o755)
    qemu = _probed(path)
    if qemu is None:
        raise DeviceError("the QEMU of this machine's release does not run", where=package.name)
    return qemu


def _is_qemu(member: tarfile.TarInfo) -> bool:
    return member.isfile() and Path(member.name).name in _NAMES


def _probed(path: Path) -> Qemu | None:
    """None for what is no QEMU, or does not run."""
    try:
        version = _VERSION.search(run_tool([str(path), "--version"]))
    except ToolFailed:
        return None
    if version is None:
        return None
    known = _help(path).split()
    qemu = Qemu(path, version[1], tuple(cpu for cpu in EMULATED_CPUS if cpu in known))
    if qemu.is_recent:
        return qemu
    return replace(qemu, cpus=tuple(cpu for cpu in qemu.cpus if cpu not in _WITH_SVE))


def _help(path: Path) -> str:
    """The cores that a QEMU lists. Listing them is an error to some versions."""
    try:
        return run_tool([str(path), "-cpu", "help"])
    except ToolFailed as error:
        return error.said
