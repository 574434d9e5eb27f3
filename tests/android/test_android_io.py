"""Inputs and outputs of the file: number formats, layouts, names, and what the manifest says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgewise.errors import UsageError
from edgewise.targets.android import TARGET
from edgewise.targets.android.boundary import Ends
from edgewise.targets.android.legalize import legalize
from edgewise.targets.android.lower import lower
from edgewise.targets.base import EmitOptions

IO = ("int8", "uint8", "float")


def _options(**options: Any) -> EmitOptions:
    return EmitOptions(options=options)


def _convolution(kit: Any, x: Any, rng: Any) -> Any:
    weights = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    layer = kit.node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    return kit.model([layer], {"x": x}, {"y": np.float32}, {"w": weights})


def _kinds(source: Any, io: str) -> list[str]:
    return [op.kind for op in lower(*legalize(source), ends=Ends(io)).graph.operators]


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("io", IO)
def test_every_choice_gives_the_same_numbers(
    execute: Any, kit: Any, rng: Any, quantize: Any, io: str, layout: str
) -> None:
    x = rng.standard_normal((1, 3, 6, 5)).astype(np.float32)
    source = quantize(_convolution(kit, x, rng), {"x": x})
    plain = execute(source, {"x": x}, "w8a8")
    run = execute(source, {"x": x}, "w8a8", options=_options(io=io, layout=layout))
    assert np.array_equal(run.outputs["y"], plain.outputs["y"])
    for end in (run.artifact.manifest.inputs[0], run.artifact.manifest.outputs[0]):
        assert end.dtype == {"float": "float32"}.get(io, io)
        assert end.layout == layout
        assert end.shape == tuple(end.hub_shape[axis] for axis in end.perm)
        assert (end.scale is None) == (io == "float")
        assert end.hub_dtype == "float32"


def test_uint8_zero_points_are_128_higher(execute: Any, kit: Any, rng: Any, quantize: Any) -> None:
    x = rng.standard_normal((1, 3, 6, 5)).astype(np.float32)
    source = quantize(_convolution(kit, x, rng), {"x": x})
    signed = execute(source, {"x": x}, "w8a8").artifact.manifest
    unsigned = execute(source, {"x": x}, "w8a8", options=_options(io="uint8")).artifact.manifest
    for own, shifted in zip(
        (*signed.inputs, *signed.outputs), (*unsigned.inputs, *unsigned.outputs), strict=True
    ):
        assert (shifted.scale, shifted.zero_point) == (own.scale, own.zero_point + 128)


def test_uint8_costs_one_conversion_at_each_end(kit: Any) -> None:
    x = {"x": np.zeros((2, 3), np.float32)}
    source = kit.int8_model(
        kit.node("LeakyRelu", ["x"], ["y"]), x, (0.02, 3), input_parameters={"x": (0.05, -2)}
    )
    assert _kinds(source, "int8") == ["LEAKY_RELU"]
    assert _kinds(source, "uint8") == ["QUANTIZE", "LEAKY_RELU", "QUANTIZE"]


def test_a_requantization_at_an_end_takes_the_conversion_in(execute: Any, kit: Any) -> None:
    """The range of the output does what Relu does, so that a QUANTIZE is all that is left."""
    x = {"x": np.linspace(-3, 3, 256, dtype=np.float32).reshape(1, 256)}
    source = kit.int8_model(
        kit.node("Relu", ["x"], ["y"]), x, (0.015, -128), input_parameters={"x": (3 / 127, 0)}
    )
    assert _kinds(source, "int8") == _kinds(source, "uint8") == ["QUANTIZE"]
    own = execute(source, x, "w8a8")
    run = execute(source, x, "w8a8", options=_options(io="uint8"))
    assert run.lsb <= kit.int8_tolerance
    assert np.array_equal(run.outputs["y"], own.outputs["y"])


def test_a_model_that_takes_uint8_itself_keeps_it(execute: Any, kit: Any, rng: Any) -> None:
    x = rng.integers(0, 256, (1, 3, 4, 4)).astype(np.uint8)
    nodes = [kit.node("Cast", ["x"], ["f"], to=1), kit.node("Relu", ["f"], ["y"])]
    run = execute(kit.model(nodes, {"x": x}, {"y": np.float32}), {"x": x})
    end = run.artifact.manifest.inputs[0]
    assert (end.dtype, end.hub_dtype, end.layout) == ("uint8", "uint8", "NHWC")
    assert run.error == 0


def test_io_must_fit_the_precision(kit: Any, tmp_path: Path) -> None:
    x = {"x": np.zeros((2, 3), np.float32)}
    source = kit.model([kit.node("Relu", ["x"], ["y"])], x, {"y": np.float32})
    for io in ("int8", "uint8", "int16"):
        with pytest.raises(UsageError, match=f"io = '{io}' contradicts precision fp32"):
            TARGET.emit(source, tmp_path / "out", options=_options(io=io))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_models_that_are_nhwc_themselves(execute: Any, kit: Any, rng: Any, layout: str) -> None:
    x = rng.standard_normal((1, 6, 5, 3)).astype(np.float32)
    weights = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    nodes = [
        kit.node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        kit.node("Conv", ["t", "w"], ["c"]),
        kit.node("Transpose", ["c"], ["y"], perm=[0, 2, 3, 1]),
    ]
    source = kit.model(nodes, {"x": x}, {"y": np.float32}, {"w": weights})
    run = execute(source, {"x": x}, options=_options(layout=layout))
    assert run.error < kit.float_tolerance * 10
    ends = (run.artifact.manifest.inputs[0], run.artifact.manifest.outputs[0])
    assert [end.layout for end in ends] == [layout, layout]
    assert ends[0].shape == ((1, 6, 5, 3) if layout == "NHWC" else (1, 3, 6, 5))
    assert ends[1].shape == ((1, 4, 3, 4) if layout == "NHWC" else (1, 4, 4, 3))


def test_other_ranks_have_no_layout(execute: Any, kit: Any, rng: Any) -> None:
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    source = kit.model([kit.node("Relu", ["x"], ["y"])], {"x": x}, {"y": np.float32})
    run = execute(source, {"x": x}, options=_options(layout="NCHW"))
    assert run.artifact.manifest.inputs[0].layout == ""
    assert run.artifact.manifest.inputs[0].shape == (2, 3, 4)


def test_the_signature_has_the_models_own_names(kit: Any, tmp_path: Path, rng: Any) -> None:
    x = {
        "serving/left:0": rng.standard_normal((2, 3)).astype(np.float32),
        "right": rng.standard_normal((2, 3)).astype(np.float32),
    }
    nodes = [
        kit.node("Add", list(x), ["sum"]),
        kit.node("Sub", list(x), ["main/difference"]),
    ]
    source = kit.model(nodes, x, {"sum": np.float32, "main/difference": np.float32})
    path = TARGET.emit(source, tmp_path).path
    runner = Interpreter(str(path), num_threads=1).get_signature_runner("serving_default")
    assert sorted(runner.get_input_details()) == sorted(x)
    assert sorted(runner.get_output_details()) == ["main/difference", "sum"]
    left, right = x.values()
    outputs = runner(**x)
    assert np.array_equal(outputs["sum"], left + right)
    assert np.array_equal(outputs["main/difference"], left - right)


def test_an_input_that_is_an_output_has_two_tensors(kit: Any, tmp_path: Path) -> None:
    x = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}
    nodes = [kit.node("Identity", ["x"], ["copy"]), kit.node("Neg", ["x"], ["y"])]
    source = kit.model(nodes, x, {"copy": np.float32, "y": np.float32})
    artifact = TARGET.emit(source, tmp_path)
    runner = Interpreter(str(artifact.path), num_threads=1).get_signature_runner()
    outputs = runner(**x)
    assert np.array_equal(outputs["copy"], x["x"]) and np.array_equal(outputs["y"], -x["x"])
    names = [end.file_name for end in (*artifact.manifest.inputs, *artifact.manifest.outputs)]
    assert len(set(names)) == 3


def test_the_manifest_records_the_options(kit: Any, tmp_path: Path) -> None:
    x = {"x": np.zeros((2, 3), np.float32)}
    source = kit.model([kit.node("Relu", ["x"], ["y"])], x, {"y": np.float32})
    assert TARGET.emit(source, tmp_path).manifest.options == {
        "io": "float",
        "layout": "NHWC",
        "batch": 1,
        "fold_preprocessing": False,
        "delegates": ["xnnpack", "gpu"],
    }
