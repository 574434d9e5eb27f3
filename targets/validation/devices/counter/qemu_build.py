"""`qemu-aarch64` with plugins, built from the source package of this machine's distribution.

The source of the newest QEMU that the release or its backports have, GLib's headers and libraries
(unpacked, not installed), and Meson and Ninja from the Python index come into a folder that is
deleted in the end. Only the emulator of ARM64 programs is built. The archive's signature vouches
for the source; the distribution's patches to it concern other parts.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from edgewise.errors import DeviceError
from edgewise.progress import SILENT, Progress
from edgewise.targets.validation.devices.bundle.elf import read_elf
from edgewise.targets.validation.devices.bundle.packages import (
    PackageArchive,
    own_suites,
    package_archive,
    release_names,
    unpack,
)
from edgewise.targets.validation.devices.bundle.qemu import host_architecture
from edgewise.targets.validation.devices.bundle.tools import ToolFailed, run_tool

#: of the source package: the first that this builder was tried with
_OLDEST = 10
_COMPONENTS = ("main", "universe")
#: it is compiled against GLib and zlib; names of their libraries differ between releases
_HEADERS = ("libglib2.0-dev", "zlib1g-dev")
_LIBRARY = re.compile(r"\b(?:lib(?!c6|c-dev)[a-z0-9.+-]+|zlib1g[a-z0-9-]*)")
_LINKED_DEPTH = 3  # libglib2.0-dev -> libpcre2-dev -> libpcre2-8-0
#: Meson drives the build, and QEMU's configure wants the other two to be there
_PYTHON_TOOLS = ("meson>=1.5,<2", "ninja", "distlib", "pycotap", "tomli;python_version<'3.11'")
#: firmware, two thirds of the source, has no part in programs
_NOT_UNPACKED = ("roms",)
_OPTIONS = (
    "--target-list=aarch64-linux-user",
    "--without-default-features",
    "--enable-linux-user",
    "--enable-tcg",
    "--enable-plugins",
    "--disable-system",
    "--disable-tools",
    "--disable-docs",
    "--disable-werror",
    "--disable-install-blobs",
    "--disable-debug-info",
)
_STEP = re.compile(r"\[(\d+)/(\d+)\]")
_PACKAGES_NEEDED = {"cc": "build-essential", "pkg-config": "pkg-config"}
_LOG = "counter-build.log"


def compiler() -> str:
    """The C compiler. Raises DeviceError where there is none."""
    for name in ("gcc", "cc", "clang"):
        found = shutil.which(name)
        if found is not None:
            return found
    raise _missing(["cc"])


def build_qemu(into: Path, final: Path, progress: Progress = SILENT) -> None:
    """Make the folder `into`, which will be moved to `final`. Raises DeviceError."""
    _check_tools()
    into.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix=".qemu-", dir=final.parent) as name:
        work = Path(name)
        root = work / "root"
        tarball = _download(work, root, progress)
        progress.step("Unpacking QEMU's source")
        source = _unpacked(tarball, work / "source")
        progress.step("Downloading Meson and Ninja")
        _install_tools(work / "tools")
        log = work / _LOG
        try:
            _build(source, work, root, final / "lib", log, progress)
        except ToolFailed as error:
            kept = final.parent / _LOG
            shutil.copy(log, kept)
            raise DeviceError(
                "QEMU could not be built",
                where=f"log {kept}",
                why=error.reason(),
                remedy="Install build-essential if it is not, and look into the log.",
            ) from error
        _collect(source, work / "build", root, into)


def _check_tools() -> None:
    missing = [] if shutil.which("pkg-config") else ["pkg-config"]
    if not any(map(shutil.which, ("gcc", "cc", "clang"))):
        missing.insert(0, "cc")
    if missing:
        raise _missing(missing)


def _missing(tools: Sequence[str]) -> DeviceError:
    packages = " ".join(_PACKAGES_NEEDED[tool] for tool in tools)
    names = " and no ".join("C compiler" if tool == "cc" else tool for tool in tools)
    return DeviceError(
        "the instruction counter cannot be built",
        why=f"this machine has no {names}",
        remedy=f"Install it: apt-get install {packages}.",
    )


def _download(work: Path, root: Path, progress: Progress) -> Path:
    """The source as it is packed; headers and libraries are unpacked in `root`."""
    architecture = host_architecture()
    own = own_suites(_COMPONENTS)
    backports = [f"{name}-backports" for name in release_names()]
    newest = "none"
    for suites in (own, [*backports, *own]):
        with package_archive(
            architecture,
            work,
            suites=suites,
            components=_COMPONENTS,
            source_packages=True,
            progress=progress,
        ) as archive:
            (offered,) = archive.show(["qemu-user"])
            if offered.release >= (_OLDEST,):
                progress.step(f"Downloading the source of QEMU {offered.version} (40 MB)")
                (tarball,) = archive.download_source("qemu", work / "source")
                for package in archive.download(_linked(archive), work / "packages"):
                    unpack(package, root)
                return tarball
            newest = offered.version
    raise DeviceError(
        f"the instruction counter needs the source of QEMU {_OLDEST} or newer",
        why=f"the newest in apt's archive is {newest}",
        remedy="Put a QEMU that was built with plugins on PATH, or use Debian 12 or newer.",
    )


def _linked(archive: PackageArchive) -> list[str]:
    """The packages with headers, and the libraries that they need."""
    names = dict.fromkeys(_HEADERS)
    for _ in range(_LINKED_DEPTH):
        needed = " ".join(package.depends for package in archive.show(names))
        names |= dict.fromkeys(name for name in _LIBRARY.findall(needed) if "-bin" not in name)
    return list(names)


def _unpacked(tarball: Path, into: Path) -> Path:
    with tarfile.open(tarball) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # none before Python 3.11.4
        for member in tar:
            parts = Path(member.name).parts
            if parts[1:2] != _NOT_UNPACKED:
                tar.extract(member, into)
    (folder,) = (path for path in into.iterdir() if path.is_dir())
    return folder


def _install_tools(into: Path) -> None:
    if importlib.util.find_spec("pip") is not None:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    elif (uv := shutil.which("uv")) is not None:
        command = [uv, "pip", "install", "-q", "--python", sys.executable]
    else:
        raise DeviceError(
            "cannot download Meson and Ninja",
            where=sys.executable,
            why="this Python has neither pip nor uv",
            remedy="Install pip in it (`python -m ensurepip`).",
        )
    try:
        run_tool([*command, "--target", str(into), *_PYTHON_TOOLS])
    except ToolFailed as error:
        raise DeviceError(
            "cannot download Meson and Ninja",
            why=error.reason(),
            remedy="Check the network, and the package index of pip.",
        ) from error


def _build(
    source: Path, work: Path, root: Path, libraries: Path, log: Path, progress: Progress
) -> None:
    """Configure, and run Ninja. Raises ToolFailed."""
    build, tools = work / "build", work / "tools"
    build.mkdir()
    (pkg_config,) = root.glob("usr/lib/*/pkgconfig")
    environment = {
        "PATH": f"{tools / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PKG_CONFIG_LIBDIR": str(pkg_config),
        "PKG_CONFIG_SYSROOT_DIR": str(root),
        "PYTHONPATH": str(tools),
    }
    linking = f"--extra-ldflags=-s -L{pkg_config.parent} -Wl,-rpath,{libraries}"
    progress.step("Configuring QEMU")
    command = [
        str(source / "configure"),
        *_OPTIONS,
        f"--cc={compiler()}",
        f"--python={sys.executable}",
        linking,
    ]
    for _ in _lines(command, build, environment, log):
        pass
    ninja = [str(tools / "bin" / "ninja"), "qemu-aarch64"]
    steps = _steps(_lines(ninja, build, environment, log))
    total = next(steps)
    for _ in progress.track(steps, "Building QEMU", total):
        pass


def _steps(lines: Iterator[str]) -> Iterator[int]:
    """How many steps there are, then each as it is done."""
    first = True
    for line in lines:
        found = _STEP.match(line)
        if found is not None:
            if first:
                yield int(found[2])
            first = False
            yield int(found[1])


def _lines(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
) -> Iterator[str]:
    """What a command says, which is added to the log as well. Raises ToolFailed."""
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C.UTF-8", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                file.write(line)
                yield line
        except BaseException:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise ToolFailed(command, process.returncode, log.read_text(encoding="utf-8"))


def _collect(source: Path, build: Path, root: Path, into: Path) -> None:
    """What is kept: the emulator, its libraries, and what a plugin is compiled against."""
    qemu = into / "qemu-aarch64"
    shutil.copy2(build / qemu.name, qemu)
    _copy_libraries(qemu, root, into / "lib")
    headers = into / "include"
    (headers / "qemu").mkdir(parents=True)
    shutil.copy(source / "include" / "qemu" / "qemu-plugin.h", headers / "qemu")
    (config,) = root.glob("usr/lib/*/glib-2.0/include")
    shutil.copytree(root / "usr" / "include" / "glib-2.0", headers / "glib")
    shutil.copytree(config, headers / "glib-config")


def _copy_libraries(file: Path, root: Path, into: Path) -> None:
    """Those that a file is linked with and that `root` has; others are the C library's."""
    into.mkdir(exist_ok=True)
    linked = read_elf(file)
    for name in () if linked is None else linked.needed:
        found = next(root.rglob(name), None)
        if found is not None and not (into / name).exists():
            shutil.copy(found, into / name)
            _copy_libraries(into / name, root, into)
