"""ScatterND, ScatterElements and TensorScatter against ONNX Runtime and the ONNX reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from edgewise.errors import UnsupportedOperator
from edgewise.targets.android import TARGET

REDUCTIONS = ["none", "add", "mul", "max", "min"]


def _numbers(rng: Any, shape: Any, dtype: str) -> Any:
    if dtype == "float32":
        return rng.standard_normal(shape, np.float32)
    return rng.integers(0, 2 if dtype == "bool" else 9, shape).astype(dtype)


def _model(
    kit: Any, op_type: str, x: Any, indices: Any, updates: Any, *, computed: bool, **attributes: Any
) -> Any:
    layer = kit.node(op_type, ["x", "i", "u"], ["y"], **attributes)
    feeds = {"x": x, "u": updates} | ({"i": indices} if computed else {})
    constants = {} if computed else {"i": indices}
    return kit.model([layer], feeds, {"y": x.dtype}, constants), feeds


def _distinct(rng: Any, shape: Any, places: Any, *, again: bool) -> Any:
    """Coordinates counted from both ends; `again` lets some occur twice."""
    total, count = int(np.prod(shape)), int(np.prod(places))
    flat = rng.integers(0, total, count) if again else rng.permutation(total)[:count]
    found = np.stack(np.unravel_index(flat, shape), -1).reshape(*places, len(shape))
    return found - np.array(shape) * rng.integers(0, 2, found.shape)


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_scatter_nd(
    execute: Any, kit: Any, rng: Any, depth: int, reduction: str, computed: bool
) -> None:
    shape = (4, 3, 2, 3)
    indices = _distinct(rng, shape[:depth], (2, 2), again=reduction != "none")
    x, updates = (_numbers(rng, s, "float32") for s in (shape, (2, 2, *shape[depth:])))
    source, feeds = _model(
        kit, "ScatterND", x, indices, updates, computed=computed, reduction=reduction
    )
    assert execute(source, feeds).error < kit.float_tolerance


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_scatter_elements(
    execute: Any, kit: Any, rng: Any, axis: int, reduction: str, computed: bool
) -> None:
    shape, places = (3, 4, 2, 5), (2, 3, 2, 4)
    if reduction == "none":
        order = np.argsort(rng.random(shape), axis=axis)
        indices = order[tuple(slice(0, dim) for dim in places)]
    else:
        indices = rng.integers(-shape[axis], shape[axis], places)
    x, updates = (_numbers(rng, s, "float32") for s in (shape, places))
    source, feeds = _model(
        kit,
        "ScatterElements",
        x,
        indices,
        updates,
        computed=computed,
        reduction=reduction,
        axis=axis,
    )
    assert execute(source, feeds).error < kit.float_tolerance


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", ["int32", "int8", "uint8"])
def test_integers_are_exact(execute: Any, kit: Any, rng: Any, dtype: str, reduction: str) -> None:
    indices = np.array([[2], [0], [2]] if reduction != "none" else [[2], [0], [1]])
    x, updates = _numbers(rng, (4, 3), dtype), _numbers(rng, (3, 3), dtype)
    source, feeds = _model(
        kit, "ScatterND", x, indices, updates, computed=True, reduction=reduction
    )
    run = execute(source, feeds)
    assert np.array_equal(run.outputs["y"], run.expected["y"])


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_the_last_of_several_updates_holds(
    execute: Any, kit: Any, rng: Any, dtype: str, computed: bool
) -> None:
    x, updates = _numbers(rng, (4, 3), dtype), _numbers(rng, (4, 3), dtype)
    indices = np.array([[2], [0], [2], [-4]])
    source, feeds = _model(kit, "ScatterND", x, indices, updates, computed=computed)
    run = execute(source, feeds)
    assert np.array_equal(run.outputs["y"], run.expected["y"])


@pytest.mark.parametrize(("reduction", "infinity"), [("max", -np.inf), ("min", np.inf)])
def test_infinities_without_an_update_stay(
    execute: Any, kit: Any, rng: Any, reduction: str, infinity: float
) -> None:
    x = np.full((3, 4), infinity, np.float32)
    updates = _numbers(rng, (1, 4), "float32")
    source, feeds = _model(
        kit, "ScatterND", x, np.array([[1]]), updates, computed=True, reduction=reduction
    )
    run = execute(source, feeds)
    assert np.array_equal(run.outputs["y"], run.expected["y"])


def test_rows_in_a_run_are_a_concatenation(kit: Any, rng: Any) -> None:
    x, updates = _numbers(rng, (5, 3), "float32"), _numbers(rng, (2, 3), "float32")
    indices = np.array([[2], [3]])
    source, _ = _model(kit, "ScatterND", x, indices, updates, computed=False)
    assert kit.kinds(source) == ["SLICE", "SLICE", "CONCATENATION"]


def test_a_product_of_int64_is_refused(execute: Any, kit: Any, rng: Any) -> None:
    x, updates = _numbers(rng, (4, 3), "int64"), _numbers(rng, (1, 3), "int64")
    source, feeds = _model(
        kit, "ScatterND", x, np.array([[2]]), updates, computed=True, reduction="mul"
    )
    with pytest.raises(UnsupportedOperator, match="no int64 kernel for its reduction 'mul'"):
        execute(source, feeds)


@pytest.mark.parametrize("computed", [False, True])
def test_int8_moves_at_one_scale(execute: Any, kit: Any, rng: Any, computed: bool) -> None:
    x, updates = (rng.uniform(-1, 1, s).astype(np.float32) for s in ((4, 3), (2, 3)))
    indices = np.array([[3], [1]])
    layer = kit.node("ScatterND", ["x", "i", "u"], ["y"])
    parameters = {"x": (0.01, 4), "u": (0.02, -3)}
    feeds = {"x": x, "u": updates}
    if computed:  # an input beside the quantized ones
        layer = kit.node("ScatterND", ["x", "j", "u"], ["y"])
    source = kit.int8_model(
        layer,
        feeds,
        (0.01, 4),
        input_parameters=parameters,
        constants={"j" if computed else "i": indices},
    )
    if computed:
        value = source.graph.initializers.pop("j")
        source.graph.inputs.append(value)
        value.const_value = None
        value.shape, value.dtype = ir.Shape(indices.shape), ir.DataType.INT64
        feeds["j"] = indices
    run = execute(source, feeds, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert "android/float-island" not in run.rules()


def test_a_sum_in_int8_is_left_to_floats(execute: Any, kit: Any, rng: Any) -> None:
    x, updates = (rng.uniform(-1, 1, s).astype(np.float32) for s in ((4, 3), (2, 3)))
    layer = kit.node("ScatterND", ["x", "i", "u"], ["y"], reduction="add")
    source = kit.int8_model(
        layer, {"x": x, "u": updates}, (0.02, 0), constants={"i": np.array([[3], [1]])}
    )
    run = execute(source, {"x": x, "u": updates}, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert "android/float-island" in run.rules()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("mode", ["linear", "circular"])
@pytest.mark.parametrize("axis", [-2, -1, 1])
@pytest.mark.parametrize("start", ["computed", "constant", "absent"])
def test_tensor_scatter(
    kit: Any, rng: Any, tmp_path: Any, batch: int, mode: str, axis: int, start: str
) -> None:
    cache = _numbers(rng, (batch, 3, 5, 4), "float32")
    shape = list(cache.shape)
    shape[axis] = 2
    feeds = {"cache": cache, "update": _numbers(rng, shape, "float32")}
    limit = cache.shape[axis] - 1 if mode == "linear" else 9
    begin = {"begin": rng.integers(0, limit, batch)}
    names = [*feeds, *([] if start == "absent" else begin)]
    layer = kit.node("TensorScatter", names, ["y"], axis=axis, mode=mode)
    if start == "computed":
        feeds |= begin
    constants = begin if start == "constant" else {}
    source = kit.model([layer], feeds, {"y": np.float32}, constants, opset=24)
    (expected,) = ReferenceEvaluator(ir.to_proto(source)).run(None, feeds)
    session = TARGET.open(TARGET.emit(source, tmp_path))
    assert np.array_equal(session.run(feeds)["y"], expected)
    session.close()


def test_a_decoder_s_cache_is_updated_in_place(kit: Any, rng: Any) -> None:
    cache, update = _numbers(rng, (1, 3, 5, 4), "float32"), _numbers(rng, (1, 3, 1, 4), "float32")
    layer = kit.node("TensorScatter", ["c", "u", "w"], ["y"])
    feeds = {"c": cache, "u": update, "w": np.array([2])}
    source = kit.model([layer], feeds, {"y": np.float32}, opset=24)
    assert kit.kinds(source) == ["CAST", "CONCATENATION", "DYNAMIC_UPDATE_SLICE"]
