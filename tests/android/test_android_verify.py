"""The graph verifier: a sound graph passes, and each rule is noticed when it is broken."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgewise.errors import InternalError
from edgewise.targets.android.builder import FLOAT32, Builder
from edgewise.targets.android.layout import Value
from edgewise.targets.android.model import INT8, INT16, INT32, INT64, Graph, Quantization, Tensor
from edgewise.targets.android.ops.weights import BIAS_DTYPES
from edgewise.targets.android.verify import verify

IN = Quantization.per_tensor(0.1, 3)
OUT = Quantization.per_tensor(0.05, -4)


def _convolution(stored: Quantization | None = None) -> Graph:
    builder = Builder()
    builder.origin = "conv"
    source, result = (IN, OUT) if stored is None else (stored, stored)
    x = Tensor((1, 4, 4, 2), source.dtype, source, name="x")
    scales = np.array([0.01, 0.02, 0.03], np.float32)
    weights = builder.constant(
        np.ones((3, 1, 1, 2), np.int8), "w", Quantization.symmetric(scales, 0)
    )
    dtype = BIAS_DTYPES[source.dtype]
    bias = builder.constant(
        np.zeros(3, dtype), "b", Quantization.symmetric(source.scale * scales, 0, dtype)
    )
    out = builder.add("CONV_2D", [x, weights, bias], (1, 4, 4, 3), result.dtype, result)
    builder.graph.inputs, builder.graph.outputs = [x], [out]
    return builder.graph


def _single(kind: str, output: Quantization) -> Graph:
    builder = Builder()
    builder.origin = "layer"
    source = IN if output.dtype == INT8 else Quantization.per_tensor(0.1, 0, output.dtype)
    x = Tensor((1, 4), source.dtype, source, name="x")
    out = builder.add(kind, [x], (1, 4), output.dtype, output)
    builder.graph.inputs, builder.graph.outputs = [x], [out]
    return builder.graph


def _break_bias_scale(graph: Graph) -> None:
    graph.operators[0].inputs[2].quantization = Quantization.per_tensor(0.5, 0, INT32)


def _break_bias_dtype(graph: Graph) -> None:
    bias = graph.operators[0].inputs[2]
    assert bias.quantization is not None
    bias.dtype, bias.data = INT64, np.zeros(3, np.int64)
    bias.quantization = Quantization.symmetric(bias.quantization.scale, 0, INT64)


def _break_bias_quantization(graph: Graph) -> None:
    bias = graph.operators[0].inputs[2]
    assert bias.quantization is not None
    bias.quantization = Quantization.symmetric(bias.quantization.scale, 0, INT64)


def _drop_bias(graph: Graph) -> None:
    graph.operators[0].inputs = graph.operators[0].inputs[:2]


def _break_axis(graph: Graph) -> None:
    weights = graph.operators[0].inputs[1]
    assert weights.quantization is not None
    weights.quantization = Quantization.symmetric(weights.quantization.scale, 3)


def _break_weight_zero_point(graph: Graph) -> None:
    weights = graph.operators[0].inputs[1]
    assert weights.quantization is not None
    weights.quantization = Quantization(
        weights.quantization.scale, np.array([0, 1, 0], np.int64), 0
    )


def _break_weight_range(graph: Graph) -> None:
    weights = graph.operators[0].inputs[1]
    weights.data = np.full((3, 1, 1, 2), -128, np.int8)


def _break_ratio(graph: Graph) -> None:
    graph.operators[0].outputs[0].quantization = Quantization.per_tensor(1e-6, 0)


def _break_zero_point(graph: Graph) -> None:
    graph.inputs[0].quantization = Quantization.per_tensor(0.1, 200)


def _break_scale(graph: Graph) -> None:
    graph.inputs[0].quantization = Quantization.per_tensor(0.0, 0)


def _make_scale_subnormal(graph: Graph) -> None:
    graph.inputs[0].quantization = Quantization.per_tensor(1e-39, 0)


def _make_activation_per_channel(graph: Graph) -> None:
    graph.inputs[0].quantization = Quantization.symmetric(np.array([0.1, 0.2]), 3)


def _break_shape(graph: Graph) -> None:
    graph.inputs[0].shape = (1, 0, 4, 2)


def _break_constant(graph: Graph) -> None:
    graph.operators[0].inputs[1].data = np.ones((3, 2), np.int8)


def _forget_input(graph: Graph) -> None:
    graph.inputs = []


def _write_twice(graph: Graph) -> None:
    graph.operators.append(graph.operators[0])


def _forget_output(graph: Graph) -> None:
    graph.outputs.append(Tensor((1,), FLOAT32, name="lost"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_break_bias_scale, "scale of its bias"),
        (_break_bias_dtype, "bias must be int32"),
        (_break_bias_quantization, "int32 with the quantization of int64"),
        (_drop_bias, "no bias"),
        (_break_axis, "along axis 3, not 0"),
        (_break_weight_zero_point, "weights have a zero point"),
        (_break_weight_range, "in -127..127"),
        (_break_ratio, "256 or more"),
        (_break_zero_point, "zero point 200"),
        (_break_scale, "not positive"),
        (_make_scale_subnormal, "positive and normal"),
        (_make_activation_per_channel, "one scale per channel"),
        (_break_shape, "has the shape"),
        (_break_constant, "not of its tensor's shape"),
        (_forget_input, "before anything writes it"),
        (_write_twice, "writes '' again"),
        (_forget_output, "'lost' is never written"),
    ],
)
def test_each_broken_rule_is_named(damage: Callable[[Graph], None], message: str) -> None:
    graph = _convolution()
    verify(graph)
    damage(graph)
    with pytest.raises(InternalError, match=message):
        verify(graph)


def test_int16_has_zero_point_0_an_int64_bias_and_fewer_kernels() -> None:
    graph = _convolution(Quantization.per_tensor(0.1, 0, INT16))
    verify(graph)
    graph.inputs[0].quantization = Quantization.per_tensor(0.1, 1, INT16)
    with pytest.raises(InternalError, match="zero point 1 of 'x' is out of range"):
        verify(graph)
    graph = _convolution(Quantization.per_tensor(0.1, 0, INT16))
    bias = graph.operators[0].inputs[2]
    assert bias.quantization is not None
    bias.dtype, bias.data = INT32, np.zeros(3, np.int32)
    bias.quantization = Quantization.symmetric(bias.quantization.scale, 0, INT32)
    with pytest.raises(InternalError, match="bias must be int64"):
        verify(graph)
    with pytest.raises(InternalError, match="there is no kernel for int16"):
        verify(_single("GELU", Quantization.per_tensor(0.1, 0, INT16)))


@pytest.mark.parametrize("kind", ["ADD", "SUB"])
@pytest.mark.parametrize("scales", [(1.0, 1e36), (0.1, 1e-6)])
def test_sums_whose_scales_would_abort_the_process(kind: str, scales: tuple[float, float]) -> None:
    for (source, result), is_sound in (((0.1, 0.1), True), (scales, False)):
        builder = Builder()
        x = Tensor((4,), INT8, Quantization.per_tensor(source, 0), name="x")
        out = builder.add(kind, [x, x], (4,), INT8, Quantization.per_tensor(result, 0))
        builder.graph.inputs, builder.graph.outputs = [x], [out]
        if is_sound:
            verify(builder.graph)
            continue
        with pytest.raises(InternalError, match="cannot compute with its scales"):
            verify(builder.graph)


def test_comparisons_of_8_bits_would_abort_the_process() -> None:
    builder = Builder()
    x = Tensor((4,), INT8, name="x")
    out = builder.add("GREATER", [x, x], (4,), np.dtype(np.bool_))
    builder.graph.inputs, builder.graph.outputs = [x], [out]
    with pytest.raises(InternalError, match="compares 8-bit integers"):
        verify(builder.graph)


@pytest.mark.parametrize("kind", ["SOFTMAX", "LOGISTIC", "TANH"])
def test_prescribed_int16_outputs(kind: str) -> None:
    verify(_single(kind, Quantization.per_tensor(1 / 32768, 0, INT16)))
    with pytest.raises(InternalError, match="its output must have scale"):
        verify(_single(kind, Quantization.per_tensor(1 / 32767, 0, INT16)))


@pytest.mark.parametrize("kind", ["MAX_POOL_2D", "RESHAPE", "RELU", "TRANSPOSE", "MAXIMUM"])
def test_data_movement_keeps_the_scale(kind: str) -> None:
    verify(_single(kind, IN))
    with pytest.raises(InternalError, match=r"node 'layer' .* differ in scale"):
        verify(_single(kind, OUT))


@pytest.mark.parametrize(
    ("kind", "output"),
    [("SOFTMAX", (1 / 256, -128)), ("LOGISTIC", (1 / 256, -128)), ("TANH", (1 / 128, 0)),
     ("LOG_SOFTMAX", (16 / 256, 127))],
)  # fmt: skip
def test_prescribed_outputs(kind: str, output: tuple[float, int]) -> None:
    verify(_single(kind, Quantization.per_tensor(*output)))
    with pytest.raises(InternalError, match="its output must have scale"):
        verify(_single(kind, Quantization.per_tensor(1 / 255, output[1])))


def test_the_builder_never_copies_bytes_between_scales() -> None:
    builder = Builder()
    x = Value(Tensor((1, 4), INT8, IN, name="x"), (0, 1))
    assert builder.quantize(x, IN) is x
    other = builder.quantize(x, OUT)
    assert OUT.same_as(other.quantization)
    assert [operator.kind for operator in builder.graph.operators] == ["QUANTIZE"]
