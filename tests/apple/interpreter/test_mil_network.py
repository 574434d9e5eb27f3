"""A whole w8a8 network, written once in MIL and once in ONNX, gives the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewise.graph import OrtSession
from edgewise.targets.apple._coremltools import Builder as mb

_RNG = np.random.default_rng(0)
_W1 = _RNG.integers(-127, 128, (8, 3, 3, 3)).astype(np.int8)
_W2 = _RNG.integers(-127, 128, (8, 1, 3, 3)).astype(np.int8)
_W3 = _RNG.integers(-127, 128, (5, 8)).astype(np.int8)
_WEIGHT_SCALES = {
    "w1": _RNG.uniform(0.001, 0.004, 8).astype(np.float32),
    "w2": _RNG.uniform(0.002, 0.008, 8).astype(np.float32),
    "w3": _RNG.uniform(0.002, 0.008, 5).astype(np.float32),
}
_B1 = _RNG.normal(size=8).astype(np.float32)
#: activation -> scale and zero point
_STEPS = {
    "x": (np.float32(0.03), np.int8(3)),
    "a": (np.float32(0.025), np.int8(-128)),
    "b": (np.float32(0.04), np.int8(-5)),
    "c": (np.float32(0.045), np.int8(7)),
    "d": (np.float32(0.01), np.int8(2)),
    "y": (np.float32(0.02), np.int8(-11)),
}


def _requantized(name: str, value: Any) -> Any:
    scale, zero = _STEPS[name]
    q = mb.quantize(input=value, scale=scale, zero_point=zero, output_dtype="int8")
    return mb.dequantize(input=q, scale=scale, zero_point=zero)


def _weight(name: str, data: Any) -> Any:
    return mb.constexpr_affine_dequantize(
        quantized_data=data,
        zero_point=np.zeros(data.shape[0], np.int8),
        scale=_WEIGHT_SCALES[name],
        axis=np.int32(0),
    )


def _mil(x: Any) -> Any:
    x = _requantized("x", x)
    a = mb.conv(
        x=x, weight=_weight("w1", _W1), bias=_B1, strides=[2, 2], pad_type="custom",
        pad=[1, 1, 1, 1],
    )  # fmt: skip
    a = _requantized("a", mb.relu(x=a))
    b = _requantized("b", mb.conv(x=a, weight=_weight("w2", _W2), groups=8, pad_type="same"))
    c = _requantized("c", mb.add(x=a, y=b))
    d = _requantized("d", mb.reduce_mean(x=c, axes=[2, 3]))
    return _requantized("y", mb.linear(x=d, weight=_weight("w3", _W3)))


def _onnx() -> bytes:
    nodes, constants = [], []

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def requantized(name: str, value: str) -> str:
        scale, zero = _STEPS[name]
        steps = [constant(f"{name}_scale", scale), constant(f"{name}_zero", zero)]
        nodes.append(helper.make_node("QuantizeLinear", [value, *steps], [f"{name}_q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", *steps], [f"{name}_dq"]))
        return f"{name}_dq"

    def weight(name: str, data: Any) -> str:
        inputs = [constant(name, data), constant(f"{name}_scale", _WEIGHT_SCALES[name])]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}_dq"], axis=0))
        return f"{name}_dq"

    def node(op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op_type, inputs, [output], **attributes))
        return output

    x = requantized("x", "input")
    first = [x, weight("w1", _W1), constant("b1", _B1)]
    a = requantized(
        "a", node("Relu", [node("Conv", first, "a0", strides=[2, 2], pads=[1] * 4)], "a1")
    )
    b = requantized("b", node("Conv", [a, weight("w2", _W2)], "b0", group=8, pads=[1] * 4))
    c = requantized("c", node("Add", [a, b], "c0"))
    axes = constant("axes", np.array([2, 3], np.int64))
    d = requantized("d", node("ReduceMean", [c, axes], "d0", keepdims=0))
    requantized("y", node("Gemm", [d, weight("w3", _W3)], "y0", transB=1))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [2, 3, 16, 16])],
        [helper.make_tensor_value_info("y_dq", TensorProto.FLOAT, None)],
        constants,
    )
    opset = helper.make_opsetid("", 21)
    return helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString()


@pytest.mark.parametrize("seed", range(3))
def test_a_quantized_network_equals_onnx_runtime(run_mil: Any, seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(2, 3, 16, 16)).astype(np.float32)
    (result,) = run_mil(_mil, {"x": x})
    (expected,) = OrtSession(_onnx()).run({"input": x}).values()
    assert np.array_equal(result, expected)
    assert np.unique(expected).size > 3  # the network tells inputs apart
