"""Weights beside an ONNX file: read from its own folder, and from nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewise.graph import OrtSession

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3)
SECRET = "outside.data"


def entries(tensor: TensorProto, location: str) -> TensorProto:
    """The tensor with its numbers in a file."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", str(WEIGHTS.nbytes))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def proto(location: str, place: str = "initializer") -> onnx.ModelProto:
    tensor = entries(numpy_helper.from_array(WEIGHTS, "w"), location)
    constant = helper.make_node("Constant", [], ["w"], "weights", value=tensor)
    product = helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    inside, functions, nodes = [], [], [product]
    if place == "initializer":
        inside = [tensor]
    elif place == "node":
        nodes = [constant, product]
    else:
        opsets = [helper.make_opsetid("", 21)]
        body = [constant, product]
        functions = [helper.make_function("local", "Layer", ["x"], ["y"], body, opsets)]
        nodes = [helper.make_node("Layer", ["x"], ["y"], "layer", domain="local")]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        inside,
    )
    versions = [helper.make_opsetid("", 21), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, opset_imports=versions, ir_version=10, functions=functions)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the model, with the weights above it only."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / SECRET).write_bytes(WEIGHTS.tobytes())
    (tmp_path / "model" / "weights").mkdir(parents=True)
    return tmp_path / "model"


@pytest.mark.parametrize("place", ["initializer", "node"])
@pytest.mark.parametrize("location", ["w.data", "weights/w.data", "weights/../w.data"])
def test_inside_the_folder(
    run: Callable[..., Any], folder: Path, place: str, location: str
) -> None:
    (folder / location).write_bytes(WEIGHTS.tobytes())
    (folder / "m.onnx").write_bytes(proto(location, place).SerializeToString())
    outcome = run("export", "model/m.onnx", "--out", "hub.onnx")
    assert outcome.code == 0, outcome.line
    x = np.eye(4, dtype=np.float32)
    np.testing.assert_array_equal(
        OrtSession(Path("hub.onnx").read_bytes()).run({"x": x})["y"], WEIGHTS
    )


@pytest.mark.parametrize("place", ["initializer", "node", "function"])
@pytest.mark.parametrize(
    ("location", "said"),
    [
        (f"../{SECRET}", "tensor 'w' points outside the model's folder"),
        (f"weights/../../{SECRET}", "tensor 'w' points outside the model's folder"),
        ("absolute", "tensor 'w' points outside the model's folder"),
        ("link", "tensor 'w' points outside the model's folder"),
        ("linked/outside.data", "tensor 'w' points outside the model's folder"),
        ("gone.data", "tensor 'w' needs the missing file 'gone.data'"),
        ("weights", "tensor 'w' needs the missing file 'weights'"),
        ("", "tensor 'w' needs the missing file ''"),
        ("short.data", "its external data cannot be read"),
        ("empty.data", "its external data cannot be read"),
    ],
)
def test_elsewhere_or_nowhere(
    run: Callable[..., Any], folder: Path, place: str, location: str, said: str
) -> None:
    (folder / "link").symlink_to(f"../{SECRET}")
    (folder / "linked").symlink_to("..")
    (folder / "short.data").write_bytes(WEIGHTS.tobytes()[:-4])
    (folder / "empty.data").touch()
    location = str(folder.parent / SECRET) if location == "absolute" else location
    (folder / "m.onnx").write_bytes(proto(location, place).SerializeToString())
    outcome = run("export", "model/m.onnx", "--out", "hub.onnx")
    assert outcome.code == 3, outcome.line
    assert outcome.line.startswith("error: ") and "\n" not in outcome.line.strip()
    assert "m.onnx: cannot read the model" in outcome.line and said in outcome.line
    assert not Path("hub.onnx").exists()
