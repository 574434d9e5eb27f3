"""The two rewrites that bring an operator to an int8 kernel give what the original gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewise.graph import OrtSession
from edgewise.targets.arm.global_pool import mean_to_global_pool
from edgewise.targets.arm.integer_pad import pad_in_integers

I64 = np.int64
PADS = np.array([0, 0, 1, 2, 0, 0, 3, 0], I64)


def run(model: ir.Model, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    feeds = {
        str(v.name): generator.normal(0, 4, [int(d) for d in v.shape or ()]).astype(np.float32)
        for v in model.graph.inputs
    }
    return list(OrtSession(model).run(feeds).values())


def types(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(value=st.floats(-20, 20, width=32), seed=st.integers(0, 99))
def test_constant_pad_is_exact(value: float, seed: int, qdq_model: Any) -> None:
    model = qdq_model("Pad", constants=[PADS, np.float32(value)])
    before = run(model, seed)
    assert pad_in_integers(model)
    assert types(model) == ["QuantizeLinear", "Pad", "DequantizeLinear"]
    for expected, actual in zip(before, run(model, seed), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
def test_every_mode_is_exact(mode: str, qdq_model: Any) -> None:
    model = qdq_model("Pad", attributes={"mode": mode}, constants=[PADS])
    before = run(model)
    assert pad_in_integers(model)
    np.testing.assert_array_equal(run(model)[0], before[0])


def test_axes_input_is_kept(qdq_model: Any) -> None:
    constants = [np.array([1, 1], I64), np.float32(0), np.array([3], I64)]
    model = qdq_model("Pad", constants=constants)
    before = run(model)
    assert pad_in_integers(model)
    np.testing.assert_array_equal(run(model)[0], before[0])


def test_pad_between_differing_scales_is_left_alone(qdq_model: Any) -> None:
    model = qdq_model("Pad", constants=[PADS], out_scale=0.06)
    before = types(model)
    assert not pad_in_integers(model)
    assert types(model) == before


def test_pad_with_a_second_reader_is_left_alone(qdq_model: Any) -> None:
    model = qdq_model("Pad", constants=[PADS])
    pad = next(node for node in model.graph if node.op_type == "Pad")
    model.graph.append(ir.node("Neg", pad.outputs))
    assert not pad_in_integers(model)


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [[2, 3], [3, 2], [-1, -2]])
def test_mean_over_the_picture(axes: list[int], keepdims: int, qdq_model: Any) -> None:
    attributes = {"keepdims": keepdims}
    model = qdq_model("ReduceMean", attributes=attributes, constants=[np.array(axes, I64)])
    before = run(model)
    assert mean_to_global_pool(model)
    node = model.graph.node(2)
    assert (node.op_type, node.name) == ("GlobalAveragePool", "middle")
    np.testing.assert_allclose(run(model)[0], before[0], atol=0.0501)  # one LSB


@pytest.mark.parametrize("axes", [[1, 2, 3], [2], [0, 1]])
def test_other_means_are_left_alone(axes: list[int], qdq_model: Any) -> None:
    model = qdq_model("ReduceMean", constants=[np.array(axes, I64)])
    before = types(model)
    assert not mean_to_global_pool(model)
    assert types(model) == before
