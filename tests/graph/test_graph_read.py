"""Questions that lowerings ask of nodes: padding, quantization parameters, constants."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgewise import graph
from edgewise.errors import ModelError


@given(
    size=st.integers(1, 20),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    mode=st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]),
)
def test_auto_pad_agrees_with_onnx_runtime(
    size: int, kernel: int, stride: int, dilation: int, mode: str
) -> None:
    if mode == "VALID" and (kernel - 1) * dilation + 1 > size:
        return
    common = {"kernel_shape": [kernel], "strides": [stride], "dilations": [dilation]}
    if mode != "VALID" and dilation > 1:
        return  # ONNX Runtime refuses SAME with dilation
    x = np.arange(1, size + 1, dtype=np.float32).reshape(1, 1, size)
    w = np.arange(1, kernel + 1, dtype=np.float32).reshape(1, 1, kernel)

    def run(**padding: object) -> np.ndarray:
        node = helper.make_node("Conv", ["x", "w"], ["y"], **common, **padding)
        proto = helper.make_model(
            helper.make_graph(
                [node],
                "g",
                [
                    helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape),
                    helper.make_tensor_value_info("w", TensorProto.FLOAT, w.shape),
                ],
                [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            ),
            opset_imports=[helper.make_opsetid("", 21)],
            ir_version=10,
        )
        return graph.OrtSession(ir.from_proto(proto)).run({"x": x, "w": w})["y"]

    automatic = run(auto_pad=mode)
    node = ir.node("Conv", [], attributes={"auto_pad": mode})
    skipped = (-(-size // stride) - 1) * stride + kernel - size
    if mode != "VALID" and int(skipped / 2 if mode == "SAME_UPPER" else (skipped + 1) / 2) < 0:
        with pytest.raises(ModelError, match="explicit padding"):
            graph.resolve_pads(node, [size], [kernel], [stride], [dilation])
        return
    begin, end = graph.resolve_pads(node, [size], [kernel], [stride], [dilation])
    np.testing.assert_array_equal(run(pads=[*begin, *end]), automatic)


def test_explicit_pads_and_default() -> None:
    node = ir.node("Conv", [], attributes={"pads": [1, 2, 3, 4]})
    assert graph.resolve_pads(node, [8, 8], [3, 3], [1, 1], [1, 1]) == ([1, 2], [3, 4])
    assert graph.resolve_pads(ir.node("Conv", []), [8], [3], [1], [1]) == ([0], [0])


def dequantize(scale: list[float], zero: list[int], axis: int, shape: list[int]) -> ir.Node:
    data = ir.val("d", dtype=ir.DataType.INT8, shape=shape)
    tensors = [
        ir.val("s", const_value=ir.tensor(np.array(scale, np.float32), name="s")),
        ir.val("z", const_value=ir.tensor(np.array(zero, np.int8), name="z")),
    ]
    return ir.node("DequantizeLinear", [data, *tensors], attributes={"axis": axis})


def test_quantization_of_per_channel_with_negative_axis() -> None:
    q = graph.quantization_of(dequantize([1.0, 2.0], [0, 1], -1, [3, 2]))
    assert q.axis == 1
    assert not q.per_tensor
    data = np.array([[1, 1], [2, 2], [-3, -3]], np.int8)
    np.testing.assert_array_equal(q.dequantize(data), [[1, 0], [2, 2], [-3, -8]])


def test_one_element_scale_is_per_tensor() -> None:
    q = graph.quantization_of(dequantize([0.5], [3], 0, [4]))
    assert q.per_tensor
    assert q.scale.shape == q.zero_point.shape == ()
    assert q.same_as(graph.quantization_of(dequantize([0.5], [3], 1, [4, 4])))


def test_dynamic_scale_is_refused() -> None:
    node = ir.node("QuantizeLinear", [ir.val("x"), ir.val("scale")])
    with pytest.raises(ModelError, match="scale and zero point must be constants"):
        graph.quantization_of(node)


def test_same_padding_that_would_be_negative_is_refused() -> None:
    node = ir.node("Conv", [], attributes={"auto_pad": "SAME_UPPER"}, name="patchify")
    with pytest.raises(ModelError, match=r"'patchify' \(Conv\).*auto_pad SAME_UPPER"):
        graph.resolve_pads(node, [4], [1], [4], [1])


def test_a_quantized_number_stays_an_array() -> None:
    value = graph.quantization_of(dequantize([0.5], [3], 0, [])).dequantize(np.array(7, np.int8))
    assert isinstance(value, np.ndarray)
    assert (value.shape, value.dtype, value.item()) == ((), np.float32, 2.0)
