"""A free batch: one file, any number of examples, the same results as ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgewise.errors import DataError, ModelError
from edgewise.graph import OrtSession
from edgewise.targets.android import TARGET
from edgewise.targets.base import EmitOptions
from edgewise.targets.manifest import load_artifact

BATCHES = (1, 2, 5, 1)
Feed = Callable[[int], Mapping[str, Any]]


def _free(source: ir.Model, name: str = "N") -> ir.Model:
    """The model with a symbolic first dimension of every input, and shapes to be inferred anew."""
    for value in source.graph.inputs:
        assert value.shape is not None
        value.shape = ir.Shape([name, *list(value.shape)[1:]])
    for node in source.graph:
        for value in node.outputs:
            value.shape = None
    return source


def _options(batch: Any, **options: Any) -> EmitOptions:
    return EmitOptions(options={"batch": batch, **options})


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., Any]:
    """Emit with a free batch, run several batches in one session, compare with ONNX Runtime."""

    def run(source: ir.Model, feed: Feed, tolerance: float, precision: str = "fp32") -> Any:
        artifact = TARGET.emit(source, tmp_path / "out", precision, options=_options("dynamic"))
        session = TARGET.open(tmp_path / "out")
        reference = OrtSession(source, optimize="none")
        for batch in BATCHES:
            feeds = feed(batch)
            found, expected = session.run(feeds), reference.run(feeds)
            for name, array in expected.items():
                assert found[name].shape == array.shape
                assert found[name].dtype == array.dtype
                assert np.abs(found[name].astype(float) - array).max() <= tolerance
        return artifact, session

    return run


def _noise(rng: Any, *shape: int) -> Feed:
    return lambda batch: {"x": rng.standard_normal((batch, *shape)).astype(np.float32)}


def _convolutions(kit: Any, rng: Any) -> Any:
    def weights(*shape: int) -> Any:
        return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    nodes = [
        kit.node("Conv", ["x", "w1"], ["c1"], pads=[1, 1, 1, 1], strides=[2, 2]),
        kit.node("Relu", ["c1"], ["r1"]),
        kit.node("Conv", ["r1", "w2"], ["c2"], pads=[1, 1, 1, 1], group=8),
        kit.node("Add", ["r1", "c2"], ["a"]),
        kit.node("MaxPool", ["a"], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
        kit.node("Flatten", ["m"], ["f"]),
        kit.node("Gemm", ["f", "w3", "b3"], ["y"], transB=1),
    ]
    constants = {
        "w1": weights(8, 3, 3, 3),
        "w2": weights(8, 1, 3, 3),
        "w3": weights(10, 8 * 16),
        "b3": weights(10, 1).reshape(10),
    }
    x = {"x": np.zeros((2, 3, 16, 16), np.float32)}
    return _free(kit.model(nodes, x, {"y": np.float32}, constants))


def _transformer_block(kit: Any, rng: Any, tokens: int = 6, width: int = 16, heads: int = 4) -> Any:
    """Class token, layer norm, multi-head attention, residual, gelu."""
    depth = width // heads
    split = np.array([0, tokens + 1, heads, depth], np.int64)
    nodes = [
        kit.node("Shape", ["x"], ["n"], start=0, end=1),
        kit.node("Concat", ["n", "rest"], ["wide"], axis=0),
        kit.node("Expand", ["token", "wide"], ["tokens"]),
        kit.node("Concat", ["tokens", "x"], ["h"], axis=1),
        kit.node("LayerNormalization", ["h", "gamma", "beta"], ["ln"], axis=-1),
    ]
    for name, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        nodes += [
            kit.node("MatMul", ["ln", f"w{name}"], [f"{name}m"]),
            kit.node("Reshape", [f"{name}m", "split"], [f"{name}s"]),
            kit.node("Transpose", [f"{name}s"], [name], perm=perm),
        ]
    nodes += [
        kit.node("MatMul", ["q", "k"], ["qk"]),
        kit.node("Mul", ["qk", "scale"], ["scaled"]),
        kit.node("Softmax", ["scaled"], ["p"], axis=-1),
        kit.node("MatMul", ["p", "v"], ["o"]),
        kit.node("Transpose", ["o"], ["ot"], perm=[0, 2, 1, 3]),
        kit.node("Reshape", ["ot", "join"], ["joined"]),
        kit.node("Add", ["joined", "h"], ["r"]),
        kit.node("Gelu", ["r"], ["g"]),
        kit.node("Slice", ["g", "zero", "one", "axis"], ["first"]),
        kit.node("Squeeze", ["first", "axis"], ["y"]),
    ]
    constants = {
        "rest": np.array([1, width], np.int64),
        "token": rng.standard_normal((1, 1, width)).astype(np.float32),
        "gamma": np.ones(width, np.float32),
        "beta": np.zeros(width, np.float32),
        "split": split,
        "join": np.array([-1, tokens + 1, width], np.int64),
        "scale": np.float32(depth**-0.5),
        "zero": np.array([0]),
        "one": np.array([1]),
        "axis": np.array([1]),
        **{f"w{n}": (rng.standard_normal((width, width)) / 4).astype(np.float32) for n in "qkv"},
    }
    x = {"x": np.zeros((2, tokens, width), np.float32)}
    return _free(kit.model(nodes, x, {"y": np.float32}, constants))


def _operators(session: Any) -> list[str]:
    return [detail["op_name"] for detail in session._open()._get_ops_details()]


def test_a_convolutional_network(check: Any, kit: Any, rng: Any) -> None:
    artifact, session = check(_convolutions(kit, rng), _noise(rng, 3, 16, 16), 1e-5)
    ends = (artifact.manifest.inputs[0], artifact.manifest.outputs[0])
    assert [end.shape for end in ends] == [("N", 16, 16, 3), ("N", 10)]
    assert [end.hub_shape for end in ends] == [("N", 3, 16, 16), ("N", 10)]
    assert artifact.manifest.options["batch"] == "dynamic"
    assert "DELEGATE" in _operators(session) and "SHAPE" not in _operators(session)


def test_an_int8_network(check: Any, kit: Any, rng: Any, quantize: Any) -> None:
    feed = _noise(rng, 3, 16, 16)
    source = quantize(_convolutions(kit, rng), feed(4))
    output = OrtSession(source).run(feed(8))["y"]
    step = float(np.diff(np.unique(output)).min())
    artifact, _ = check(source, feed, 2 * step + 1e-6, "w8a8")
    assert artifact.manifest.inputs[0].dtype == "int8"


def test_an_int8_network_that_computes_sizes(check: Any, kit: Any, rng: Any, quantize: Any) -> None:
    """SHAPE reads the int8 input, and an int8 constant is broadcast."""
    nodes = [
        kit.node("Shape", ["x"], ["n"], start=0, end=1),
        kit.node("Concat", ["n", "rest"], ["wide"], axis=0),
        kit.node("Expand", ["token", "wide"], ["tokens"]),
        kit.node("Concat", ["tokens", "x"], ["h"], axis=1),
        kit.node("MatMul", ["h", "w"], ["y"]),
    ]
    constants = {
        "rest": np.array([1, 8], np.int64),
        "token": rng.standard_normal((1, 1, 8)).astype(np.float32),
        "w": rng.standard_normal((8, 4)).astype(np.float32),
    }
    x = {"x": np.zeros((2, 3, 8), np.float32)}
    source = _free(kit.model(nodes, x, {"y": np.float32}, constants))
    source = quantize(source, *(_noise(rng, 3, 8)(1) for _ in range(4)))
    _, session = check(source, _noise(rng, 3, 8), 0.2, "w8a8")
    names = _operators(session)
    assert names.count("SHAPE") == 1 and "FULLY_CONNECTED" in names


def test_a_transformer_block(check: Any, kit: Any, rng: Any) -> None:
    """The class token is broadcast by a size that the runtime computes when it allocates."""
    _, session = check(_transformer_block(kit, rng), _noise(rng, 6, 16), 1e-5)
    names = _operators(session)
    assert names.count("SHAPE") == 1 and names.count("BROADCAST_TO") >= 1
    assert "DELEGATE" in names


def test_the_application_resizes_the_input_itself(kit: Any, rng: Any, tmp_path: Path) -> None:
    source = _convolutions(kit, rng)
    path = TARGET.emit(source, tmp_path, options=_options("dynamic")).path
    interpreter = Interpreter(str(path), num_threads=1)
    detail = interpreter.get_input_details()[0]
    assert list(detail["shape"]) == [1, 16, 16, 3]
    assert list(detail["shape_signature"]) == [-1, 16, 16, 3]
    interpreter.resize_tensor_input(detail["index"], [3, 16, 16, 3], strict=True)
    interpreter.allocate_tensors()
    x = rng.standard_normal((3, 3, 16, 16)).astype(np.float32)
    interpreter.set_tensor(detail["index"], x.transpose(0, 2, 3, 1))
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    assert np.abs(found - OrtSession(source).run({"x": x})["y"]).max() < 1e-5


def test_axes_folded_into_the_batch(check: Any, kit: Any, rng: Any) -> None:
    """Rows of all examples in one product, and a window of the batch's own axis."""
    nodes = [
        kit.node("Reshape", ["x", "rows"], ["r"]),
        kit.node("MatMul", ["r", "w"], ["m"]),
        kit.node("Reshape", ["m", "back"], ["y"]),
        kit.node("Slice", ["m", "start", "stop", "axes"], ["z"]),
    ]
    constants = {
        "rows": np.array([-1, 4], np.int64),
        "w": rng.standard_normal((4, 3)).astype(np.float32),
        "back": np.array([-1, 5, 3], np.int64),
        "start": np.array([0, 1]),
        "stop": np.array([2**31, 3]),
        "axes": np.array([0, 1]),
    }
    x = {"x": np.zeros((2, 5, 4), np.float32)}
    outputs = {"y": np.float32, "z": np.float32}
    source = _free(kit.model(nodes, x, outputs, constants))
    artifact, _ = check(source, _noise(rng, 5, 4), 1e-5)
    assert artifact.manifest.outputs[1].shape == ("5*N", 2)


def test_every_second_example(check: Any, kit: Any, rng: Any) -> None:
    nodes = [kit.node("Slice", ["x", "start", "stop", "axes", "steps"], ["y"])]
    constants = {
        "start": np.array([0, 3]),
        "stop": np.array([2**31, 0]),
        "axes": np.array([0, 1]),
        "steps": np.array([1, -1]),
    }
    x = {"x": np.zeros((2, 5), np.float32)}
    source = _free(kit.model(nodes, x, {"y": np.float32}, constants))
    check(source, _noise(rng, 5), 0)


def test_several_inputs_share_the_batch(check: Any, kit: Any, rng: Any) -> None:
    x = {"x": np.zeros((2, 3), np.float32), "z": np.zeros((2, 1), np.float32)}
    source = _free(kit.model([kit.node("Mul", ["x", "z"], ["y"])], x, {"y": np.float32}))
    numbers = rng.standard_normal((5, 4)).astype(np.float32)
    check(source, lambda batch: {"x": numbers[:batch, :3], "z": numbers[:batch, 3:]}, 1e-6)


def test_zeros_of_the_batchs_size(check: Any, kit: Any, rng: Any) -> None:
    """A constant that grows with the batch, as an initial state does, is stored once."""
    nodes = [
        kit.node("Shape", ["x"], ["n"], start=0, end=1),
        kit.node("Concat", ["n", "width"], ["dims"], axis=0),
        kit.node("ConstantOfShape", ["dims"], ["state"], value=_tensor(0.5)),
        kit.node("Concat", ["state", "x"], ["y"], axis=1),
    ]
    x = {"x": np.zeros((2, 3), np.float32)}
    constants = {"width": np.array([2], np.int64)}
    source = _free(kit.model(nodes, x, {"y": np.float32}, constants))
    artifact, _ = check(source, _noise(rng, 3), 0)
    assert artifact.size_bytes < 3000


def _tensor(number: float) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.array([number], np.float32))


def test_uint8_pictures_in_batches(kit: Any, rng: Any, tmp_path: Path) -> None:
    source = _convolutions(kit, rng)
    preprocessing = {"color": "rgb", "mean": (127.5,), "std": (127.5,), "layout": "nchw"}
    options = _options("dynamic", fold_preprocessing=True, io="float")
    options = EmitOptions(preprocessing=preprocessing, options=options.options)
    session = TARGET.open(TARGET.emit(source, tmp_path, options=options))
    pixels = rng.integers(0, 256, (3, 3, 16, 16)).astype(np.float32)
    x = {"x": (pixels - np.float32(127.5)) / np.float32(127.5)}
    assert np.abs(session.run(x)["y"] - OrtSession(source).run(x)["y"]).max() < 1e-5


@pytest.mark.parametrize("given", [1, 3, 4])
def test_a_fixed_batch_takes_fewer_examples(kit: Any, rng: Any, tmp_path: Path, given: int) -> None:
    source = _convolutions(kit, rng)
    artifact = TARGET.emit(source, tmp_path, options=_options(4))
    assert artifact.manifest.inputs[0].shape == (4, 16, 16, 3)
    x = _noise(rng, 3, 16, 16)(given)
    found = TARGET.open(artifact).run(x)["y"]
    assert np.abs(found - OrtSession(source).run(x)["y"]).max() < 1e-5


def test_a_fixed_batch_takes_no_more(kit: Any, rng: Any, tmp_path: Path) -> None:
    session = TARGET.open(TARGET.emit(_convolutions(kit, rng), tmp_path, options=_options(2)))
    with pytest.raises(DataError, match=r"shape \(3, 3, 16, 16\).*built for \(2, 3, 16, 16\)"):
        session.run(_noise(rng, 3, 16, 16)(3))


def test_other_sizes_stay_fixed(kit: Any, rng: Any, tmp_path: Path) -> None:
    options = _options("dynamic")
    session = TARGET.open(TARGET.emit(_convolutions(kit, rng), tmp_path, options=options))
    with pytest.raises(DataError, match=r"built for \(N, 3, 16, 16\)"):
        session.run(_noise(rng, 3, 8, 8)(2))


def test_the_manifest_round_trips(kit: Any, rng: Any, tmp_path: Path) -> None:
    artifact = TARGET.emit(_convolutions(kit, rng), tmp_path, options=_options("dynamic"))
    assert load_artifact(tmp_path).manifest.inputs == artifact.manifest.inputs


def test_two_emits_give_the_same_bytes(kit: Any, rng: Any, tmp_path: Path) -> None:
    source = _transformer_block(kit, rng)
    paths = [
        TARGET.emit(source, tmp_path / name, options=_options("dynamic")).path for name in "ab"
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_batch_in_the_arithmetic_is_refused(kit: Any, rng: Any, tmp_path: Path) -> None:
    """The mean over the batch by its size: a number that only one batch has."""
    nodes = [
        kit.node("Shape", ["x"], ["n"], start=0, end=1),
        kit.node("Cast", ["n"], ["f"], to=1),
        kit.node("Div", ["x", "f"], ["y"]),
    ]
    x = {"x": np.zeros((2, 3), np.float32)}
    source = _free(kit.model(nodes, x, {"y": np.float32}))
    with pytest.raises(ModelError, match=r"n_y.*batch cannot be dynamic.*calculates.*batch = 4"):
        TARGET.emit(source, tmp_path / "out", options=_options("dynamic"))
    assert not (tmp_path / "out").exists()
    TARGET.emit(source, tmp_path / "out", options=_options(4))


def test_sizes_that_are_no_multiple_are_refused(kit: Any, rng: Any, tmp_path: Path) -> None:
    nodes = [kit.node("Concat", ["x", "extra"], ["y"], axis=0)]
    x = {"x": np.zeros((2, 3), np.float32)}
    constants = {"extra": np.ones((1, 3), np.float32)}
    source = _free(kit.model(nodes, x, {"y": np.float32}, constants))
    with pytest.raises(ModelError, match=r"n_y.*no multiple"):
        TARGET.emit(source, tmp_path / "out", options=_options("dynamic"))
    assert not (tmp_path / "out").exists()


def test_models_without_one_free_batch_are_refused(kit: Any, rng: Any, tmp_path: Path) -> None:
    x = {"x": np.zeros((2, 3), np.float32), "z": np.zeros((2, 3), np.float32)}
    source = kit.model([kit.node("Mul", ["x", "z"], ["y"])], x, {"y": np.float32})
    with pytest.raises(ModelError, match="no input of the model has a symbolic first dimension"):
        TARGET.emit(source, tmp_path / "out", options=_options("dynamic"))
    with pytest.raises(ModelError, match=r"cannot be 4.*'x' \[2,3\], 'z' \[2,3\]"):
        TARGET.emit(source, tmp_path / "out", options=_options(4))
    TARGET.emit(source, tmp_path / "two", options=_options(2))
    source.graph.inputs[0].shape = ir.Shape(["a", 3])
    source.graph.inputs[1].shape = ir.Shape(["b", 3])
    with pytest.raises(ModelError, match="different symbolic dimensions: a, b"):
        TARGET.emit(source, tmp_path / "out", options=_options("dynamic"))
    assert not (tmp_path / "out").exists()
