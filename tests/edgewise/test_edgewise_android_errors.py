"""Models that TFLite cannot take, at the command line: one line, exit code 3, nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

Case = Callable[[], onnx.ModelProto]


def _model(nodes: list[Any], dims: list[Any], dtype: int = TensorProto.FLOAT) -> onnx.ModelProto:
    weights = np.ones((2, 3, 1, 1), helper.tensor_dtype_to_np_dtype(dtype))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, dims)],
        [helper.make_tensor_value_info("y", dtype, None)],
        [numpy_helper.from_array(weights, "w")],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.acme", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def _convolution(output: str) -> Any:
    return helper.make_node("Conv", ["x", "w"], [output], name="the_conv")


def _unsupported() -> onnx.ModelProto:
    noise = helper.make_node("RandomNormalLike", ["c"], ["y"], name="the_noise")
    return _model([_convolution("c"), noise], ["N", 3, 4, 4])


def _custom_domain() -> onnx.ModelProto:
    nodes = [
        _convolution("c"),
        helper.make_node("Frob", ["c"], ["f"], name="the_frob", domain="com.acme"),
        helper.make_node("Relu", ["f"], ["y"], name="the_relu"),
    ]
    return _model(nodes, ["N", 3, 4, 4])


def _free_size() -> onnx.ModelProto:
    return _model([_convolution("y")], ["N", 3, "height", 4])


def _float64() -> onnx.ModelProto:
    return _model([_convolution("y")], ["N", 3, 4, 4], TensorProto.DOUBLE)


CASES: dict[str, tuple[Case, str]] = {
    "unsupported operator": (
        _unsupported,
        "node 'the_noise' (RandomNormalLike): android cannot take this operator: there is no "
        "TFLite form for it in Edgewise. Replace it in the model",
    ),
    "custom domain": (
        _custom_domain,
        "node 'the_frob' (Frob): android cannot take this operator: it belongs to the domain "
        "'com.acme'. Use operators of the ONNX standard.",
    ),
    "free size": (
        _free_size,
        "input 'x': the shape must be static: dimension 2 ('height') has no size. "
        "Give numbers: --input-shape x=1,3,HEIGHT,4 of build and export",
    ),
    "float64": (
        _float64,
        "node 'the_conv' (Conv): android cannot take this operator: its input 'x' is float64, and "
        "TFLite has no kernels for that. Export the model in float32",
    ),
}


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (command, name)
        for command in ("emit", "build")
        for name in CASES
        if (command, name) != ("build", "float64")  # its export brings it to float32
    ],
)
def test_one_line(run: Any, tmp_path: Path, command: str, name: str) -> None:
    make, said = CASES[name]
    if name == "custom domain" and command == "build":  # its export needs to run the model
        said = said.replace("android", "ONNX Runtime").rstrip(".")
    model, out = tmp_path / "model.onnx", tmp_path / "out"
    onnx.save(make(), model)
    arguments = [command, model, "--target", "android", "--precision", "fp32", "--out", out]
    outcome = run(*arguments)
    assert (outcome.code, out.exists()) == (3, False)
    assert outcome.line.startswith(f"error: {said}")


def test_the_flag_that_the_error_names_is_the_way_out(run: Any, tmp_path: Path) -> None:
    model, out = tmp_path / "model.onnx", tmp_path / "out"
    onnx.save(_free_size(), model)
    arguments = ["build", model, "--target", "android", "--precision", "fp32", "--out", out]
    assert run(*arguments, "--input-shape", "x=1,3,4,4").code == 0
    assert (out / "android" / "model.tflite").is_file()
