"""Which parts of the target may import which, read from the source and tried in a process."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from edgewise.targets import apple

FOLDER = Path(apple.__file__).parent
PREFIX = "edgewise.targets.apple."
#: what the interpreter has in common with what writes packages
SHARED = {"_coremltools", "flexible.sizes"}
#: what runs packages, or reads their files
RUNNING = {"compare", "mac.session", "session", "shared_weights"}
#: still ONNX: another writer can stand beside the one for Core ML
ONNX_HALF = ("flexible.sizes", "fp16_scales", "legalize", "promises", "scheme")


def _modules() -> dict[str, Path]:
    """Every module of the target, named from its folder."""
    return {
        ".".join(file.relative_to(FOLDER).with_suffix("").parts): file
        for file in FOLDER.rglob("*.py")
    }


def _imports(file: Path) -> set[str]:
    """The modules and packages of the target that a file imports."""
    known, found = _modules(), set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PREFIX[:-1]):
            package = f"{node.module}.".removeprefix(PREFIX)
            names = [package + alias.name for alias in node.names]
            found |= {name if name in known else package[:-1] for name in names}
    return found


def _runs(name: str) -> bool:
    return name.split(".")[0] == "interpreter"


def test_the_interpreter_knows_nothing_of_how_packages_are_written():
    running = {name: _imports(file) for name, file in _modules().items() if _runs(name)}
    outside = {name: {used for used in u if not _runs(used)} for name, u in running.items()}
    assert any(outside.values())
    assert {name: used - SHARED for name, used in outside.items() if used - SHARED} == {}


def test_what_writes_packages_does_not_run_them():
    others = {name: _imports(file) for name, file in _modules().items() if not _runs(name)}
    assert {name for name, used in others.items() if any(map(_runs, used))} == RUNNING


@pytest.mark.parametrize("module", ONNX_HALF)
def test_the_onnx_half_does_without_coremltools(module):
    code = f"import sys, {PREFIX}{module}; sys.exit('coremltools' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
