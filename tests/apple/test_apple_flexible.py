"""Packages whose inputs have several sizes, against ONNX Runtime at each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from edgewise.errors import ModelError, UnsupportedOperator, UsageError
from edgewise.graph import OrtSession
from edgewise.targets import EmitOptions
from edgewise.targets.apple import TARGET
from edgewise.targets.apple._coremltools import ct
from edgewise.targets.apple.flexible.sizes import FlexibleShape, proving_shapes, read_shapes
from edgewise.targets.apple.interpreter import Interpreter

SIZES = "1,3,24,24; 1,3,32,48; 1,3,17,24"
RANGE = "1,3,16..64,16..64"


def _free(model: ir.Model, *axes: int, name: str = "x") -> ir.Model:
    """The model with sizes that are names."""
    (value,) = [v for v in model.graph.inputs if v.name == name]
    assert value.shape is not None
    shape = [f"s{k}" if k in axes else size for k, size in enumerate(value.shape)]
    value.shape = ir.Shape(shape)
    for node in model.graph:
        for output in node.outputs:
            output.shape = None
    return model


def _cnn(make: Any) -> ir.Model:
    """Strided and padded convolutions, a residual, pooling, flatten and a linear layer."""
    w = {
        "w1": make.random(8, 3, 3, 3, seed=1),
        "w2": make.random(8, 8, 3, 3, seed=2, low=-0.2, high=0.2),
        "w3": make.random(5, 8, seed=3),
    }
    pads = [1, 1, 1, 1]
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], name="stem", strides=[2, 2], pads=pads),
        helper.make_node("Relu", ["a"], ["b"], name="cut"),
        helper.make_node("Conv", ["b", "w2"], ["c"], name="mid", pads=pads),
        helper.make_node("Add", ["b", "c"], ["d"], name="sum"),
        helper.make_node("MaxPool", ["d"], ["e"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["e"], ["g"], name="mean"),
        helper.make_node("Flatten", ["g"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "w3"], ["y"], name="fc", transB=1),
    ]
    return _free(make.build_model(nodes, {"x": make.random(1, 3, 24, 24)}, ["y"], w), 2, 3)


def _emit(model: Any, folder: Path, shapes: Any, precision: str = "fp32", **more: Any) -> Any:
    options = EmitOptions(options={"shapes": shapes, **more})
    return TARGET.emit(model, folder, precision, options=options)


def _check(model: Any, artifact: Any, make: Any, shapes: list[tuple[int, ...]]) -> None:
    session, reference = TARGET.open(artifact), OrtSession(model)
    for seed, shape in enumerate(shapes):
        feeds = {"x": make.random(*shape, seed=seed)}
        found, expected = session.run(feeds), reference.run(feeds)
        for name, array in expected.items():
            assert found[name].shape == array.shape
            np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-4)


def test_listed_shapes(make: Any, tmp_path: Path) -> None:
    model = _cnn(make)
    artifact = _emit(model, tmp_path, {"x": SIZES})
    _check(model, artifact, make, [(1, 3, 24, 24), (1, 3, 32, 48), (1, 3, 17, 24)])
    assert artifact.manifest.options["shapes"] == {
        "x": "1,3,24,24;1,3,32,48;1,3,17,24".replace(";", "; ")
    }
    spec = ct.utils.load_spec(str(artifact.path))
    kind = spec.description.input[0].type.multiArrayType
    listed = sorted(list(shape.shape) for shape in kind.enumeratedShapes.shapes)
    assert listed == [[1, 3, 17, 24], [1, 3, 24, 24], [1, 3, 32, 48]]
    assert list(kind.shape) == [1, 3, 24, 24]  # the default
    with pytest.raises(ModelError, match=r"made for 1,3,24,24; 1,3,32,48"):
        TARGET.open(artifact).run({"x": make.random(1, 3, 20, 20)})


def test_ranges(make: Any, tmp_path: Path) -> None:
    model = _cnn(make)
    artifact = _emit(model, tmp_path, {"x": RANGE})
    shapes = [(1, 3, 16, 16), (1, 3, 64, 64), (1, 3, 33, 50), (1, 3, 21, 47)]
    _check(model, artifact, make, shapes)
    kind = ct.utils.load_spec(str(artifact.path)).description.input[0].type.multiArrayType
    ends = [(r.lowerBound, r.upperBound) for r in kind.shapeRange.sizeRanges]
    assert ends == [(1, 1), (3, 3), (16, 64), (16, 64)]
    assert artifact.manifest.inputs[0].hub_shape == (1, 3, "s2", "s3")
    rules = {finding.rule for finding in artifact.findings}
    assert "apple/ane-dynamic-shape" in rules
    for bad in ((1, 3, 15, 16), (1, 3, 16, 65), (2, 3, 16, 16)):
        with pytest.raises(ModelError, match=r"made for 1,3,16\.\.64,16\.\.64"):
            TARGET.open(artifact).run({"x": make.random(*bad)})


def test_fp16_and_bytes(make: Any, tmp_path: Path) -> None:
    model = _cnn(make)
    first = _emit(model, tmp_path / "a", {"x": RANGE}, "fp16")
    second = _emit(model, tmp_path / "b", {"x": RANGE}, "fp16")
    hashes = [a.manifest.files for a in (first, second)]
    assert hashes[0] == hashes[1]
    feeds = {"x": make.random(1, 3, 40, 33)}
    found, expected = TARGET.open(first).run(feeds)["y"], OrtSession(model).run(feeds)["y"]
    assert float(np.abs(found - expected).max()) < 0.02 * float(np.ptp(expected))


def test_quantized(make: Any, tmp_path: Path) -> None:
    model = _free(make.quantized_cnn(), 2, 3)
    artifact = _emit(model, tmp_path, {"x": RANGE}, "w8a8", compute="fp32")
    session, reference = TARGET.open(artifact), OrtSession(model)
    for shape in ((1, 3, 16, 16), (1, 3, 37, 22)):
        feeds = {"x": make.random(*shape)}
        np.testing.assert_array_equal(session.run(feeds)["y_d"], reference.run(feeds)["y_d"])
    form = [f for f in artifact.findings if f.rule == "apple/quantized-form"]
    assert form and "3 of 3" in form[0].message


def test_sequences_of_any_length(make: Any, tmp_path: Path) -> None:
    """Attention over tokens: reshapes to the input's sizes, and equal sizes of two inputs."""
    c, heads = 8, 2
    shape = {k: np.array(v) for k, v in {"s": [1, -1, heads, c // heads], "t": [1, -1, c]}.items()}
    w = {k: make.random(c, c, seed=n) for n, k in enumerate(("wq", "wk", "wv"))}
    nodes = []
    for k in "qkv":
        perm = [0, 2, 3, 1] if k == "k" else [0, 2, 1, 3]
        nodes += [
            helper.make_node("MatMul", ["x", f"w{k}"], [f"{k}0"]),
            helper.make_node("Reshape", [f"{k}0", "s"], [f"{k}1"]),
            helper.make_node("Transpose", [f"{k}1"], [f"{k}2"], perm=perm),
        ]
    nodes += [
        helper.make_node("MatMul", ["q2", "k2"], ["p0"]),
        helper.make_node("Add", ["p0", "m"], ["p1"]),
        helper.make_node("Softmax", ["p1"], ["p"]),
        helper.make_node("MatMul", ["p", "v2"], ["o0"]),
        helper.make_node("Transpose", ["o0"], ["o1"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["o1", "t"], ["y"]),
    ]
    inputs = {"x": make.random(1, 6, c), "m": make.random(1, 1, 1, 6)}
    model = make.build_model(nodes, inputs, ["y"], {**shape, **w})
    for name, axis in (("x", 1), ("m", 3)):
        _free(model, axis, name=name)
    for value in model.graph.inputs:
        assert value.shape is not None
        value.shape = ir.Shape(
            [size if isinstance(size, int) else "tokens" for size in value.shape]
        )
    artifact = _emit(model, tmp_path, {"x": "1,1..32,8", "m": "1,1,1,1..32"})
    assert {s.hub_shape for s in artifact.manifest.inputs} == {
        (1, "tokens", 8),
        (1, 1, 1, "tokens"),
    }
    session, reference = TARGET.open(artifact), OrtSession(model)
    for length in (1, 5, 32):
        feeds = {"x": make.random(1, length, c), "m": make.random(1, 1, 1, length, seed=9)}
        np.testing.assert_allclose(
            session.run(feeds)["y"], reference.run(feeds)["y"], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([("Slice", ["x", "b", "e", "a"], {})], {"b": [-9, 1], "e": [99, -2], "a": [2, 3]}),
        ([("Resize", ["x", "", "f"], {"mode": "linear"})], {"f": np.float32([1, 1, 2, 2])}),
        ([("Resize", ["x", "", "f"], {"mode": "nearest"})], {"f": np.float32([1, 1, 3, 2])}),
        ([("DepthToSpace", ["x"], {"blocksize": 2})], {}),
        ([("Softmax", ["x"], {"axis": 2})], {}),
        ([("Reshape", ["x", "r"], {})], {"r": [0, 3, -1]}),
        ([("ReduceMean", ["x"], {"keepdims": 0})], {}),
        ([("Pad", ["x", "p"], {})], {"p": [0, 0, 1, 2, 0, 0, 3, 0]}),
    ],
)  # fmt: skip
def test_single_operators(make: Any, tmp_path: Path, nodes: Any, constants: Any) -> None:
    made = [
        helper.make_node(kind, names, ["y"], name="node", **attributes)
        for kind, names, attributes in nodes
    ]
    channels = 4 if nodes[0][0] == "DepthToSpace" else 3
    arrays = {k: np.asarray(v) for k, v in constants.items()}
    model = make.build_model(made, {"x": make.random(1, channels, 24, 24)}, ["y"], arrays)
    _free(model, 2, 3)
    artifact = _emit(model, tmp_path, {"x": f"1,{channels},16..40,16..40"})
    _check(model, artifact, make, [(1, channels, 16, 16), (1, channels, 40, 23)])


def test_what_one_program_cannot_compute_is_named(make: Any, tmp_path: Path) -> None:
    factor = np.float32([1, 1, 0.7, 0.7])
    node = helper.make_node("Resize", ["x", "", "f"], ["y"], name="shrink", mode="cubic")
    model = make.build_model([node], {"x": make.random(1, 3, 24, 24)}, ["y"], {"f": factor})
    with pytest.raises(UnsupportedOperator) as caught:
        _emit(_free(model, 2, 3), tmp_path / "out", {"x": RANGE})
    assert caught.value.node == "shrink" and "merge" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


WRONG = {
    "unknown input": ({"z": RANGE}, "no input 'z'"),
    "another rank": ({"x": "1,16..64"}, "4 axes, and not 2"),
    "no shape": ({"x": "1,3,big,16"}, "no shapes"),
    "a range the wrong way": ({"x": "1,3,64..16,16"}, "no shapes"),
    "ranges in a list": ({"x": "1,3,16,16; 1,3,16..32,16"}, "no shapes"),
    "ranks that differ": ({"x": "1,3,16,16; 1,3,16"}, "no shapes"),
    "no table": ("1,3,16,16", "no shapes"),
    "too many": ({"x": ";".join(f"1,3,{k},16" for k in range(1, 130))}, "no shapes"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_shapes(make: Any, tmp_path: Path, case: str) -> None:
    shapes, part = WRONG[case]
    with pytest.raises(UsageError, match=part):
        _emit(_cnn(make), tmp_path / "out", shapes)
    assert list(tmp_path.iterdir()) == []


def test_shapes_exclude_pictures_and_states(make: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        _emit(_cnn(make), tmp_path, {"x": RANGE}, fold_preprocessing=True)


def test_sizes_to_prove() -> None:
    listed = read_shapes({"x": "1,8;1,16;1,8"})
    assert listed["x"] == FlexibleShape(enumerated=((1, 8), (1, 16)))
    assert [s["x"] for s in proving_shapes(listed)] == [(1, 8), (1, 16)]
    shapes = [s["x"] for s in proving_shapes(read_shapes({"x": "1,8..64"}))]
    assert shapes[:3] == [(1, 8), (1, 64), (1, 9)] and len(shapes) == len(set(shapes)) > 5
    assert proving_shapes(read_shapes({"x": "1,8"})) == [{"x": (1, 8)}]


def test_the_interpreter_knows_symbols(make: Any, tmp_path: Path) -> None:
    artifact = _emit(_cnn(make), tmp_path, {"x": RANGE})
    (spec,) = Interpreter(artifact.path).inputs
    assert [isinstance(size, str) for size in spec.shape] == [False, False, True, True]
