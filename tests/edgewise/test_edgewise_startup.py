"""Importing and asking for help stay cheap; the public names are those that are promised."""

from __future__ import annotations

import subprocess
import sys

import pytest

import edgewise

HEAVY = {
    "PIL", "ai_edge_litert", "coremltools", "jinja2", "numpy", "onnx", "onnx_ir", "onnxruntime",
    "pydantic", "rich", "torch",
}  # fmt: skip


def loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules, file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in run.stderr.split()}


def help_of(*arguments: str) -> str:
    return (
        "from edgewise.cli import app\nfrom edgewise.cli_run import run_app\n"
        f"run_app(app, {[*arguments, '--help']})"
    )


@pytest.mark.parametrize("code", ["import edgewise", help_of()], ids=["import", "help"])
def test_heavy_modules_are_not_imported(code: str) -> None:
    loaded = loaded_after(code)
    assert "edgewise" in loaded
    assert sorted(loaded & HEAVY) == []


def test_help_of_a_command_imports_nothing_heavy_of_ours() -> None:
    loaded = loaded_after(help_of("build"))
    assert sorted(loaded & HEAVY - {"pydantic"}) == []  # typer reads options with pydantic


def test_every_public_name_exists() -> None:
    for name in edgewise.__all__:
        assert getattr(edgewise, name) is not None
    assert set(edgewise.__all__) <= set(dir(edgewise))


def test_build_stays_a_function_after_its_module_is_imported() -> None:
    import edgewise.pipeline

    assert edgewise.build is edgewise.pipeline.build
    assert callable(edgewise.export) and callable(edgewise.validate)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'biuld'"):
        _ = edgewise.biuld
