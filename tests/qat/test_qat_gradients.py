"""Values and gradients of fake quantization, against their formulas in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise.calibration.parameters import storable_scale
from edgewise.calibration.scheme import NumberFormat
from edgewise.graph import TensorQuantization
from edgewise.qat.fake_quantize import LearnedScale, QuantizedWeight, round_to_steps

SHORT = NumberFormat("int8", symmetric=True, scale_dtype="float16")


@given(
    st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=20),
    st.floats(0.0625, 2.0, width=32),
    st.integers(-128, 127),
)
@settings(max_examples=60, deadline=None)
def test_values_are_those_of_the_onnx_operators(values, scale, zero_point):
    real = np.array(values, np.float32)
    onnx = TensorQuantization(np.float32(scale).reshape(()), np.array(zero_point, np.int8))
    found = round_to_steps(
        torch.from_numpy(real), torch.tensor(scale), -128 - zero_point, 127 - zero_point
    )
    np.testing.assert_array_equal(found.numpy(), onnx.dequantize(onnx.quantize(real)))


def test_gradients_are_straight_through_and_learned_step_size():
    real = torch.tensor([-3.0, -0.4, 0.3, 0.9, 5.0], requires_grad=True)
    scale = torch.tensor(0.5, requires_grad=True)
    round_to_steps(real, scale, -2, 3).sum().backward()
    assert real.grad.tolist() == [0.0, 1.0, 1.0, 1.0, 0.0], "saturated values have none"
    steps = np.float32([-0.8, 0.6, 1.8])
    inside = np.rint(steps) - steps
    wanted = (-2 + inside.sum() + 3) / np.sqrt(5 * 3)
    assert float(scale.grad) == pytest.approx(wanted, rel=1e-5)


def test_each_channel_has_its_own_gradient():
    weight = QuantizedWeight(
        np.float32([[0.2, 0.7], [9.0, 0.1]]),
        LearnedScale(np.float32([0.1, 0.5]), half=False, learned=True),
        axis=0,
        limit=7,
    )
    weight().sum().backward()
    low, high = (float(g) for g in weight.scale.log2_change.grad)
    # ds/dt = s ln 2; the first channel is on its grid, the second saturates once at 7
    assert low == pytest.approx(0.0, abs=1e-5)
    assert high == pytest.approx((7 - 0.2) / np.sqrt(2 * 7) * 0.5 * np.log(2), rel=1e-5)
    assert weight.weight.grad.tolist() == [[1.0, 1.0], [0.0, 1.0]]


def test_a_scale_begins_at_its_bits_and_stays_positive():
    scale = LearnedScale(np.float32(0.1), half=False, learned=True)
    assert float(scale().detach()) == float(np.float32(0.1))
    with torch.no_grad():
        scale.log2_change -= 1000.0
    assert float(scale().detach()) > 0.0
    floor = torch.tensor(0.25)
    assert float(scale(floor).detach()) == 0.25
    bounded = LearnedScale(np.float32(0.02), half=True, learned=True, ceiling=6 / 255)
    with torch.no_grad():
        bounded.log2_change += 3.0
    assert float(bounded().detach()) == storable_scale(6 / 255, SHORT)


@given(st.floats(2.0**-20, 100.0, width=32))
@settings(max_examples=60, deadline=None)
def test_short_scales_are_those_that_the_target_stores(real):
    scale = LearnedScale(np.float32(real), half=True, learned=True)
    assert float(scale().detach()) == storable_scale(float(np.float32(real)), SHORT)
