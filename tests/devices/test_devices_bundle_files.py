"""What goes into the bundle, and its archive, with ELF files made by hand."""

from __future__ import annotations

import gzip
import os
import struct
import sys
import tarfile
from pathlib import Path

import pytest

from edgewise.errors import DeviceError, InternalError
from edgewise.targets.validation.devices.bundle.archive import (
    set_modes,
    tree_digest,
    write_archive,
)
from edgewise.targets.validation.devices.bundle.compiled import compile_all
from edgewise.targets.validation.devices.bundle.contents import (
    copy_libraries,
    copy_python,
    python_version,
    trim_site,
)
from edgewise.targets.validation.devices.bundle.elf import AARCH64, Elf, read_elf

_LIB = "usr/lib/aarch64-linux-gnu"


def elf_file(path: Path, *needed: str, machine: int = AARCH64) -> Path:
    """A file that is linked with libraries, and has nothing in it but that."""
    headers, names = 64 + 2 * 56, b"\0" + b"".join(name.encode() + b"\0" for name in needed)
    offsets = [names.index(b"\0" + name.encode() + b"\0") + 1 for name in needed]
    strings = headers + 16 * (len(needed) + 2)
    entries = [(1, offset) for offset in offsets] + [(5, strings), (0, 0)]
    dynamic = b"".join(struct.pack("<qQ", *entry) for entry in entries)
    size = strings + len(names)
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 3, machine, 1, 0, 64, 0, 0,
                         64, 56, 2, 0, 0, 0)  # fmt: skip
    segments = struct.pack("<IIQQQQQQ", 1, 4, 0, 0, 0, size, size, 1)
    segments += struct.pack("<IIQQQQQQ", 2, 4, headers, headers, 0, len(dynamic), len(dynamic), 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + segments + dynamic + names)
    return path


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """Unpacked packages with a Python in them."""
    root = tmp_path / "system"
    elf_file(root / "usr/bin/python3.12", "libm.so.6", "libz.so.1")
    (root / "usr/bin/python3").symlink_to("python3.12")
    library = root / "usr/lib/python3.12"
    for name in ("os.py", "json/__init__.py", "json/test.py", "test/a.py", "turtle.py"):
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_text("x = 1\n")
    (library / "sitecustomize.py").symlink_to("/etc/hostname")
    elf_file(library / "lib-dynload/_ctypes.cpython-312-aarch64-linux-gnu.so", "libffi.so.8")
    elf_file(library / "lib-dynload/_sqlite3.cpython-312-aarch64-linux-gnu.so", "libsqlite3.so.0")
    elf_file(root / _LIB / "libz.so.1.3", "libc.so.6")
    (root / _LIB / "libz.so.1").symlink_to("libz.so.1.3")
    for name in ("libc.so.6", "libffi.so.8", "libm.so.6", "libgcc_s.so.1", "libsqlite3.so.0"):
        elf_file(root / _LIB / name, "ld-linux-aarch64.so.1")
    elf_file(root / _LIB / "ld-linux-aarch64.so.1")
    return root


def test_elf_files_tell_their_libraries(tmp_path: Path) -> None:
    assert read_elf(elf_file(tmp_path / "a", "libm.so.6", "libc.so.6")) == Elf(
        AARCH64, ("libm.so.6", "libc.so.6"), True
    )
    own = read_elf(Path(sys.executable).resolve())
    assert own is not None and not own.is_static
    assert any(name.startswith("libc.so") for name in own.needed)


def test_other_files_are_no_elf_files(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("#!/bin/sh\n")
    assert read_elf(path) is None
    path.write_bytes(elf_file(tmp_path / "a", "libm.so.6").read_bytes()[:100])
    with pytest.raises(ValueError, match="text is cut off"):
        read_elf(path)


def test_the_python_of_the_packages_without_what_is_not_used(system: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert python_version(system) == (3, 12)
    copy_python(system, root)
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert files == {
        "bin/python3",
        "lib/python3.12/os.py",
        "lib/python3.12/json/__init__.py",
        "lib/python3.12/json/test.py",
        "lib/python3.12/lib-dynload/_ctypes.cpython-312-aarch64-linux-gnu.so",
    }


def test_libraries_are_those_that_files_are_linked_with(system: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    copy_python(system, root)
    elf_file(root / "site/numpy/a.so", "libblas-1.so", "libm.so.6")
    elf_file(root / "site/numpy.libs/libblas-1.so", "libc.so.6")
    copy_libraries(system, root)
    assert sorted(path.name for path in (root / "lib").glob("*.so*")) == [
        "ld-linux-aarch64.so.1", "libc.so.6", "libffi.so.8", "libgcc_s.so.1", "libm.so.6",
        "libz.so.1",
    ]  # fmt: skip
    assert not any(path.is_symlink() for path in root.rglob("*"))


def test_a_library_that_no_package_has(system: Path, tmp_path: Path) -> None:
    copy_python(system, tmp_path / "root")
    (system / _LIB / "libffi.so.8").unlink()
    with pytest.raises(DeviceError, match=r"no ARM64 package of this release has libffi\.so\.8"):
        copy_libraries(system, tmp_path / "root")


def test_a_library_of_another_machine(system: Path, tmp_path: Path) -> None:
    copy_python(system, tmp_path / "root")
    elf_file(tmp_path / "root/site/numpy/a.so", machine=62)
    with pytest.raises(InternalError, match=r"a\.so: is no library for ARM64"):
        copy_libraries(system, tmp_path / "root")


def test_wheels_are_trimmed(tmp_path: Path) -> None:
    kept = {"numpy/__init__.py", "onnxruntime/capi/onnxruntime_pybind11_state.so"}
    dropped = (
        "ai_edge_litert/libLiteRtWebGpuAccelerator.so", "bin/f2py", "numpy/_core/a.pyi",
        "numpy/linalg/tests/test_linalg.py", "numpy-2.0.dist-info/METADATA",
        "onnxruntime/capi/libonnxruntime.so.1.32.0", "onnxruntime/tools/a/b.py",
    )  # fmt: skip
    for name in (*kept, *dropped):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    trim_site(tmp_path)
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()} == kept


def test_python_files_become_bytecode_of_the_same_bytes(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-B"]
    contents = []
    for name in ("one", "another"):
        root = tmp_path / name
        (root / "lib").mkdir(parents=True)
        (root / "lib" / "a.py").write_text("NAMES = {'a', 'b', 'c'}\ndef f(x): return x in NAMES\n")
        (root / "lib" / "template.py").write_text("def {{ name }}(:\n")
        (root / "runner.py").write_text("import json\n")
        compile_all(root, sys.version_info[:2], command)
        files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.*"))
        assert files == ["lib/a.pyc", "lib/template.py", "runner.py"]
        contents.append((root / "lib" / "a.pyc").read_bytes())
    assert contents[0] == contents[1]
    assert contents[0][4:8] == b"\x01\0\0\0"  # by a hash of the source, which nobody checks


def test_a_bundle_that_does_not_run(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="the Python of the ARM64 bundle does not run"):
        compile_all(tmp_path, (3, 11), [str(tmp_path / "missing")])


def _tree(root: Path) -> Path:
    for name in ("site/b.pyc", "bin/python3", "lib/ld-linux-aarch64.so.1", "lib/a.so"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    set_modes(root)
    return root


def test_archives_of_the_same_files_are_the_same(tmp_path: Path) -> None:
    one, other = _tree(tmp_path / "one"), _tree(tmp_path / "other")
    os.utime(other / "lib/a.so", (0, 0))
    assert tree_digest(one) == tree_digest(other)
    for root in (one, other):
        write_archive(root, root.with_suffix(".tar.gz"))
    assert (tmp_path / "one.tar.gz").read_bytes() == (tmp_path / "other.tar.gz").read_bytes()


def test_names_modes_and_contents_are_in_the_digest(tmp_path: Path) -> None:
    root = _tree(tmp_path / "tree")
    digests = [tree_digest(root)]
    (root / "lib/a.so").chmod(0o755)
    digests.append(tree_digest(root))
    (root / "lib/a.so").write_text("other")
    digests.append(tree_digest(root))
    (root / "lib/a.so").rename(root / "lib/b.so")
    digests.append(tree_digest(root))
    assert len(set(digests)) == len(digests)


def test_files_of_an_archive_lie_at_its_top(tmp_path: Path) -> None:
    root, archive = _tree(tmp_path / "tree"), tmp_path / "a.tar.gz"
    write_archive(root, archive)
    with gzip.open(archive) as packed, tarfile.open(fileobj=packed) as tar:
        members = {member.name: member for member in tar}
    assert sorted(members) == [
        "bin", "bin/python3", "lib", "lib/a.so", "lib/ld-linux-aarch64.so.1", "site", "site/b.pyc",
    ]  # fmt: skip
    assert {name: oct(member.mode) for name, member in members.items() if member.isfile()} == {
        "bin/python3": "0o755",
        "lib/a.so": "0o644",
        "lib/ld-linux-aarch64.so.1": "0o755",
        "site/b.pyc": "0o644",
    }
    assert {(member.uid, member.gid, member.mtime) for member in members.values()} == {(0, 0, 0)}
