"""Python files as bytecode, so that the runner starts at once where nothing can be written.

Each `.py` becomes the `.pyc` of its name and is deleted; Python imports such files without a look
at a source. The bytes depend on the Python that writes them and on nothing else: one process in
one order, names without the folder they were in, one seed of its hashes.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from edgewise.errors import DeviceError
from edgewise.targets.validation.devices.bundle.tools import ToolFailed, run_tool

#: not -I, which would ignore the seed of the hashes
PYTHON_OPTIONS = ("-S", "-B", "-s")
_PROGRAM = """
import pathlib, py_compile, sys
root = pathlib.Path(sys.argv[1])
unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
for path in sorted(root.rglob("*.py")):
    if path.parent == root:
        continue
    name = str(path.relative_to(root))
    try:
        py_compile.compile(
            str(path), str(path) + "c", name, doraise=True, invalidation_mode=unchecked
        )
    except py_compile.PyCompileError:
        continue
    path.unlink()
"""
_MAGIC = "import importlib.util, sys; sys.stdout.write(importlib.util.MAGIC_NUMBER.hex())"


def compile_all(root: Path, python: tuple[int, int], emulated: Sequence[str]) -> None:
    """Compile all below `root` but the files in it.

    Args:
        emulated: the command of the bundle's own Python, used where this machine has none whose
            bytecode is the same. It takes about ten times as long.

    Raises:
        DeviceError: the compiler failed.
    """
    try:
        wanted = run_tool([*emulated, "-c", _MAGIC], folder=root)
        same = (own for own in _pythons(python) if _magic(own, root) == wanted)
        command = next(same, list(emulated))
        seed = {"PYTHONHASHSEED": "0"}
        run_tool([*command, "-c", _PROGRAM, str(root)], environment=seed, folder=root)
    except ToolFailed as error:
        raise DeviceError(
            "the Python of the ARM64 bundle does not run", where=str(root), why=error.reason()
        ) from error


def _pythons(python: tuple[int, int]) -> list[list[str]]:
    """Commands of this machine's Pythons of a version."""
    named = shutil.which("python{}.{}".format(*python))
    own = [sys.executable] if sys.version_info[:2] == python else []
    return [[path, *PYTHON_OPTIONS] for path in [*own, *([named] if named else [])]]


def _magic(command: Sequence[str], folder: Path) -> str:
    try:
        return run_tool([*command, "-c", _MAGIC], folder=folder)
    except ToolFailed:
        return ""
