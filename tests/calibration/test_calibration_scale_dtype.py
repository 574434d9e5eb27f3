"""Scales that a target stores in float16 are float16 numbers from the start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgewise.calibration import NumberFormat, Scheme
from edgewise.calibration.parameters import affine_parameters, storable_scale
from edgewise.calibration.ranges import Range
from edgewise.graph import quantization_of

HALF = NumberFormat("int8", symmetric=True, scale_dtype="float16")


@given(st.floats(1e-9, 1e3))
def test_next_half_upwards(scale: float) -> None:
    stored = storable_scale(scale, HALF)
    assert stored == float(np.float16(stored))
    assert stored >= scale
    assert stored <= max(scale * (1 + 2**-10), 2**-14)


@given(low=st.floats(-100, 0), high=st.floats(0.01, 100), symmetric=st.booleans())
def test_range_stays_covered(low: float, high: float, symmetric: bool) -> None:
    number = NumberFormat("int8", symmetric=symmetric, scale_dtype="float16")
    found = affine_parameters(Range.around_zero(low, high), number)
    lowest, highest = ((q - found.zero_point) * found.scale for q in (-128, 127))
    assert lowest <= low + found.scale / 2
    assert highest >= high - found.scale / 2


def test_every_scale_of_the_model_is_a_half(
    net: type, trial: Callable[..., object], apple: Scheme
) -> None:
    builder = net()
    hidden = builder.conv(builder.input("x", 1, 3, 8, 8), 3, 8, name="first")
    dead = builder.const(np.zeros((4, 8, 1, 1), np.float32))
    tiny = builder.const(np.full(4, 1e-7, np.float32))
    model = builder.model(builder.op("Conv", builder.op("Relu", hidden), dead, tiny, name="dead"))
    assert apple.activation is not None and apple.weight is not None
    halves = replace(
        apple,
        activation=replace(apple.activation, scale_dtype="float16"),
        weight=replace(apple.weight, scale_dtype="float16"),
    )
    quantized = trial(model).quantize(halves)  # type: ignore[attr-defined]
    scales = [
        quantization_of(node).scale
        for node in quantized.graph
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
        and quantization_of(node).zero_point.dtype == np.int8
    ]
    assert len(scales) >= 6
    for scale in scales:
        np.testing.assert_array_equal(scale, scale.astype(np.float16).astype(np.float32))
