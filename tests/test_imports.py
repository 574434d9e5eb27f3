"""What the `edgewise` command imports, and what a script with Edgewise in it may."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_ASK = "import sys; print(*(name for name in ('torch', 'sklearn') if name in sys.modules))"


def _loaded(*statements: str) -> list[str]:
    script = "\n".join((*statements, _ASK))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_command_imports_no_framework_to_write_core_ml() -> None:
    claim = "from edgewise.imports import claim_process; claim_process()"
    assert _loaded(claim, "import edgewise.targets.apple.table") == []


@pytest.mark.slow
def test_a_framework_that_is_imported_already_stays_and_others_can_come_later() -> None:
    found = _loaded(
        "from edgewise.imports import claim_process, unneeded; claim_process()",
        "import torch",
        "with unneeded('torch', 'sklearn'):",
        "    import torch.nn.functional",
        "    import torch.ao.quantization.backend_config  # not imported by torch itself",
        "    try: import sklearn",
        "    except ModuleNotFoundError: pass",
        "    else: raise AssertionError",
        "import sklearn",
    )
    assert found == ["torch", "sklearn"]


@pytest.mark.slow
def test_a_script_keeps_the_converters_of_coremltools() -> None:
    assert "torch" in _loaded("import edgewise.targets.apple.table")


@pytest.mark.parametrize("target", ["android", "apple", "arm"])
def test_emitting_imports_nothing_that_validates(target: str) -> None:
    script = f"import sys, edgewise.targets.{target}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    validation = "edgewise.targets.validation"
    assert [name for name in done.stdout.split() if name.startswith(validation)] == []


def test_the_command_leaves_no_trace_of_onnx_runtime_in_the_home_folder(tmp_path: Path) -> None:
    script = "from edgewise.imports import claim_process; claim_process(); import onnxruntime"
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*")) == []
