"""What ships: every package is listed, every editor link is right, no generic top-level name."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
FOLDERS: dict[str, str] = SETUP["package-dir"]


def shipped_modules() -> dict[str, Path]:
    """Import name -> file, for every module below the mapped folders; links are not followed."""
    found: dict[str, Path] = {}
    for package, folder in FOLDERS.items():
        base = ROOT / folder
        for where, _, names in os.walk(base):
            for file in (Path(where, name) for name in names if name.endswith(".py")):
                parts = file.relative_to(base).with_suffix("").parts
                found[".".join((package, *(p for p in parts if p != "__init__")))] = file
    return found


def imported_names(file: Path) -> set[str]:
    """Absolute names that the module imports, wherever in the file the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: imports are absolute"
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def top_level_imports(file: Path) -> set[str]:
    """As above, without what is imported inside functions: those run after every module exists."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [ast.Pass()]
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def layer(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else ""


def test_every_package_is_listed() -> None:
    packages = {
        name if file.name == "__init__.py" else name.rpartition(".")[0]
        for name, file in shipped_modules().items()
    }
    assert sorted(packages) == sorted(SETUP["packages"])


@pytest.mark.parametrize("name", [n for n in FOLDERS if n != "edgewise"])
def test_editor_links_agree(name: str) -> None:
    link = ROOT / "src" / name.replace(".", "/")
    assert link.is_symlink()
    assert link.resolve() == ROOT / FOLDERS[name]


def test_nothing_leaks_into_the_top_level() -> None:
    names = [folder for folder in FOLDERS.values() if "/" not in folder]
    code = f"import importlib.util as u; print([n for n in {names} if u.find_spec(n)])"
    run = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stdout + run.stderr


def test_imports_have_no_cycles() -> None:
    known = shipped_modules()
    graph = {
        name: {
            used
            for used in top_level_imports(file) & known.keys() - {name}
            # a package's __init__ gathers its own modules; they may name each other through it
            if not used.startswith(f"{name}.") and not name.startswith(f"{used}.")
        }
        for name, file in known.items()
    }
    TopologicalSorter(graph).prepare()  # CycleError names the cycle


def test_layers_point_one_way() -> None:
    allowed = {
        "exporters": {"exporters", "graph", "data", "errors", "findings", "files", "progress", ""},
        "calibration": {"calibration", "graph", "data", "errors", "findings", "files", "progress"},
        "targets": {
            "targets", "calibration", "graph", "data", "errors", "findings", "files", "progress",
            "imports", "quiet",
        },
        "graph": {"graph", "errors", "files", "findings"},
        "data": {"data", "graph", "errors", "findings", "files", "progress"},
    }  # fmt: skip
    for layers in allowed.values():
        layers.add("references")
    allowed["exporters"].add("quiet")
    known = shipped_modules()
    wrong = [
        f"{name} imports {used}"
        for name, file in known.items()
        if layer(name) in allowed
        for used in sorted(imported_names(file) & known.keys())
        if layer(used) not in allowed[layer(name)]
    ]
    assert not wrong
