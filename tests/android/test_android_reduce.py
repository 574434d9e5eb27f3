"""Reductions of every type and rank against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgewise.errors import UnsupportedOperator
from edgewise.targets.android import TARGET

INTEGER: dict[str, Any] = {
    "ReduceSum": np.sum,
    "ReduceProd": np.prod,
    "ReduceL1": lambda x, axes: np.abs(x).sum(axes),
    "ReduceSumSquare": lambda x, axes: (x * x).sum(axes),
    "ReduceMean": lambda x, axes: np.trunc(x.sum(axes) / 15),
    "ReduceMax": np.max,
    "ReduceMin": np.min,
}
FLOAT = [
    "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
    "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp",
]  # fmt: skip


def emitted(
    kit: Any, tmp_path: Any, op_type: str, x: Any, axes: list[int], **attributes: Any
) -> Any:
    layer = kit.node(op_type, ["x", "axes"], ["y"], **attributes)
    source = kit.model([layer], {"x": x}, {"y": x.dtype}, {"axes": np.array(axes, np.int64)})
    session = TARGET.open(TARGET.emit(source, tmp_path / "out"))
    found = session.run({"x": x})["y"]
    session.close()
    return found


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("op_type", INTEGER)
def test_integers(kit: Any, tmp_path: Any, rng: Any, op_type: str, dtype: Any) -> None:
    x = rng.integers(-9, 10, (2, 3, 4, 5)).astype(dtype)
    found = emitted(kit, tmp_path, op_type, x, [1, -1], keepdims=0)
    assert np.array_equal(found, INTEGER[op_type](x, (1, 3)).astype(dtype))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.bool_])
@pytest.mark.parametrize("op_type", ["ReduceMax", "ReduceMin"])
def test_extrema_of_bytes(kit: Any, tmp_path: Any, rng: Any, op_type: str, dtype: Any) -> None:
    high = 2 if dtype == np.bool_ else 256
    x = rng.integers(0, high, (2, 3, 4, 5)).astype(dtype)
    found = emitted(kit, tmp_path, op_type, x, [1, -1], keepdims=1)
    assert np.array_equal(found, INTEGER[op_type](x, (1, 3)).reshape(2, 1, 4, 1))


@pytest.mark.parametrize("op_type", ["ReduceL2", "ReduceLogSum", "ReduceLogSumExp"])
def test_roots_and_logarithms_of_integers_are_refused(
    kit: Any, tmp_path: Any, op_type: str
) -> None:
    with pytest.raises(UnsupportedOperator, match="roots or logarithms of int32"):
        emitted(kit, tmp_path, op_type, np.ones((2, 3), np.int32), [1])


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [[0], [1, 3, -1], [2, 3, 4], [0, 1, 2, 3, 4, 5, 6]])
@pytest.mark.parametrize("op_type", FLOAT)
def test_seven_axes(
    execute: Any, kit: Any, rng: Any, op_type: str, axes: list[int], keepdims: int
) -> None:
    """XNNPACK refuses the whole file above six."""
    x = rng.uniform(0.8, 1.2, (2, 3, 2, 2, 3, 2, 2)).astype(np.float32)
    layer = kit.node(op_type, ["x", "axes"], ["y"], keepdims=keepdims)
    source = kit.model([layer], {"x": x}, {"y": np.float32}, {"axes": np.array(axes)})
    run = execute(source, {"x": x})
    np.testing.assert_allclose(run.outputs["y"], run.expected["y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("noop", [0, 1])
@pytest.mark.parametrize("op_type", ["ReduceSum", "ReduceMax", "ReduceMean"])
def test_no_axes(execute: Any, kit: Any, rng: Any, op_type: str, noop: int) -> None:
    x = rng.standard_normal((2, 3, 4), np.float32)
    layer = kit.node(op_type, ["x", "axes"], ["y"], noop_with_empty_axes=noop)
    source = kit.model([layer], {"x": x}, {"y": np.float32}, {"axes": np.zeros(0, np.int64)})
    run = execute(source, {"x": x})
    assert run.error <= kit.float_tolerance


def test_infinities_do_not_become_something_else(execute: Any, kit: Any) -> None:
    x = np.array([[-np.inf, -np.inf], [np.inf, 1], [1e30, 1], [-1e30, -1e30]], np.float32)
    layer = kit.node("ReduceLogSumExp", ["x", "axes"], ["y"], keepdims=0)
    source = kit.model([layer], {"x": x}, {"y": np.float32}, {"axes": np.array([1])})
    run = execute(source, {"x": x})
    assert run.outputs["y"].tolist() == run.expected["y"].tolist()
