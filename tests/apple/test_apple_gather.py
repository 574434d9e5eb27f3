"""Gather, GatherElements and GatherND against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgewise.errors import UnsupportedOperator
from edgewise.targets.apple import TARGET

SYSTEMS = ["iOS15", "iOS17"]


def _both(make: Any, op_type: str, x: Any, indices: Any, **attributes: Any) -> Any:
    """Two outputs: with constant indices and with computed ones."""
    nodes = [
        helper.make_node(op_type, ["x", "c"], ["known"], **attributes),
        helper.make_node(op_type, ["x", "i"], ["computed"], **attributes),
    ]
    feeds = {"x": x, "i": indices}
    return make.build_model(nodes, feeds, ["known", "computed"], {"c": indices}), feeds


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_gather(make: Any, matches_ort: Any, rng: Any, axis: int, system: str) -> None:
    x = make.random(3, 4, 5)
    indices = rng.integers(-3, 3, (2, 6))
    matches_ort(*_both(make, "Gather", x, indices, axis=axis), system=system)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.int8, np.uint8, np.bool_])
@pytest.mark.parametrize(
    ("op_type", "indices"),
    [
        ("Gather", np.array([[0, -1]])),
        ("GatherElements", np.array([[0, -1, 1, 1]])),
        ("GatherND", np.array([[0, -1], [-3, 1]])),
    ],
)
def test_integers_and_booleans(
    make: Any, matches_ort: Any, rng: Any, dtype: Any, op_type: str, indices: Any
) -> None:
    x = rng.integers(0, 100, (3, 4)).astype(dtype)
    matches_ort(*_both(make, op_type, x, indices))


def test_one_position(make: Any, matches_ort: Any) -> None:
    x = make.random(4)
    nodes = [
        helper.make_node("Gather", ["x", "i"], ["scalar"]),
        helper.make_node("GatherND", ["x", "v"], ["point"]),
        helper.make_node("GatherND", ["x", "c"], ["known"]),
    ]
    feeds = {"x": x, "v": np.array([-1])}
    constants = {"i": np.array(-2), "c": np.array([1])}
    matches_ort(make.build_model(nodes, feeds, ["scalar", "point", "known"], constants), feeds)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_elements_of_fewer_rows(
    make: Any, matches_ort: Any, rng: Any, axis: int, system: str
) -> None:
    """Along the axis there may be more indices than elements, elsewhere fewer."""
    x = make.random(3, 4, 2)
    wanted = [2, 3, 1]
    wanted[axis] = 5
    indices = rng.integers(-2, 2, wanted)
    matches_ort(*_both(make, "GatherElements", x, indices, axis=axis), system=system)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(
    ("shape", "outer", "depth", "batch"),
    [
        ((3, 4, 5), (2,), 1, 0),
        ((3, 4, 5), (2, 2), 3, 0),
        ((2, 3, 4), (2,), 2, 1),
        ((2, 3, 4), (2, 5), 1, 1),
        ((2, 3, 4, 5), (2, 3, 2), 1, 2),
        ((2, 1, 4, 5), (2, 1), 2, 2),
        ((1,), (3,), 1, 0),
    ],
)
def test_gather_nd(
    make: Any,
    matches_ort: Any,
    rng: Any,
    shape: tuple[int, ...],
    outer: tuple[int, ...],
    depth: int,
    batch: int,
    system: str,
) -> None:
    sizes = np.array(shape[batch : batch + depth])
    indices = rng.integers(-sizes, sizes, (*outer, depth))
    source = _both(make, "GatherND", make.random(*shape), indices, batch_dims=batch)
    matches_ort(*source, system=system)


def test_places_that_are_counted_need_no_wrapping(make: Any, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ArgMax", ["x"], ["i"], axis=1, keepdims=0),
        helper.make_node("TopK", ["x", "k"], ["v", "p"], axis=0),
        helper.make_node("Gather", ["t", "p"], ["y"]),
    ]
    x = make.random(4, 3)
    constants = {"t": make.random(4, 2), "k": np.array([1])}
    model = make.build_model(nodes, {"x": x}, ["i", "y"], constants)
    artifact = TARGET.emit(model, tmp_path)
    assert _operations(artifact.path).count("select") == 0


def test_an_embedding_stays_int8(make: Any, matches_ort: Any, tmp_path: Path, rng: Any) -> None:
    table = rng.integers(-127, 128, (50, 64)).astype(np.int8)
    scale = rng.uniform(0.01, 0.1, 50).astype(np.float32)
    dequantize, constants = make.quantized_weight("table", table, scale, axis=0)
    pair, parameters = make.quantized_pair("g", 0.07)
    nodes = [*dequantize, helper.make_node("Gather", ["table", "x"], ["g"]), *pair]
    constants |= parameters
    feeds = {"x": np.array([[3, -1, 49], [0, 0, 7]])}
    model = make.build_model(nodes, feeds, ["g_d"], constants)
    options = {"precision": "w8a8", "compute": "fp32", "system": "iOS17"}
    matches_ort(model, feeds, **options)
    (package,) = (tmp_path / "out").glob("*.mlpackage")
    weights = package / "Data/com.apple.CoreML/weights/weight.bin"
    assert table.nbytes <= weights.stat().st_size < 2 * table.nbytes


def test_an_index_out_of_range_is_refused(make: Any, tmp_path: Path) -> None:
    nodes = [helper.make_node("Gather", ["x", "c"], ["y"])]
    model = make.build_model(nodes, {"x": make.random(3)}, ["y"], {"c": np.array([3])})
    with pytest.raises(UnsupportedOperator, match="outside of its axis"):
        TARGET.emit(model, tmp_path)


def test_quantized_elements_are_gathered(make: Any, matches_ort: Any) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("Gather", ["q", "i"], ["g"], axis=1),
        helper.make_node("DequantizeLinear", ["g", "s", "z"], ["y"]),
        helper.make_node("Cast", ["y"], ["out"], to=TensorProto.FLOAT),
    ]
    constants = {
        "s": np.array(0.05, np.float32),
        "z": np.array(3, np.int8),
        "i": np.array([2, 0, -1]),
    }
    x = make.random(2, 4)
    model = make.build_model(nodes, {"x": x}, ["out"], constants)
    matches_ort(model, {"x": x}, precision="w8a8", compute="fp32")


def _operations(package: Path) -> list[str]:
    from edgewise.targets.apple._coremltools import ct

    spec = ct.utils.load_spec(str(package))
    main = spec.mlProgram.functions["main"]
    return [op.type for op in main.block_specializations[main.opset].operations]
