"""`edgewise merge`: packages in, one package with a function for each out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

from edgewise.cli import app
from edgewise.targets import EmitOptions
from edgewise.targets.apple import TARGET


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("packages")
    options = EmitOptions(options={"deployment_target": "iOS18"})
    return {
        name: TARGET.emit(model(name), folder / name, "fp32", options=options).path
        for name in ("Relu", "Neg")
    }


def model(op_type: str) -> ir.Model:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node(op_type, ["x"], ["y"])], "g", ends[:1], ends[1:])
    opsets = [helper.make_opsetid("", 21)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(proto)
    return ir.from_proto(proto)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["merge", *arguments])
    return result.exit_code, result.output


def test_merging(packages: dict[str, Path], tmp_path: Path) -> None:
    code, output = run(
        f"rectify={packages['Relu']}", f"turn={packages['Neg'].parent}",
        "--name", "both", "--default", "turn", "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert code == 0 and "functions: rectify, turn" in output
    path = tmp_path / "out" / "both.mlpackage"
    x = np.array([[-1, 2, -3, 4]], np.float32)
    assert np.array_equal(TARGET.open(path).run({"x": x})["y"], -x)
    rectified = TARGET.open(path, function="rectify").run({"x": x})["y"]
    assert np.array_equal(rectified, np.maximum(x, 0))


def test_refusals(packages: dict[str, Path], tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "out"))
    one = f"a={packages['Relu']}"
    for arguments, text in (
        ((str(packages["Relu"]),), "Give FUNCTION=PATH for each"),
        ((one, one), "two packages for one function"),
        ((one,), "nothing to merge"),
        ((one, "b=missing.mlpackage"), "no such artifact"),
        ((one, f"b={packages['Neg']}", "--default", "c"), "no function 'c'"),
    ):
        code, output = run(*arguments, *out)
        assert code == 2
        assert text in output and output.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
