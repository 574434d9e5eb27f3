"""TopK, ArgMax, ArgMin, OneHot and Hardmax against ONNX Runtime, equal elements above all."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from edgewise.errors import UnsupportedOperator
from edgewise.targets.apple import TARGET
from edgewise.targets.apple.interpreter.kernels import KERNELS

DTYPES = [np.float32, np.int64, np.int32, np.int8, np.uint8]


def _equal_elements(rng: Any, shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
    return rng.integers(0, 4, shape).astype(dtype)


@pytest.fixture
def other_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Core ML whose `topk` puts the last of equal elements first, as MIL allows."""
    original = KERNELS["topk"]

    def last_first(node: Any) -> Any:
        run, axis = original(node), node.integer("axis", -1)

        def turned(inputs: Any) -> Any:
            x = np.asarray(inputs["x"])
            values, places = run({**inputs, "x": np.flip(x, axis)})
            return [values, x.shape[axis] - 1 - places]

        return turned

    monkeypatch.setitem(KERNELS, "topk", last_first)


@pytest.mark.usefixtures("other_order")
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_top_k(make: Any, matches_ort: Any, rng: Any, dtype: Any, axis: int) -> None:
    x = _equal_elements(rng, (3, 7, 5), dtype)
    constants = {"one": np.array([1]), "k": np.array([3]), "all": np.array([x.shape[axis]])}
    nodes, outputs = [], []
    for k, largest in product(constants, (0, 1)):
        found = [f"v_{k}{largest}", f"i_{k}{largest}"]
        nodes.append(helper.make_node("TopK", ["x", k], found, axis=axis, largest=largest))
        outputs += found
    matches_ort(make.build_model(nodes, {"x": x}, outputs, constants), {"x": x})


@pytest.mark.usefixtures("other_order")
def test_top_k_of_vectors_and_of_one_element(node_matches_ort: Any, rng: Any) -> None:
    node_matches_ort("TopK", [_equal_elements(rng, (9,)), np.array([4])], outputs=2)
    node_matches_ort("TopK", [(1, 1), np.array([1])], outputs=2)
    node_matches_ort("TopK", [(2, 2, 1, 2, 6), np.array([2])], outputs=2)


def test_values_alone_need_one_sort(make: Any, matches_ort: Any, tmp_path: Path) -> None:
    from edgewise.targets.apple._coremltools import ct

    nodes = [
        helper.make_node("TopK", ["x", "k"], ["v", "i"]),
        helper.make_node("Neg", ["v"], ["y"]),
    ]
    x = make.random(2, 6)
    matches_ort(make.build_model(nodes, {"x": x}, ["y"], {"k": np.array([2])}), {"x": x})
    (package,) = (tmp_path / "out").glob("*.mlpackage")
    main = ct.utils.load_spec(str(package)).mlProgram.functions["main"]
    kinds = [op.type for op in main.block_specializations[main.opset].operations]
    assert kinds.count("topk") == 1 and "cumsum" not in kinds


def test_more_elements_than_there_are(make: Any, tmp_path: Path) -> None:
    node = helper.make_node("TopK", ["x", "k"], ["v", "i"])
    x = make.random(2, 3)
    model = make.build_model([node], {"x": x}, ["v", "i"], {"k": np.array([4])})
    with pytest.raises(UnsupportedOperator, match="4 of 3 elements"):
        TARGET.emit(model, tmp_path)


@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_first_and_last_extremum(
    make: Any, matches_ort: Any, rng: Any, op_type: str, last: int, dtype: Any
) -> None:
    x = _equal_elements(rng, (3, 9, 4), dtype)
    nodes = [
        helper.make_node(
            op_type, ["x"], [f"y{axis}"], axis=axis, keepdims=axis % 2, select_last_index=last
        )
        for axis in (0, 1, 2)
    ]
    matches_ort(make.build_model(nodes, {"x": x}, ["y0", "y1", "y2"]), {"x": x})


@pytest.mark.parametrize("count", [1, 2048, 2049, 5000])
def test_positions_beyond_what_fp16_holds(
    make: Any, matches_ort: Any, rng: Any, count: int
) -> None:
    """Every position stays whole, though the numbers compared are rounded to fp16."""
    x = np.zeros((4, count), np.float32)
    x[np.arange(4), [0, count // 2, count - 1, count // 3]] = 1
    nodes = [helper.make_node("ArgMax", ["x"], ["y"], axis=1)]
    matches_ort(make.build_model(nodes, {"x": x}, ["y"]), {"x": x}, precision="fp16")


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int8, np.bool_])
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(make: Any, tmp_path: Path, axis: int, dtype: Any) -> None:
    """Negative positions count from the end, and what is out of range is hot nowhere. ONNX Runtime
    has few element types here, so what is expected is written out."""
    indices = np.array([[0, 2, -1], [-3, 7, -9]])
    pairs = {"unit": np.array([0, 1]).astype(dtype), "other": np.array([5, 0]).astype(dtype)}
    nodes = [
        helper.make_node("OneHot", ["x", "d", name], [f"y_{name}"], axis=axis) for name in pairs
    ]
    constants = {"d": np.array(3), **pairs}
    model = make.build_model(nodes, {"x": indices}, [f"y_{name}" for name in pairs], constants)
    results = TARGET.open(TARGET.emit(model, tmp_path).path).run({"x": indices})
    hot = np.moveaxis((indices % 3)[..., None] == np.arange(3), -1, axis)
    hot &= np.expand_dims((indices >= -3) & (indices < 3), axis)
    for name, (off, on) in pairs.items():
        found = results[f"y_{name}"]
        assert found.dtype == dtype and np.array_equal(found, np.where(hot, on, off))


def test_one_hot_of_infinite_and_of_computed_values(
    make: Any, matches_ort: Any, node_matches_ort: Any
) -> None:
    """Masks are infinite, and ONNX cuts float positions off."""
    masked = np.array([-np.inf, 0], np.float32)
    node_matches_ort("OneHot", [np.array([1, 0]), np.array(4), masked])
    nodes = [helper.make_node("OneHot", ["i", "d", "v"], ["y"])]
    feeds = {"i": np.array([0.0, 2.7, -1.0], np.float32), "v": np.array([2.5, np.inf], np.float32)}
    depth = {"d": np.array(3.0, np.float32)}
    matches_ort(make.build_model(nodes, feeds, ["y"], depth), feeds)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_hardmax(node_matches_ort: Any, rng: Any, axis: int) -> None:
    node_matches_ort("Hardmax", [_equal_elements(rng, (3, 4, 5))], {"axis": axis})


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    k=st.integers(1, 4),
    largest=st.booleans(),
    seed=st.integers(0, 99),
)
def test_top_k_of_any_shape(
    node_matches_ort: Any, shape: list[int], k: int, largest: bool, seed: int
) -> None:
    x = np.random.default_rng(seed).integers(-2, 2, shape).astype(np.float32)
    operands = [x, np.array([min(k, shape[0])])]
    node_matches_ort("TopK", operands, {"axis": 0, "largest": int(largest)}, outputs=2)
