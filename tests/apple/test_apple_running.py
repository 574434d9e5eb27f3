"""CumSum, CumProd, ReverseSequence, Trilu, EyeLike, CenterCropPad, Col2Im, Einsum, n-grams."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int32])
@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_cum_sum(
    make: Any, matches_ort: Any, rng: Any, dtype: Any, exclusive: int, reverse: int
) -> None:
    x = rng.integers(-9, 9, (3, 4, 5)).astype(dtype)
    axes = {"a": np.array(0), "b": np.array(1), "c": np.array(-1), "d": np.array(-3)}
    nodes = [
        helper.make_node("CumSum", ["x", axis], [f"y{axis}"], exclusive=exclusive, reverse=reverse)
        for axis in axes
    ]
    model = make.build_model(nodes, {"x": x}, [f"y{axis}" for axis in axes], axes)
    matches_ort(model, {"x": x})


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8, np.bool_])
@pytest.mark.parametrize(("time", "batch"), [(0, 1), (1, 0)])
def test_reverse_sequence(
    make: Any, matches_ort: Any, rng: Any, time: int, batch: int, dtype: Any
) -> None:
    x = rng.integers(0, 100, (4, 3, 2)).astype(dtype)
    lengths = rng.integers(1, x.shape[time] + 1, x.shape[batch])
    nodes = [
        helper.make_node(
            "ReverseSequence", ["x", name], [f"y{name}"], time_axis=time, batch_axis=batch
        )
        for name in ("l", "c")
    ]
    feeds = {"x": x, "l": lengths}
    matches_ort(make.build_model(nodes, feeds, ["yl", "yc"], {"c": lengths}), feeds)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
@pytest.mark.parametrize("upper", [0, 1])
def test_trilu(make: Any, matches_ort: Any, rng: Any, upper: int, dtype: Any) -> None:
    """The diagonal may be computed."""
    x = rng.integers(0, 5, (2, 4, 3)).astype(dtype)
    nodes = [helper.make_node("Trilu", ["x", k], [f"y{k}"], upper=upper) for k in ("a", "b", "k")]
    feeds = {"x": x, "k": np.array([2])}
    nodes.insert(0, helper.make_node("Squeeze", ["k"], ["s"]))
    nodes[-1].input[1] = "s"
    constants = {"a": np.array(-1), "b": np.array(1)}
    matches_ort(make.build_model(nodes, feeds, ["ya", "yb", "yk"], constants), feeds)


def test_eye_like(make: Any, matches_ort: Any) -> None:
    nodes = [
        helper.make_node("EyeLike", ["x"], ["e"], k=1, dtype=TensorProto.FLOAT),
        helper.make_node("Add", ["e", "x"], ["y"]),
    ]
    feeds = {"x": make.random(3, 5)}
    matches_ort(make.build_model(nodes, feeds, ["y"]), feeds)


@pytest.mark.parametrize("equation", ["bij,bjk->bik", "bhid,bhjd->bhij", "ij->ji", "ii->i", "i,j"])
def test_einsum(make: Any, matches_ort: Any, equation: str) -> None:
    sizes = {"b": 2, "h": 3, "i": 4, "j": 5, "k": 3, "d": 6}
    terms = equation.split("->")[0].split(",")
    shapes = [tuple(sizes[letter] for letter in term) for term in terms]
    feeds = {f"x{n}": make.random(*shape, seed=n) for n, shape in enumerate(shapes)}
    nodes = [helper.make_node("Einsum", list(feeds), ["y"], equation=equation)]
    matches_ort(make.build_model(nodes, feeds, ["y"]), feeds)


def test_where_with_computed_conditions(make: Any, matches_ort: Any) -> None:
    nodes = [
        helper.make_node("Greater", ["x", "z"], ["c"]),
        helper.make_node("Where", ["c", "x", "v"], ["y"]),
        helper.make_node("Where", ["c", "v", "z"], ["broadcast"]),
        helper.make_node("Where", ["m", "x", "v"], ["given"]),
    ]
    feeds = {
        "x": make.random(3, 4),
        "v": make.random(4, seed=1),
        "m": np.array([[True], [False], [True]]),
    }
    model = make.build_model(
        nodes, feeds, ["y", "broadcast", "given"], {"z": np.array(0.0, np.float32)}
    )
    matches_ort(model, feeds)
