"""The bundle, made of packages and wheels: its layout is that of `bundle`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from edgewise.progress import SILENT, Progress
from edgewise.targets.validation.devices.bundle.archive import set_modes, tree_digest, write_archive
from edgewise.targets.validation.devices.bundle.compiled import PYTHON_OPTIONS, compile_all
from edgewise.targets.validation.devices.bundle.contents import (
    copy_libraries,
    copy_python,
    python_version,
    trim_site,
)
from edgewise.targets.validation.devices.bundle.installation import Bundle
from edgewise.targets.validation.devices.bundle.packages import package_archive, told, unpack
from edgewise.targets.validation.devices.bundle.wheels import (
    Interpreter,
    install_wheels,
    wanted_versions,
)

#: what a release calls its Python, and what that and the wheels are linked with
_PACKAGES = ("libc6", "libgcc-s1", "libpython3-stdlib", "libstdc++6", "python3-minimal", "zlib1g")


def assemble(
    staging: Path, emulation: Sequence[str], *, progress: Progress = SILENT
) -> tuple[Bundle, tuple[str, ...]]:
    """The bundle and its archive in a folder, with remarks on versions for the user.

    `emulation` goes before a command of ARM64 files. Raises DeviceError.
    """
    root, system = staging / "bundle", staging / "system"
    glibc = _download_system(system, staging, progress)
    python = python_version(system)
    copy_python(system, root)
    wanted = wanted_versions()
    found = install_wheels(wanted, Interpreter(python, glibc), root / "site", progress=progress)
    trim_site(root / "site")
    copy_libraries(system, root)
    shutil.rmtree(system)
    set_modes(root)
    progress.step("Compiling the Python files of the bundle")
    interpreter = Bundle(root, root, "", {}).interpreter()
    compile_all(root, python, [*emulation, *interpreter, *PYTHON_OPTIONS])
    runner = resources.files("edgewise.targets.validation.devices").joinpath("runner.py")
    (root / "runner.py").write_bytes(runner.read_bytes())
    versions = {**found, "python": ".".join(map(str, python)), "libc": ".".join(map(str, glibc))}
    set_modes(root)
    digest = tree_digest(root)
    described = {"digest": digest, "versions": dict(sorted(versions.items()))}
    (root / "bundle.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    set_modes(root)
    progress.step("Packing the bundle for devices")
    archive = staging / "bundle.tar.gz"
    write_archive(root, archive)
    notes = tuple(
        f"{name} {found[name]}: there is no ARM64 wheel of {version} for Python "
        f"{versions['python']}, the one of this machine's release"
        for name, version in wanted.items()
        if found[name] != version
    )
    return Bundle(root, archive, digest, versions), notes


def _download_system(system: Path, staging: Path, progress: Progress) -> tuple[int, int]:
    """Unpack the packages; the version of their C library."""
    with package_archive("arm64", staging, progress=progress) as archive:
        packages = archive.with_dependencies(_PACKAGES)
        progress.step(f"Downloading ARM64 Python: {told(packages)}")
        files = archive.download([package.name for package in packages], staging / "packages")
    for file in progress.track(files, "Unpacking packages", len(files)):
        unpack(file, system)
    shutil.rmtree(staging / "packages")
    major, minor = next(package.release for package in packages if package.name == "libc6")[:2]
    return major, minor
