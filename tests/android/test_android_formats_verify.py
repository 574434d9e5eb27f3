"""The verifier on what the formats add: hybrid products, block scales, and narrow biases."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgewise.errors import InternalError
from edgewise.targets.android.builder import FLOAT32, Builder
from edgewise.targets.android.model import (
    INT4,
    INT8,
    INT16,
    INT32,
    INT64,
    Blocks,
    Graph,
    Quantization,
    Tensor,
)
from edgewise.targets.android.narrow_bias import OPTION, narrow_biases, sums_fit
from edgewise.targets.android.verify import verify


def _hybrid(*, blocks: bool) -> Graph:
    """A product of 4 outputs and 64 inputs, with int4 blocks or int8 channels."""
    builder = Builder()
    builder.origin = "product"
    x = Tensor((2, 64), FLOAT32, name="x")
    if blocks:
        weights = builder.constant(np.ones((4, 64), INT4), "w")
        weights.blocks = Blocks(builder.constant(np.ones((4, 2), np.float16), "scales"), 32)
    else:
        scales = Quantization.symmetric(np.full(4, 0.1))
        weights = builder.constant(np.ones((4, 64), np.int8), "w", scales)
    bias = builder.constant(np.zeros(4, np.float32), "b")
    out = builder.add("FULLY_CONNECTED", [x, weights, bias], (2, 4), FLOAT32)
    builder.graph.inputs, builder.graph.outputs = [x], [out]
    return builder.graph


def _other_kind(graph: Graph) -> None:
    graph.operators[0].kind = "CONV_2D"


def _quantized_bias(graph: Graph) -> None:
    bias = graph.operators[0].inputs[2]
    bias.quantization, bias.dtype = Quantization.per_tensor(0.1, 0, INT32), INT32
    bias.data = np.zeros(4, np.int32)


def _integer_bias(graph: Graph) -> None:
    bias = graph.operators[0].inputs[2]
    bias.dtype, bias.data = INT32, np.zeros(4, np.int32)


def _wrong_axis(graph: Graph) -> None:
    graph.operators[0].inputs[1].quantization = Quantization.symmetric(np.full(64, 0.1), 1)


def _zero_point(graph: Graph) -> None:
    graph.operators[0].inputs[1].quantization = Quantization.per_tensor(0.1, 3)


def _lowest(graph: Graph) -> None:
    graph.operators[0].inputs[1].data = np.full((4, 64), -128, np.int8)


def _wide_weights(graph: Graph) -> None:
    weights = graph.operators[0].inputs[1]
    weights.dtype, weights.data = INT16, np.ones((4, 64), np.int16)
    weights.quantization = Quantization.symmetric(np.full(4, 0.1), 0, INT16)


def _few_scales(graph: Graph) -> None:
    blocks = graph.operators[0].inputs[1].blocks
    assert blocks is not None
    blocks.scales.shape, blocks.scales.data = (4, 1), np.ones((4, 1), np.float16)


def _float_scales(graph: Graph) -> None:
    blocks = graph.operators[0].inputs[1].blocks
    assert blocks is not None
    blocks.scales.dtype, blocks.scales.data = FLOAT32, np.ones((4, 2), np.float32)


@pytest.mark.parametrize(
    ("blocks", "damage", "message"),
    [
        (False, _other_kind, "only weights of FULLY_CONNECTED"),
        (False, _quantized_bias, "only weights of FULLY_CONNECTED"),
        (False, _integer_bias, "its bias must be float32"),
        (False, _wrong_axis, "along axis 1, not 0"),
        (False, _zero_point, "its weights have a zero point"),
        (False, _lowest, "in -127..127"),
        (False, _wide_weights, "must be int4 or int8"),
        (True, _few_scales, r"float16 of the shape \(4, 2\)"),
        (True, _float_scales, r"float16 of the shape \(4, 2\)"),
    ],
)
def test_broken_hybrid_products(
    blocks: bool, damage: Callable[[Graph], None], message: str
) -> None:
    graph = _hybrid(blocks=blocks)
    verify(graph)
    damage(graph)
    with pytest.raises(InternalError, match=message):
        verify(graph)


def _int16_product(weight: int, inputs: int = 4) -> Graph:
    builder = Builder()
    builder.origin = "product"
    source = Quantization.per_tensor(0.001, 0, INT16)
    x = Tensor((1, inputs), INT16, source, name="x")
    scales = np.full(3, 0.01, np.float32)
    weights = builder.constant(
        np.full((3, inputs), weight, np.int8), "w", Quantization.symmetric(scales)
    )
    product = (source.scale * scales).astype(np.float32)
    bias = builder.constant(np.zeros(3, np.int64), "b", Quantization.symmetric(product, 0, INT64))
    out = builder.add("FULLY_CONNECTED", [x, weights, bias], (1, 3), INT16, source)
    builder.graph.inputs, builder.graph.outputs = [x], [out]
    return builder.graph


def test_biases_are_narrowed_where_it_is_proven() -> None:
    graph = _int16_product(127)
    narrow_biases(graph)
    (operator,) = graph.operators
    assert operator.inputs[2].dtype == INT32 and operator.version == 11
    verify(graph)
    operator.inputs[1].data = np.full((3, 4), 127, np.int8)
    operator.inputs[2].data = np.full(3, 2**31 - 1, np.int32)
    with pytest.raises(InternalError, match="its sums may leave the 32 bits"):
        verify(graph)


def test_a_narrow_bias_needs_its_option() -> None:
    """Without it, the kernel reads the integers as int64."""
    graph = _int16_product(1)
    narrow_biases(graph)
    del graph.operators[0].options[OPTION]
    with pytest.raises(InternalError, match="its bias must be int64"):
        verify(graph)


def test_biases_of_int8_products_are_left_alone() -> None:
    graph = _int16_product(1)
    operator = graph.operators[0]
    for tensor in (operator.inputs[0], operator.outputs[0]):
        tensor.dtype, tensor.quantization = INT8, Quantization.per_tensor(0.001, 0)
    narrow_biases(graph)
    assert OPTION not in operator.options


@pytest.mark.parametrize(("bias", "fits"), [(2**31 - 2**15 - 1, True), (2**31 - 2**15, False)])
def test_the_end_of_32_bits(bias: int, fits: bool) -> None:
    weights = Tensor((1, 1), INT8, data=np.ones((1, 1), np.int8))
    assert sums_fit(weights, Tensor((1,), INT64, data=np.array([bias]))) == fits
    assert sums_fit(weights, Tensor((1,), INT64, data=np.array([-bias]))) == fits
