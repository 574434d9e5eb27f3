"""Scales that a target stores in float16 are float16 numbers from the start."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from hypothesis import given
from hypothesis import strategies as st

from edgewise.calibration import NumberFormat, Scheme
from edgewise.calibration.parameters import affine_parameters, storable_scale
from edgewise.calibration.ranges import Range
from edgewise.graph import OrtSession, quantization_of

HALF = NumberFormat("int8", symmetric=True, scale_dtype="float16")


@given(st.floats(1e-9, 1e3))
def test_next_half_upwards(scale: float) -> None:
    stored = storable_scale(scale, HALF)
    assert stored == float(np.float16(stored))
    assert stored >= scale
    assert stored <= max(scale * (1 + 2**-10), 2**-14)  # one step of float16, or its smallest normal


@given(low=st.floats(-100, 0), high=st.floats(0.01, 100), symmetric=st.booleans())
def test_range_stays_covered(low: float, high: float, symmetric: bool) -> None:
    number = NumberFormat("int8", symmetric=symmetric, scale_dtype="float16")
    found = affine_parameters(Range.around_zero(low, high), number)
    lowest, highest = ((q - found.zero_point) * found.scale for q in (-128, 127))
    assert lowest <= low + found.scale / 2
    assert highest >= high - found.scale / 2


def test_every_scale_of_the_model_is_a_half() -> None:
    from dataclasses import replace
    from edgewise.calibration import collect_statistics, quantize
