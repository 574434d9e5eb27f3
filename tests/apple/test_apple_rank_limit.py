"""Tensors of more than five axes: each rule as ONNX against ONNX Runtime, then whole packages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import helper

from edgewise.errors import EdgewiseError
from edgewise.graph import OrtSession, prepare
from edgewise.targets.apple import TARGET
from edgewise.targets.apple.collapse import MAX_RANK
from edgewise.targets.apple.rank_limit import limit_rank

Array = npt.NDArray[Any]
SEVEN = (2, 1, 3, 2, 1, 2, 3)
SIX = (2, 3, 4, 2, 2, 3)
EIGHT = (2, 3, 2, 3, 2, 3, 2, 2)
searched = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-2, 2, shape).astype(np.float32)


def ints(*items: int) -> Array:
    return np.array(items, np.int64)


@pytest.fixture
def stays_equal(make: Any) -> Any:
    """The model of one node, before and after, run on the same numbers."""

    def check(
        op_type: str,
        feeds: Mapping[str, Array],
        constants: Mapping[str, Array] | None = None,
        attributes: Mapping[str, Any] | None = None,
        outputs: int = 1,
    ) -> None:
        made = [f"y{k}" for k in range(outputs)]
        inputs = [*feeds, *(constants or {})]
        node = helper.make_node(op_type, inputs, made, name="node", **(attributes or {}))
        source = make.build_model([node], feeds, made, constants)
        expected = OrtSession(prepare(source)).run(feeds)
        model = prepare(source)
        limited = limit_rank(model)
        assert limited.changed
        assert not limited.declined
        values = [v for n in model.graph.all_nodes() for v in n.outputs]
        assert all(v.shape is not None and len(v.shape) <= MAX_RANK for v in values)
        shapes = {v.name: [int(d) for d in v.shape or ()] for v in model.graph.inputs}
        results = OrtSession(model).run({k: v.reshape(shapes[k]) for k, v in feeds.items()})
        for name, wanted in expected.items():
            found = results[name].reshape(wanted.shape)
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)

    return check


@pytest.mark.parametrize(
    "shapes",
    [
        (SEVEN, SEVEN),
        (SEVEN, (2, 4, 1, 2, 1, 1, 3)),
        (SEVEN, (3,)),
        ((2, 1, 3, 1, 2, 1, 3), (1, 2, 1, 2, 1, 2, 1)),  # nothing merges
        (SEVEN, ()),
    ],
)
def test_broadcasting(stays_equal: Any, shapes: Any) -> None:
    first, second = shapes
    stays_equal("Sub", {"a": numbers(*first), "b": numbers(*second, seed=1)})


@searched
@given(
    shapes=hnp.mutually_broadcastable_shapes(num_shapes=3, min_dims=6, max_dims=8, max_side=3),
    data=st.data(),
)
def test_any_broadcasting(stays_equal: Any, shapes: Any, data: Any) -> None:
    a, b, c = shapes.input_shapes
    condition = np.random.default_rng(2).uniform(size=c) > 0.5
    stays_equal("Where", {"c": condition, "a": numbers(*a), "b": numbers(*b, seed=1)})


@searched
@given(perm=st.permutations(range(8)))
def test_any_transposition(stays_equal: Any, perm: Any) -> None:
    stays_equal("Transpose", {"a": numbers(*EIGHT)}, attributes={"perm": list(perm)})


@searched
@given(axes=st.sets(st.integers(-8, 7), max_size=8), keep=st.booleans())
def test_any_reduction(stays_equal: Any, axes: Any, keep: bool) -> None:
    distinct = sorted({axis % 8 for axis in axes})
    stays_equal(
        "ReduceMean", {"a": numbers(*EIGHT)}, {"axes": ints(*distinct)}, {"keepdims": int(keep)}
    )


@pytest.mark.parametrize("axis", [0, 3, -1])
@pytest.mark.parametrize(
    ("op_type", "constants", "outputs"),
    [
        ("Softmax", {}, 1),
        ("LogSoftmax", {}, 1),
        ("ArgMax", {}, 1),
        ("LpNormalization", {}, 1),
        ("TopK", {"k": ints(2)}, 2),
        ("Gather", {"i": np.array([[1, 0], [-1, 0]])}, 1),
        ("Concat", {"b": numbers(*SEVEN, seed=1)}, 1),
    ],
)
def test_operators_of_one_axis(
    stays_equal: Any, op_type: str, constants: Any, outputs: int, axis: int
) -> None:
    stays_equal(op_type, {"a": numbers(*SEVEN)}, constants, {"axis": axis}, outputs)


def test_running_sums(stays_equal: Any) -> None:
    stays_equal("CumSum", {"a": numbers(*SEVEN)}, {"axis": np.array(2)}, {"reverse": 1})


def test_split(stays_equal: Any) -> None:
    parts = {"axis": 2, "num_outputs": 2}
    stays_equal("Split", {"a": numbers(*SEVEN)}, attributes=parts, outputs=2)


def test_indices_of_a_new_axis(stays_equal: Any) -> None:
    stays_equal("Gather", {"a": numbers(4, 3, 2)}, {"i": np.ones((1, 2, 2, 2), np.int64)})
    stays_equal("GatherElements", {"a": numbers(*SEVEN)}, {"i": np.zeros(SEVEN, np.int64)})
    depth, values = np.array(3), np.array([0, 1], np.float32)
    indices = np.arange(8).reshape(2, 1, 2, 2, 1, 1) % 3
    stays_equal("OneHot", {"a": indices}, {"d": depth, "v": values}, {"axis": 2})


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("axis", [0, 2, -1])
@pytest.mark.parametrize("reached", [SIX, (1, 2, 1, 2, 2, 3)])
def test_positions_along_one_axis(stays_equal: Any, axis: int, reached: Any, known: bool) -> None:
    """Fewer indices than elements on the other axes, and negative ones."""
    x, size = numbers(*SIX), SIX[axis]
    shape = [*reached]
    shape[axis] = 2
    moved = np.moveaxis(np.zeros(shape, np.int64), axis, -1) + np.array([-size, size - 1])
    picked = {"i": np.ascontiguousarray(np.moveaxis(moved, -1, axis))}
    written = picked | {"u": numbers(*shape, seed=1)}
    for op_type, indices in (("GatherElements", picked), ("ScatterElements", written)):
        feeds, constants = ({"x": x}, indices) if known else ({"x": x, **indices}, {})
        stays_equal(op_type, feeds, constants, {"axis": axis})


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("depth", [1, 3, 6])
def test_tuples_of_indices(stays_equal: Any, depth: int, known: bool) -> None:
    x = numbers(*SIX)
    rows = np.array([[0, 1, 2, 1, 0, 2], [-1, 0, -3, -2, 1, -1], [1, 2, 0, 0, 1, 0]])
    picked = {"i": rows[:, :depth].copy()}
    written = picked | {"u": numbers(3, *SIX[depth:], seed=1)}
    for op_type, indices, attributes in (
        ("GatherND", picked, {}),
        ("ScatterND", written, {}),
        ("ScatterND", written, {"reduction": "add"}),
    ):
        feeds, constants = ({"x": x}, indices) if known else ({"x": x, **indices}, {})
        stays_equal(op_type, feeds, constants, attributes)


@pytest.mark.parametrize("known", [True, False])
def test_tuples_of_indices_in_batches(stays_equal: Any, known: bool) -> None:
    x = numbers(*SIX)
    pairs = np.array([[1, 1], [-4, 0], [-1, -2], [2, 0]])
    indices = {"i": np.broadcast_to(pairs, (2, 3, 4, 2)).copy()}
    first, second = ({"x": x}, indices) if known else ({"x": x} | indices, {})
    stays_equal("GatherND", first, second, {"batch_dims": 2})


def test_reversed_sequences(stays_equal: Any) -> None:
    axes = {"batch_axis": 1, "time_axis": 0}
    stays_equal("ReverseSequence", {"x": numbers(3, 2, 1, 2, 2, 2)}, {"n": ints(2, 3)}, axes)


@pytest.mark.parametrize("op_type", ["ReduceSum", "ReduceL2", "ReduceSumSquare"])
def test_reductions_over_no_axes(stays_equal: Any, op_type: str) -> None:
    stays_equal(op_type, {"x": numbers(*SIX)}, attributes={"noop_with_empty_axes": 1})


def test_what_works_axis_by_axis(stays_equal: Any) -> None:
    x = numbers(2, 3, 2, 2, 3, 3)
    bounds = {"s": ints(0, -1, 1), "e": ints(1, -5, 2), "a": ints(0, 4, -1), "t": ints(1, -1, 1)}
    stays_equal("Slice", {"x": x}, bounds)
    stays_equal("Pad", {"x": x}, {"p": ints(1, 0, 0, 1, 0, 2, 0, 1, 0, 0, 1, -1)})
    stays_equal(
        "Pad", {"x": x}, {"p": ints(1, 0, 0, 1, 0, 2, 0, 1, 0, 0, 1, 1)}, {"mode": "reflect"}
    )
    stays_equal("Tile", {"x": x}, {"r": ints(1, 2, 1, 3, 1, 1)})
    stays_equal("Expand", {"x": numbers(*SEVEN)}, {"s": ints(2, 4, 3, 2, 5, 2, 3)})
    stays_equal("Expand", {"x": numbers(3, 1)}, {"s": ints(2, 2, 2, 2, 3, 2)})


def test_products_of_matrices(stays_equal: Any) -> None:
    a = numbers(2, 1, 3, 1, 2, 4)
    stays_equal("MatMul", {"a": a, "b": numbers(1, 2, 1, 2, 4, 3)})
    stays_equal("MatMul", {"a": a}, {"b": numbers(4, 3)})
    stays_equal("MatMul", {"a": a}, {"b": numbers(4)})
    stays_equal("MatMul", {"b": numbers(2), "a": a})
    stays_equal("MatMul", {"b": numbers(2), "a": numbers(1, 1, 1, 1, 2, 4)})


def test_normalization(stays_equal: Any) -> None:
    stays_equal(
        "LayerNormalization",
        {"x": numbers(*SEVEN)},
        {"scale": numbers(2, 3), "shift": numbers(2, 3, seed=1)},
        {"axis": -2},
    )
    parameters = {name: np.abs(numbers(3, seed=k)) for k, name in enumerate("gbmv")}
    stays_equal("BatchNormalization", {"x": numbers(2, 3, 1, 2, 2, 2)}, parameters)


@pytest.mark.parametrize("op_type", ["Squeeze", "Unsqueeze"])
def test_reshapes(stays_equal: Any, op_type: str) -> None:
    x = numbers(*SEVEN) if op_type == "Squeeze" else numbers(2, 3, 4)
    axes = ints(1, 4) if op_type == "Squeeze" else ints(0, 2, 4, 5)
    stays_equal(op_type, {"x": x}, {"axes": axes})


def test_quantization(stays_equal: Any) -> None:
    x, zero = numbers(*SEVEN), np.int8(3)
    stays_equal("QuantizeLinear", {"x": x}, {"s": np.array(0.05, np.float32), "z": np.array(zero)})
    scales = np.array([0.01, 0.02, 0.04], np.float32)
    zeros = np.array([1, 2, 3], np.int8)
    stays_equal("QuantizeLinear", {"x": x}, {"s": scales, "z": zeros}, {"axis": 2})


def test_seven_axes_within_and_around_a_package(make: Any, matches_ort: Any) -> None:
    """Inputs, outputs and everything between; at the border the last axes are merged."""
    x = numbers(*SEVEN)
    nodes = [
        helper.make_node("Add", ["x", "bias"], ["sum"]),
        helper.make_node("Transpose", ["sum"], ["turned"], perm=[6, 4, 2, 0, 1, 3, 5]),
        helper.make_node("Relu", ["turned"], ["y"]),
        helper.make_node("ReduceMax", ["y", "axes"], ["z"], keepdims=0),
    ]
    constants = {"bias": numbers(2, 1, 1, 2, 1, 1, 3, seed=1), "axes": ints(0, 3)}
    results = matches_ort(make.build_model(nodes, {"x": x}, ["y", "z"], constants), {"x": x})
    assert results["y"].shape == (3, 1, 3, 2, 1, 2, 2)


def test_six_axes_that_nothing_reads(make: Any, matches_ort: Any) -> None:
    feeds = {"x": make.random(2, 3), "unused": numbers(*SIX)}
    node = helper.make_node("Relu", ["x"], ["y"])
    matches_ort(make.build_model([node], feeds, ["y"]), feeds)


def test_six_axes_given_back_by_an_operator_that_takes_them_merged(
    make: Any, matches_ort: Any
) -> None:
    x = numbers(*SIX)
    node = helper.make_node("Max", ["x", "c"], ["y"])
    model = make.build_model([node], {"x": x}, ["y"], {"c": numbers(3, 1, 1, 1, 1)})
    assert matches_ort(model, {"x": x})["y"].shape == SIX


def test_quantized_layers_of_six_axes_are_compared(make: Any, tmp_path: Path) -> None:
    before, constants = make.quantized_pair("x", 0.02)
    after, more = make.quantized_pair("p", 0.03)
    nodes = [*before, helper.make_node("Sigmoid", ["x_d"], ["p"], name="sigmoid"), *after]
    x = numbers(*SIX)
    model = make.build_model(nodes, {"x": x}, ["p_d"], {**constants, **more})
    artifact = TARGET.emit(model, tmp_path, "w8a8")
    report = TARGET.compare_layers(model, artifact, [{"x": x}])
    assert [layer.tensor for layer in report.layers] == ["x_q", "p_q"]
    assert not report.beyond


def test_a_window_of_six_axes_is_refused(make: Any, tmp_path: Path) -> None:
    x = numbers(1, 1, 3, 3, 3, 3)
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
    model = make.build_model([node], {"x": x}, ["y"], {"w": numbers(1, 1, 2, 2, 2, 2)})
    with pytest.raises(EdgewiseError, match="at most 5 axes"):
        TARGET.emit(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
