"""Which files of packages and wheels go into the bundle, and which libraries they are linked with.

What is left out was measured: with all of it gone, the runner loads and runs models of both
runtimes on every emulated core. The folders and modules named here have no use on a device.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from edgewise.errors import DeviceError, InternalError
from edgewise.targets.validation.devices.bundle.elf import AARCH64, read_elf
from edgewise.targets.validation.devices.bundle.installation import LOADER

#: the C library starts it where a thread ends, without being linked with it
_LOADED_AT_RUN_TIME = ("libgcc_s.so.1",)
_PYTHON = re.compile(r"python3\.(\d+)")

#: of the standard library: tests, editors, documentation, installers, screens, servers and packers
_STDLIB_UNUSED = {
    "LICENSE.txt", "__pycache__", "_pyrepl", "config", "curses", "dbm", "dist-packages",
    "distutils", "doctest.py", "ensurepip", "idlelib", "imaplib.py", "lib2to3",
    "mailbox.py", "nntplib.py", "pdb.py", "pydoc.py", "pydoc_data", "smtplib.py",
    "sqlite3", "telnetlib.py", "test", "tkinter", "turtle.py", "turtledemo", "unittest",
    "venv", "wsgiref", "xmlrpc",
}  # fmt: skip
#: extension modules of these, and of what the runner has no use for: databases, TLS, terminals
_EXTENSIONS_UNUSED = re.compile(
    r"_test.*|_ctypes_test|_xx.*|xx.*|_codecs_.*|_crypt|_curses.*|_dbm|_gdbm|_hashlib|_sqlite3|_ssl"
    r"|_tkinter|_uuid|audioop|nis|ossaudiodev|readline"
)
#: of the wheels, as patterns of paths. The accelerator for WebGPU was compiled for cores with
#: atomic instructions of ARMv8.1: where it is found, it ends Cortex-A53 and -A72. The second
#: library of ONNX Runtime is for programs in C; its tools and their like are for build machines.
_SITE_UNUSED = (
    "*.dist-info",
    "*.libs/*.a",
    "bin",
    "ai_edge_litert/aot",
    "ai_edge_litert/libLiteRtWebGpuAccelerator.so",
    "ai_edge_litert/tools",
    "numpy/_core/*_tests.*",
    "numpy/_core/include",
    "numpy/_core/lib",
    "numpy/_pyinstaller",
    "numpy/core/include",
    "numpy/core/lib",
    "numpy/f2py",
    "numpy/testing",
    "onnxruntime/ThirdPartyNotices.txt",
    "onnxruntime/backend",
    "onnxruntime/capi/libonnxruntime.so*",
    "onnxruntime/datasets",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
)
_SITE_UNUSED_ANYWHERE = ("tests", "*.pyi", "*.h", "*.a", "__pycache__")


def python_version(system: Path) -> tuple[int, int]:
    """The version of the Python among unpacked packages. Raises DeviceError where there is none."""
    for path in sorted((system / "usr/bin").glob("python3.*")):
        if found := _PYTHON.fullmatch(path.name):
            return 3, int(found[1])
    raise DeviceError("the ARM64 packages of this release have no Python", where=str(system))


def copy_python(system: Path, root: Path) -> None:
    """The interpreter and the standard library, without what is not used."""
    name = "python{}.{}".format(*python_version(system))
    (root / "bin").mkdir(parents=True)
    shutil.copyfile(system / "usr/bin" / name, root / "bin" / "python3")
    library = root / "lib" / name
    shutil.copytree(system / "usr/lib" / name, library, ignore=_stdlib_unused)
    extensions = library / "lib-dynload"
    for path in extensions.glob("*.so"):
        if _EXTENSIONS_UNUSED.fullmatch(path.name.partition(".")[0]):
            path.unlink()


def trim_site(site: Path) -> None:
    """Delete what the runner does not use of the wheels."""
    patterns = [*_SITE_UNUSED, *(f"**/{name}" for name in _SITE_UNUSED_ANYWHERE)]
    for path in [found for pattern in patterns for found in site.glob(pattern)]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def copy_libraries(system: Path, root: Path) -> None:
    """What the files of the bundle are linked with, directly or through one another.

    Raises:
        DeviceError: a library is not among the packages, or a file is not for ARM64.
    """
    available = {path.name: path for path in _shared_objects(system)}
    own = {path.name for path in _shared_objects(root)}
    missing = {LOADER, *_LOADED_AT_RUN_TIME, *_linked(_binaries(root))} - own
    while missing:
        found = {name: available.get(name) for name in missing}
        for name, path in found.items():
            if path is None:
                raise DeviceError(
                    f"no ARM64 package of this release has {name}",
                    why="the bundle's files are linked with it",
                )
            shutil.copyfile(path, root / "lib" / name)
        own |= missing
        missing = _linked(root / "lib" / name for name in found) - own


def _stdlib_unused(folder: str, names: list[str]) -> set[str]:
    unused = _STDLIB_UNUSED if Path(folder).parent.name == "lib" else {"__pycache__"}
    return {
        name
        for name in names
        if name in unused or name.startswith("config-") or _leads_out(Path(folder, name))
    }


def _shared_objects(folder: Path) -> Iterator[Path]:
    found = (path for path in sorted(folder.rglob("*.so*")) if not _leads_out(path))
    return (path for path in found if path.is_file())


def _leads_out(path: Path) -> bool:
    """Whether it is a link to a place of this machine, as that to the settings in /etc is."""
    return path.is_symlink() and path.readlink().is_absolute()


def _binaries(root: Path) -> Iterator[Path]:
    yield root / "bin" / "python3"
    yield from _shared_objects(root)


def _linked(paths: Iterable[Path]) -> set[str]:
    names: set[str] = set()
    for path in paths:
        elf = read_elf(path)
        if elf is None or elf.machine != AARCH64:
            raise InternalError("is no library for ARM64", where=str(path))
        names.update(elf.needed)
    return names
