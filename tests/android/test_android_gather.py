"""Gather, GatherElements and GatherND against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgewise.errors import UnsupportedOperator

DTYPES = ["float32", "int32", "int64", "int8", "uint8", "bool"]
SHAPES = [(7,), (4, 5), (3, 4, 5), (2, 3, 4, 5), (2, 3, 2, 3, 4)]


def _data(rng: Any, shape: Any, dtype: str = "float32") -> Any:
    return rng.integers(0, 2 if dtype == "bool" else 99, shape).astype(dtype)


def _source(
    kit: Any, op_type: str, x: Any, indices: Any, *, computed: bool, **attributes: Any
) -> Any:
    layer = kit.node(op_type, ["x", "i"], ["y"], **attributes)
    feeds = {"x": x, "i": indices} if computed else {"x": x}
    constants = {} if computed else {"i": indices}
    return kit.model([layer], feeds, {"y": x.dtype}, constants), feeds


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_gather_along_every_axis_counts_from_both_ends(
    execute: Any, kit: Any, rng: Any, shape: Any, computed: bool
) -> None:
    for axis in range(-len(shape), len(shape)):
        for places in [(), (3,), (2, 2)]:
            indices = np.asarray(rng.integers(-shape[axis], shape[axis], places))
            source, feeds = _source(
                kit, "Gather", _data(rng, shape), indices, computed=computed, axis=axis
            )
            assert execute(source, feeds).error == 0


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_gather_elements_reads_shorter_indices_too(
    execute: Any, kit: Any, rng: Any, shape: Any, computed: bool
) -> None:
    for axis in range(-len(shape), len(shape)):
        for places in [shape, tuple(max(1, dim - 1) for dim in shape)]:
            indices = rng.integers(-shape[axis], shape[axis], places)
            source, feeds = _source(
                kit, "GatherElements", _data(rng, shape), indices, computed=computed, axis=axis
            )
            assert execute(source, feeds).error == 0


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.parametrize("depth", [1, 2])
def test_gather_nd_with_batches(
    execute: Any, kit: Any, rng: Any, batch: int, depth: int, computed: bool
) -> None:
    shape = (2, 3, 4, 5, 2)
    places = (*shape[:batch], 3)
    parts = [rng.integers(-dim, dim, places) for dim in shape[batch : batch + depth]]
    source, feeds = _source(
        kit,
        "GatherND",
        _data(rng, shape),
        np.stack(parts, -1),
        computed=computed,
        batch_dims=batch,
    )
    assert execute(source, feeds).error == 0


@pytest.mark.parametrize("op_type", ["Gather", "GatherElements", "GatherND"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_is_moved(execute: Any, kit: Any, rng: Any, op_type: str, dtype: str) -> None:
    indices = np.array([[1, -1], [0, 1]])
    source, feeds = _source(kit, op_type, _data(rng, (3, 4), dtype), indices, computed=True)
    run = execute(source, feeds)
    assert np.array_equal(run.outputs["y"], run.expected["y"])


def test_positions_that_another_operator_found_need_no_care_for_negative_ones(kit: Any) -> None:
    x = np.zeros((3, 5), np.float32)
    nodes = [
        kit.node("ArgMax", ["x"], ["top"], axis=0, keepdims=0),
        kit.node("Gather", ["x", "top"], ["y"], axis=0),
    ]
    assert kit.kinds(kit.model(nodes, {"x": x}, {"y": np.float32})) == ["ARG_MAX", "GATHER"]


def test_an_image_is_gathered_where_it_lies(kit: Any) -> None:
    x = np.zeros((1, 3, 5, 4), np.float32)
    layer = kit.node("Gather", ["x", "i"], ["y"], axis=1)
    source = kit.model([layer], {"x": x}, {"y": np.float32}, {"i": np.array([2, 0])})
    assert kit.kinds(source) == ["GATHER"]


def test_a_constant_index_outside_is_refused_before_anything_is_written(
    execute: Any, kit: Any, rng: Any
) -> None:
    x = _data(rng, (3, 4))
    source, feeds = _source(kit, "Gather", x, np.array([3]), computed=False)
    with pytest.raises(UnsupportedOperator, match="outside of its axis"):
        execute(source, feeds)


@pytest.mark.parametrize("op_type", ["GatherElements", "GatherND"])
def test_int8_moves_at_one_scale(execute: Any, kit: Any, rng: Any, op_type: str) -> None:
    x = rng.uniform(-1, 1, (3, 4)).astype(np.float32)
    layer = kit.node(op_type, ["x", "i"], ["y"])
    indices = np.array([[1, -1], [0, 1]])
    parameters = {"x": (0.01, 4)}
    source = kit.int8_model(
        layer, {"x": x}, (0.01, 4), input_parameters=parameters, constants={"i": indices}
    )
    run = execute(source, {"x": x}, "w8a8")
    assert run.lsb == 0
    assert "android/float-island" not in run.rules()


@pytest.mark.parametrize("op_type", ["Gather", "GatherElements", "GatherND"])
def test_a_quantized_table_is_read_as_integers(
    execute: Any, kit: Any, rng: Any, op_type: str
) -> None:
    """No float table, and no QUANTIZE behind it."""
    table = rng.normal(0, 1, (20, 8)).astype(np.float32)
    ids = np.array([[3], [19], [0], [7]])
    indices = {"Gather": ids[:, 0], "GatherElements": np.tile(ids, 8), "GatherND": ids}[op_type]
    layers = [
        kit.node(op_type, ["table", "i"], ["row"]),
        kit.node("MatMul", ["row", "w"], ["y"]),
    ]
    constants = {"table": table, "w": rng.normal(0, 1, (8, 5)).astype(np.float32)}
    source = kit.model(layers, {"i": indices}, {"y": np.float32}, constants)
    model = kit.calibrated(source, [{"i": indices}])
    found = kit.kinds(model)
    assert "QUANTIZE" not in found
    assert "DEQUANTIZE" not in found
    assert execute(model, {"i": indices}, "w8a8").lsb <= kit.int8_tolerance


def test_a_table_with_a_scale_per_row_stays_in_float(execute: Any, kit: Any, rng: Any) -> None:
    scales = rng.uniform(0.01, 0.02, 20).astype(np.float32)
    constants = {
        "integers": rng.integers(-127, 128, (20, 8)).astype(np.int8),
        "scales": scales,
        "zeros": np.zeros(20, np.int8),
        "s": np.float32(0.02),
        "z": np.int8(0),
    }
    layers = [
        kit.node("DequantizeLinear", ["integers", "scales", "zeros"], ["table"], axis=0),
        kit.node("Gather", ["table", "i"], ["row"]),
        kit.node("QuantizeLinear", ["row", "s", "z"], ["q"]),
        kit.node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    indices = rng.integers(0, 20, 6)
    model = kit.model(layers, {"i": indices}, {"y": np.float32}, constants)
    assert kit.kinds(model)[-2:] == ["GATHER", "QUANTIZE"]
    assert execute(model, {"i": indices}, "w8a8").lsb <= kit.int8_tolerance
