"""ScatterElements, ScatterND and TensorScatter against ONNX Runtime.

Where ONNX leaves open which of several updates holds, places do not repeat.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgewise.errors import UnsupportedOperator
from edgewise.targets.apple import TARGET

REDUCTIONS = ["none", "add", "mul", "max", "min"]


def _both(make: Any, op_type: str, x: Any, indices: Any, updates: Any, **attributes: Any) -> Any:
    """Two outputs: with constant indices and with computed ones."""
    nodes = [
        helper.make_node(op_type, ["x", "c", "u"], ["known"], **attributes),
        helper.make_node(op_type, ["x", "i", "u"], ["computed"], **attributes),
    ]
    feeds = {"x": x, "i": indices, "u": updates}
    return make.build_model(nodes, feeds, ["known", "computed"], {"c": indices}), feeds


def _all_different(rng: Any, shape: list[int], axis: int) -> Any:
    """Along the axis, which comes first, no place twice."""
    places = np.moveaxis(np.empty(shape), axis, 0)
    return np.argsort(rng.random(places.shape), axis=0) - places.shape[0]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_scatter_elements(make: Any, matches_ort: Any, rng: Any, axis: int, reduction: str) -> None:
    x = make.random(4, 5, 3)
    wanted = [2, 3, 3]
    indices = rng.integers(-3, 3, wanted)
    if reduction == "none":
        np.moveaxis(indices, axis, 0)[:] = _all_different(rng, wanted, axis)
    updates = make.random(*wanted, seed=1)
    source = _both(make, "ScatterElements", x, indices, updates, axis=axis, reduction=reduction)
    matches_ort(*source, system="iOS15" if axis else "iOS17")


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_scatter_nd(make: Any, matches_ort: Any, rng: Any, depth: int, reduction: str) -> None:
    shape = (3, 4, 2)
    x = make.random(*shape)
    sizes = shape[:depth]
    total = int(np.prod(sizes))
    repeats = reduction != "none"
    rows = rng.choice(total, (2, 1) if total < 4 else (2, 2), replace=repeats)
    indices = np.stack(np.unravel_index(rows, sizes), axis=-1)
    indices -= rng.integers(0, 2, indices.shape) * np.array(sizes)
    updates = make.random(*rows.shape, *shape[depth:], seed=1)
    matches_ort(*_both(make, "ScatterND", x, indices, updates, reduction=reduction))


@pytest.mark.parametrize("reduction", ["none", "add", "max"])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_integers(make: Any, matches_ort: Any, rng: Any, dtype: Any, reduction: str) -> None:
    """Sums beyond 8 bits start again from zero."""
    x = rng.integers(0, 200, (4, 3)).astype(dtype)
    updates = rng.integers(0, 200, (2, 3)).astype(dtype)
    indices = np.array([[0, 1, 1], [3, 3, 2]])
    matches_ort(*_both(make, "ScatterElements", x, indices, updates, reduction=reduction))


def test_booleans(make: Any, matches_ort: Any, tmp_path: Path) -> None:
    x, updates = np.array([True, False, True, False]), np.array([False, True])
    indices = np.array([[0], [-1]])
    matches_ort(*_both(make, "ScatterND", x, indices, updates))
    model, _ = _both(make, "ScatterND", x, indices, updates, reduction="add")
    with pytest.raises(UnsupportedOperator, match="booleans have no reduction"):
        TARGET.emit(model, tmp_path / "sum")


def test_neighbouring_rows_are_joined(make: Any, tmp_path: Path, matches_ort: Any) -> None:
    """What `x[1:3] = u` is exported to needs no scatter."""
    from edgewise.targets.apple._coremltools import ct

    nodes = [
        helper.make_node("ScatterND", ["x", "a", "u"], ["inner"]),
        helper.make_node("ScatterND", ["inner", "b", "v"], ["first"]),
        helper.make_node("ScatterND", ["first", "c", "w"], ["y"]),
    ]
    x = make.random(4, 3)
    feeds = {"x": x, "u": make.random(2, 3, seed=1), "v": make.random(1, 3, seed=2)}
    feeds["w"] = make.random(4, 3, seed=3)
    constants = {
        "a": np.array([[1], [2]]),
        "b": np.array([[0]]),
        "c": np.array([[0], [1], [2], [3]]),
    }
    model = make.build_model(nodes, feeds, ["inner", "first", "y"], constants)
    matches_ort(model, feeds)
    (package,) = (tmp_path / "out").glob("*.mlpackage")
    main = ct.utils.load_spec(str(package)).mlProgram.functions["main"]
    kinds = {op.type for op in main.block_specializations[main.opset].operations}
    assert not kinds & {"scatter", "scatter_nd", "gather"}


@pytest.mark.parametrize("mode", ["linear", "circular"])
@pytest.mark.parametrize(("shape", "axis"), [((2, 3, 5, 4), -2), ((2, 6, 3), 1)])
def test_tensor_scatter(
    make: Any, tmp_path: Path, shape: tuple[int, ...], axis: int, mode: str
) -> None:
    """ONNX Runtime has no such operator: what is written is told by NumPy."""
    size, length = shape[axis], 2
    starts = np.array([size - 1 if mode == "circular" else 1, 2])
    updated = [length if at == axis % len(shape) else s for at, s in enumerate(shape)]
    cache, update = make.random(*shape), make.random(*updated, seed=1)
    expected = cache.copy()
    for batch, step in np.ndindex(2, length):
        row = np.moveaxis(expected, axis, 1)[batch]
        row[(starts[batch] + step) % size] = np.moveaxis(update, axis, 1)[batch, step]
    nodes = [
        helper.make_node("TensorScatter", ["x", "u", start], [f"y_{start}"], axis=axis, mode=mode)
        for start in ("i", "c")
    ]
    feeds = {"x": cache, "u": update, "i": starts}
    model = make.build_model(nodes, feeds, ["y_i", "y_c"], {"c": starts}, opset=24)
    results = TARGET.open(TARGET.emit(model, tmp_path).path).run(feeds)
    assert np.array_equal(results["y_i"], expected)
    assert np.array_equal(results["y_c"], expected)


def test_writing_past_the_end_of_a_cache_is_refused(make: Any, tmp_path: Path) -> None:
    node = helper.make_node("TensorScatter", ["x", "u", "c"], ["y"], axis=1)
    feeds = {"x": make.random(1, 4, 2), "u": make.random(1, 2, 2)}
    model = make.build_model([node], feeds, ["y"], {"c": np.array([3])}, opset=24)
    with pytest.raises(UnsupportedOperator, match="past the end of the cache"):
        TARGET.emit(model, tmp_path)


@pytest.mark.parametrize("source", [(1, 1, 4, 4), (1, 2, 2, 3)])
def test_max_unpool(make: Any, matches_ort: Any, source: tuple[int, ...]) -> None:
    nodes = [helper.make_node("MaxUnpool", ["x", "i"], ["y"], kernel_shape=[2, 2], strides=[2, 2])]
    x = make.random(*source)
    planes, height, width = source[1], *source[2:]
    rows, columns = np.meshgrid(np.arange(height) * 2, np.arange(width) * 2 + 1, indexing="ij")
    offsets = np.arange(planes)[:, None, None] * 4 * height * width
    indices = (offsets + rows * 2 * width + columns)[None]
    feeds = {"x": x, "i": indices}
    matches_ort(make.build_model(nodes, feeds, ["y"]), feeds)


@pytest.mark.parametrize("op_type", ["ScatterND", "ScatterElements"])
def test_quantized_rows_that_are_all_replaced(make: Any, matches_ort: Any, op_type: str) -> None:
    """What is written over is not computed, and so its quantizations are no part of the package."""
    before, constants = make.quantized_pair("x", 0.02)
    rows = np.array([[0], [-1]]) if op_type == "ScatterND" else np.array([[0] * 3, [1] * 3])
    nodes = [*before, helper.make_node(op_type, ["x_d", "i", "u"], ["written"])]
    after, more = make.quantized_pair("written", 0.03)
    feeds = {"x": make.random(2, 3), "u": make.random(2, 3, seed=1)}
    constants |= more | {"i": rows}
    model = make.build_model([*nodes, *after], feeds, ["written_d"], constants)
    matches_ort(model, feeds, precision="w8a8", compute="fp32")
