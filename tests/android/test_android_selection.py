"""OneHot, ArgMax, ArgMin, ReverseSequence, Slice, Pad and Concat beyond the plain cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from edgewise.errors import UnsupportedOperator
from edgewise.targets.android import TARGET

DTYPES = ["float32", "int32", "int64", "int8", "uint8", "bool"]


def _numbers(rng: Any, shape: Any, dtype: str = "float32") -> Any:
    if dtype == "float32":
        return rng.standard_normal(shape, np.float32)
    return rng.integers(0, 2 if dtype == "bool" else 9, shape).astype(dtype)


@pytest.mark.parametrize("places", [(3,), (2, 3), (2, 3, 2)])
@pytest.mark.parametrize("dtype", ["int64", "float32"])
def test_one_hot_along_every_axis(
    execute: Any, kit: Any, rng: Any, dtype: str, places: Any
) -> None:
    indices = rng.integers(-8, 8, places).astype(dtype)  # some lie outside
    constants = {"d": np.array(5, dtype), "v": np.array([2, 7], dtype)}
    for axis in range(-len(places) - 1, len(places) + 1):
        layer = kit.node("OneHot", ["x", "d", "v"], ["y"], axis=axis)
        source = kit.model([layer], {"x": indices}, {"y": indices.dtype}, constants)
        assert execute(source, {"x": indices}).error == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_hot_writes_every_type(kit: Any, tmp_path: Any, dtype: str) -> None:
    indices = np.array([1, -1, 9, -6])
    constants = {"d": np.array([5]), "v": np.array([0, 1], dtype)}
    layer = kit.node("OneHot", ["x", "d", "v"], ["y"])
    source = kit.model([layer], {"x": indices}, {"y": np.dtype(dtype)}, constants)
    session = TARGET.open(TARGET.emit(source, tmp_path))
    found = session.run({"x": indices})["y"]
    session.close()
    expected = np.zeros((4, 5), dtype)
    expected[[0, 1], [1, 4]] = 1
    assert found.dtype == dtype and np.array_equal(found, expected)


def test_one_hot_with_computed_values_but_not_with_a_computed_depth(execute: Any, kit: Any) -> None:
    feeds = {"x": np.array([1, -1]), "v": np.array([0, 3], np.float32)}
    layer = kit.node("OneHot", ["x", "d", "v"], ["y"])
    known = kit.model([layer], feeds, {"y": np.float32}, {"d": np.array(4)})
    assert execute(known, feeds).error == 0
    feeds["d"] = np.array(4)
    with pytest.raises(UnsupportedOperator, match="depth must be constant"):
        execute(kit.model([layer], feeds, {"y": np.float32}), feeds)


@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("keep", [0, 1])
def test_the_first_or_the_last_of_equal_elements(
    execute: Any, kit: Any, rng: Any, op_type: str, last: int, keep: int
) -> None:
    x = rng.integers(-2, 3, (2, 4, 5, 3)).astype(np.float32)
    for axis in range(-4, 4):
        layer = kit.node(op_type, ["x"], ["y"], axis=axis, keepdims=keep, select_last_index=last)
        assert execute(kit.model([layer], {"x": x}, {"y": np.int64}), {"x": x}).error == 0


@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("dtype", ["int32", "int64", "int8", "uint8"])
def test_arg_of_integers(execute: Any, kit: Any, op_type: str, dtype: str) -> None:
    limits = np.iinfo(dtype)
    x = np.array([[0, limits.max, limits.max - 1, limits.min, limits.min + 1]], dtype)
    layer = kit.node(op_type, ["x"], ["y"], axis=1)
    assert execute(kit.model([layer], {"x": x}, {"y": np.int64}), {"x": x}).error == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("time", [0, 1])
def test_reverse_sequence(
    execute: Any, kit: Any, rng: Any, time: int, computed: bool, dtype: str
) -> None:
    x = _numbers(rng, (4, 3, 2, 5), dtype)
    lengths = rng.integers(1, x.shape[time] + 1, x.shape[1 - time])
    layer = kit.node("ReverseSequence", ["x", "l"], ["y"], time_axis=time, batch_axis=1 - time)
    feeds = {"x": x} | ({"l": lengths} if computed else {})
    constants = {} if computed else {"l": lengths}
    run = execute(kit.model([layer], feeds, {"y": x.dtype}, constants), feeds)
    assert np.array_equal(run.outputs["y"], run.expected["y"])


def _slice(kit: Any, x: Any, starts: Any, ends: Any, steps: Any) -> Any:
    axes = np.arange(x.ndim)
    constants = {"b": np.array(starts), "e": np.array(ends), "a": axes, "s": np.array(steps)}
    layer = kit.node("Slice", ["x", *constants], ["y"])
    return kit.model([layer], {"x": x}, {"y": x.dtype}, constants)


@pytest.mark.parametrize("dtype", DTYPES)
def test_slices_of_every_kind(execute: Any, kit: Any, rng: Any, dtype: str) -> None:
    x = _numbers(rng, (3, 4, 2, 5), dtype)
    for starts, ends, steps in [
        ([-1, 0, 1, -1], [-9, 3, -9, -9], [-1, 2, -1, -2]),  # axes that are reversed, and not
        ([9, -9, 0, 4], [-9, 9, 2, 0], [-2, 3, 1, -1]),
        ([-4, -6, 0, 0], [-4, 1, 2, 5], [-2, 2, 1, 1]),  # a start before the first element
    ]:
        run = execute(_slice(kit, x, starts, ends, steps), {"x": x})
        assert np.array_equal(run.outputs["y"], run.expected["y"])


def test_a_computed_start_is_refused(execute: Any, kit: Any, rng: Any) -> None:
    feeds = {"x": _numbers(rng, (4, 3)), "b": np.array([1])}
    layer = kit.node("Slice", ["x", "b", "e"], ["y"])
    source = kit.model([layer], feeds, {"y": np.float32}, {"e": np.array([3])})
    with pytest.raises(UnsupportedOperator, match="starts must be constant"):
        execute(source, feeds)


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
@pytest.mark.parametrize("shape", [(5,), (4, 5), (1, 4, 5, 3), (2, 2, 3, 2, 2, 3)])
def test_pads_of_every_mode_and_rank(
    execute: Any, kit: Any, rng: Any, shape: Any, mode: str
) -> None:
    x = _numbers(rng, shape)
    rank = len(shape)
    for pads in [
        [1] * 2 * rank,  # all axes at once, more than the kernel takes
        [0] * (rank - 1) + [7] + [0] * rank,  # further out than the axis is long
        [*[0] * (rank - 1), -1, *[1] * rank],
    ]:
        if mode == "reflect" and (7 in pads or 1 in shape):
            continue  # see below
        layer = kit.node("Pad", ["x", "p"], ["y"], mode=mode)
        source = kit.model([layer], {"x": x}, {"y": np.float32}, {"p": np.array(pads)})
        assert execute(source, {"x": x}).error == 0


def test_reflection_further_out_runs_back_and_forth(kit: Any, rng: Any, tmp_path: Any) -> None:
    """ONNX Runtime refuses it; NumPy, which the standard follows, does not."""
    x = _numbers(rng, (1, 4, 5, 1))
    amounts = [(0, 0), (9, 1), (4, 13), (2, 0)]
    layer = kit.node("Pad", ["x", "p"], ["y"], mode="reflect")
    pads = np.array(amounts).T.reshape(-1)
    session = TARGET.open(
        TARGET.emit(kit.model([layer], {"x": x}, {"y": np.float32}, {"p": pads}), tmp_path)
    )
    assert np.array_equal(session.run({"x": x})["y"], np.pad(x, amounts, mode="reflect"))
    session.close()


@pytest.mark.parametrize("dtype", DTYPES)
def test_pad_with_a_value_of_every_type(execute: Any, kit: Any, rng: Any, dtype: str) -> None:
    x = _numbers(rng, (3, 4), dtype)
    constants = {"p": np.array([1, 0, 0, 2]), "v": np.array(1, dtype)}
    layer = kit.node("Pad", ["x", *constants], ["y"])
    run = execute(kit.model([layer], {"x": x}, {"y": x.dtype}, constants), {"x": x})
    assert np.array_equal(run.outputs["y"], run.expected["y"])


def test_pad_with_a_computed_value(execute: Any, kit: Any, rng: Any) -> None:
    feeds = {"x": _numbers(rng, (3, 4)), "v": np.array(2.5, np.float32)}
    layer = kit.node("Pad", ["x", "p", "v"], ["y"])
    source = kit.model([layer], feeds, {"y": np.float32}, {"p": np.array([1, 0, 0, 2])})
    assert execute(source, feeds).error == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op_type", ["Concat", "Expand", "Split", "Tile", "Where"])
def test_every_type_and_many_axes(
    execute: Any, kit: Any, rng: Any, op_type: str, dtype: str
) -> None:
    if (op_type, dtype) == ("Where", "bool"):
        pytest.skip("ONNX Runtime has no such kernel")
    x = _numbers(rng, (2, 1, 2, 2, 1, 2, 3), dtype)
    feeds, outputs = {"x": x}, {"y": x.dtype}
    constants: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    if op_type == "Concat":
        feeds["z"] = _numbers(rng, x.shape, dtype)
        attributes = {"axis": -3}
    elif op_type == "Where":
        feeds = {"c": _numbers(rng, x.shape, "bool"), **feeds, "z": _numbers(rng, (2, 3), dtype)}
    elif op_type == "Split":
        constants, attributes = {"s": np.array([1, 2])}, {"axis": -1}
        outputs["z"] = x.dtype
    else:
        constants = {"s": np.array([1, 3, 1, 1, 2, 1, 1])}
    layer = kit.node(op_type, [*feeds, *constants], list(outputs), **attributes)
    run = execute(kit.model([layer], feeds, outputs, constants), feeds)
    for name, expected in run.expected.items():
        assert np.array_equal(run.outputs[name], expected)


def test_more_than_eight_axes_are_refused(execute: Any, kit: Any, rng: Any) -> None:
    x = _numbers(rng, (2, 1, 2, 2, 1, 2, 3))
    layer = kit.node("Unsqueeze", ["x", "a"], ["y"])
    source = kit.model([layer], {"x": x}, {"y": np.float32}, {"a": np.array([0, 4])})
    with pytest.raises(UnsupportedOperator, match="9 axes"):
        execute(source, {"x": x})


def test_outputs_without_elements(execute: Any, kit: Any, rng: Any) -> None:
    x = _numbers(rng, (4, 3))
    nodes = [
        kit.node("Slice", ["x", "b", "b"], ["none"]),
        kit.node("ReduceSum", ["none", "zero"], ["total"]),
        kit.node("Add", ["x", "total"], ["y"]),
    ]
    constants = {"b": np.array([2]), "zero": np.array([0])}
    source = kit.model(nodes, {"x": x}, {"none": np.float32, "y": np.float32}, constants)
    run = execute(source, {"x": x})
    assert run.outputs["none"].shape == (0, 3)
    assert run.error == 0


@pytest.mark.parametrize(
    ("op_type", "shape"), [("DepthToSpace", (2, 8, 3, 2)), ("SpaceToDepth", (2, 2, 4, 6))]
)
def test_blocks_of_bool(kit: Any, rng: Any, tmp_path: Any, op_type: str, shape: Any) -> None:
    x = _numbers(rng, shape, "bool")
    layer = kit.node(op_type, ["x"], ["y"], blocksize=2)
    source = kit.model([layer], {"x": x}, {"y": np.bool_})
    (expected,) = ReferenceEvaluator(ir.to_proto(source)).run(None, {"x": x})
    session = TARGET.open(TARGET.emit(source, tmp_path))
    assert np.array_equal(session.run({"x": x})["y"], expected)
    session.close()
