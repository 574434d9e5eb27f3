"""Preprocessing folded into the graph: the file takes uint8 pixels and gives the same results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise.data import ImagePreprocessing
from edgewise.errors import ModelError, UsageError
from edgewise.graph import OrtSession
from edgewise.targets.android import TARGET
from edgewise.targets.base import EmitOptions
from edgewise.targets.manifest import load_artifact

IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
SIZE = 12


def _preprocessing(color: str, mean: Any, std: Any, layout: str = "nchw") -> dict[str, Any]:
    image = ImagePreprocessing(color=color, mean=mean, std=std, layout=layout, crop=SIZE)  # type: ignore[arg-type]
    return image.as_dict()


def _picture(rng: Any, channels: int) -> Any:
    return rng.integers(0, 256, (1, SIZE, SIZE, channels)).astype(np.uint8)


def _as_model_input(pixels: Any, preprocessing: dict[str, Any]) -> Any:
    """What the data pipeline makes of RGB (or gray) pixels."""
    ordered = pixels[..., ::-1] if preprocessing["color"] == "bgr" else pixels
    mean, std = (np.asarray(preprocessing[key], np.float32) for key in ("mean", "std"))
    values = (ordered.astype(np.float32) - mean) / std
    values = values if preprocessing["layout"] == "nhwc" else values.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(values)


def _network(kit: Any, rng: Any, channels: int, *, pads: int = 1, layout: str = "nchw") -> Any:
    shape = (1, channels, SIZE, SIZE) if layout == "nchw" else (1, SIZE, SIZE, channels)
    weights = (rng.standard_normal((8, channels, 3, 3)) / 3).astype(np.float32)
    bias = rng.standard_normal(8).astype(np.float32)
    nodes = [
        kit.node("Conv", ["i", "w", "b"], ["c"], pads=[pads] * 4, strides=[2, 2]),
        kit.node("Relu", ["c"], ["r"]),
        kit.node("GlobalAveragePool", ["r"], ["y"]),
    ]
    if layout == "nhwc":
        nodes.insert(0, kit.node("Transpose", ["x"], ["i"], perm=[0, 3, 1, 2]))
    else:
        nodes[0].input[0] = "x"
    x = {"x": np.zeros(shape, np.float32)}
    return kit.model(nodes, x, {"y": np.float32}, {"w": weights, "b": bias})


def _fold(preprocessing: Any, **options: Any) -> EmitOptions:
    return EmitOptions(preprocessing=preprocessing, options={"fold_preprocessing": True, **options})


def _kinds(path: Path) -> list[str]:
    session = TARGET.open(path)
    details = session._open()._get_ops_details()
    return [detail["op_name"] for detail in details if detail["op_name"] != "DELEGATE"]


@pytest.mark.parametrize("pads", [0, 1])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize(
    ("color", "mean", "std"),
    [
        ("rgb", *IMAGENET),
        ("bgr", *IMAGENET),
        ("rgb", (127.5,), (127.5,)),
        ("rgb", (0.0,), (255.0,)),
        ("bgr", (0.0,), (1.0,)),
        ("gray", (33.3,), (78.6,)),
    ],
)
def test_float_networks(
    execute: Any, kit: Any, rng: Any, color: str, mean: Any, std: Any, layout: str, pads: int
) -> None:
    """The file gets the pixels, ONNX Runtime what the data pipeline makes of them."""
    preprocessing = _preprocessing(color, mean, std, layout)
    channels = 1 if color == "gray" else 3
    source = _network(kit, rng, channels, pads=pads, layout=layout)
    pixels = _picture(rng, channels)
    x = _as_model_input(pixels, preprocessing)
    run = execute(source, {"x": x}, options=_fold(preprocessing))
    assert run.error < 1e-5 * max(1, abs(run.expected["y"]).max())
    end = run.artifact.manifest.inputs[0]
    assert (end.dtype, end.layout, end.shape) == ("uint8", "NHWC", (1, SIZE, SIZE, channels))
    assert (end.hub_dtype, end.hub_shape) == ("float32", x.shape)
    assert not any("float-island" in rule for rule in run.rules())
    raw = _run_on_pixels(run.artifact, pixels)
    assert np.array_equal(raw, run.outputs["y"].reshape(raw.shape))


def _run_on_pixels(artifact: Any, pixels: Any) -> Any:
    """As the application does it: no signature, no session."""
    from edgewise.targets.android.runtime import load

    interpreter = load(artifact.path, 1)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.parametrize(
    ("color", "mean", "std"),
    [
        ("rgb", *IMAGENET),
        ("bgr", *IMAGENET),
        ("bgr", (127.0,), (127.0,)),
        ("rgb", (0.0,), (255.0,)),
        ("rgb", (100.3,), (50.0,)),
        ("gray", (128.0,), (128.0,)),
    ],
)
def test_int8_networks(
    execute: Any, kit: Any, rng: Any, quantize: Any, color: str, mean: Any, std: Any
) -> None:
    preprocessing = _preprocessing(color, mean, std)
    channels = 1 if color == "gray" else 3
    pixels = _picture(rng, channels)
    pixels.reshape(-1)[[0, 1]] = (0, 255)
    x = _as_model_input(pixels, preprocessing)
    source = quantize(_network(kit, rng, channels), {"x": x})
    run = execute(source, {"x": x}, "w8a8", options=_fold(preprocessing, io="float"))
    scale = np.ptp(run.expected["y"]) / 255
    assert run.error <= 2 * scale
    assert run.artifact.manifest.inputs[0].dtype == "uint8"
    raw = _run_on_pixels(run.artifact, pixels)
    assert np.array_equal(raw.reshape(-1), run.outputs["y"].reshape(-1))


def _input_levels(kit: Any, mean: float, std: float, scale: float, zero_point: int) -> Any:
    """A model that only quantizes its input, so that the output shows the input's numbers."""
    x = {"x": np.zeros((1, 1, 16, 16), np.float32)}
    parameters = {"x": (scale, zero_point)}
    layer = kit.node("MaxPool", ["x"], ["y"], kernel_shape=[1, 1])
    return kit.int8_model(layer, x, (scale, zero_point), input_parameters=parameters)


@pytest.mark.parametrize(
    ("mean", "std", "scale", "zero_point", "kinds"),
    [
        (0.0, 255.0, 1 / 255, -128, ["QUANTIZE"]),
        (128.0, 128.0, 1 / 128, 0, ["QUANTIZE"]),
        (128.0, 64.0, 0.031, -5, ["QUANTIZE"]),
        (127.5, 127.5, 1 / 127.5, 0, ["QUANTIZE"]),
        (33.31, 78.57, 0.0123, -93, ["QUANTIZE", "CONV_2D"]),
    ],
)
def test_every_pixel_value_lands_where_it_should(
    execute: Any, kit: Any, mean: float, std: float, scale: float, zero_point: int, kinds: Any
) -> None:
    """All 256 pixel values through the input: never further from the real value than half a step,
    and where a number differs from the QDQ model's, a finding says so."""
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    preprocessing = _preprocessing("gray", (mean,), (std,))
    source = _input_levels(kit, mean, std, scale, zero_point)
    x = _as_model_input(pixels, preprocessing)
    run = execute(source, {"x": x}, "w8a8", options=_fold(preprocessing))
    found = run.outputs["y"].reshape(-1) / scale
    low, high = -128 - zero_point, 127 - zero_point
    real = np.clip((np.arange(256) - mean) / std / scale, low, high)
    assert abs(found - real).max() <= 0.5 + 0.01
    differing = int((abs(found - run.expected["y"].reshape(-1) / scale) > 0.5).sum())
    remarks = [f for f in run.artifact.findings if f.rule == "android/preprocessing-rounding"]
    assert bool(remarks) == bool(differing)
    assert all(f"{differing} of 256" in remark.message for remark in remarks)
    assert _kinds(run.artifact.path) == kinds


def test_a_float_convolution_without_padding_takes_the_normalization_in(
    execute: Any, kit: Any, rng: Any
) -> None:
    preprocessing = _preprocessing("bgr", *IMAGENET)
    x = _as_model_input(_picture(rng, 3), preprocessing)
    folded = execute(_network(kit, rng, 3, pads=0), {"x": x}, options=_fold(preprocessing))
    assert _kinds(folded.artifact.path).count("CONV_2D") == 1
    padded = execute(_network(kit, rng, 3, pads=1), {"x": x}, options=_fold(preprocessing))
    assert _kinds(padded.artifact.path).count("CONV_2D") == 2


def test_weights_that_others_read_keep_their_order(execute: Any, kit: Any, rng: Any) -> None:
    preprocessing = _preprocessing("bgr", (0.0,), (255.0,))
    weights = rng.standard_normal((3, 3, 1, 1)).astype(np.float32)
    nodes = [
        kit.node("Conv", ["x", "w"], ["a"]),
        kit.node("Conv", ["a", "w"], ["y"]),
    ]
    feeds = {"x": _as_model_input(_picture(rng, 3), preprocessing)}
    source = kit.model(nodes, feeds, {"y": np.float32}, {"w": weights})
    assert execute(source, feeds, options=_fold(preprocessing)).error < kit.float_tolerance


def test_other_readers_of_the_input_see_the_models_order(execute: Any, kit: Any, rng: Any) -> None:
    preprocessing = _preprocessing("bgr", *IMAGENET)
    feeds = {"x": _as_model_input(_picture(rng, 3), preprocessing)}
    nodes = [kit.node("Relu", ["x"], ["y"]), kit.node("Neg", ["x"], ["z"])]
    source = kit.model(nodes, feeds, {"y": np.float32, "z": np.float32})
    assert execute(source, feeds, options=_fold(preprocessing)).error < kit.float_tolerance


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_the_layout_of_the_pixels(execute: Any, kit: Any, rng: Any, layout: str) -> None:
    preprocessing = _preprocessing("bgr", *IMAGENET)
    x = _as_model_input(_picture(rng, 3), preprocessing)
    options = _fold(preprocessing, layout=layout)
    run = execute(_network(kit, rng, 3), {"x": x}, options=options)
    assert run.error < kit.float_tolerance
    assert run.artifact.manifest.preprocessing["layout"] == layout.lower()


def test_the_manifest_says_what_is_left_to_do(kit: Any, rng: Any, tmp_path: Path) -> None:
    preprocessing = {**_preprocessing("bgr", *IMAGENET), "resize": 16}
    artifact = TARGET.emit(_network(kit, rng, 3), tmp_path, options=_fold(preprocessing))
    left = load_artifact(tmp_path).manifest
    assert left.inputs == artifact.manifest.inputs
    assert left.inputs[0].normalization is not None
    assert left.inputs[0].normalization.order == (2, 1, 0)
    assert left.preprocessing is not None
    told = {key: left.preprocessing[key] for key in ("resize", "crop", "color", "layout")}
    assert told == {"resize": 16, "crop": SIZE, "color": "rgb", "layout": "nhwc"}
    assert (left.preprocessing["mean"], left.preprocessing["std"]) == ([0.0], [1.0])


def test_a_model_that_takes_uint8_pictures(execute: Any, kit: Any, rng: Any) -> None:
    """Nothing to normalize, but BGR becomes RGB."""
    pixels = _picture(rng, 3)
    nodes = [kit.node("Cast", ["x"], ["f"], to=1), kit.node("Relu", ["f"], ["y"])]
    x = np.ascontiguousarray(pixels[..., ::-1].transpose(0, 3, 1, 2))
    source = kit.model(nodes, {"x": x}, {"y": np.float32})
    run = execute(source, {"x": x}, options=_fold(_preprocessing("bgr", (0.0,), (1.0,))))
    assert run.error == 0
    assert np.array_equal(
        _run_on_pixels(run.artifact, pixels)[..., ::-1], pixels.astype(np.float32)
    )


def test_refusals_write_nothing(kit: Any, rng: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    source = _network(kit, rng, 3)
    with pytest.raises(UsageError, match=r"needs to know the preprocessing.*\[data\.image\]"):
        TARGET.emit(source, out, options=_fold(None))
    with pytest.raises(ModelError, match="'x' is no picture of 1 channels"):
        TARGET.emit(source, out, options=_fold(_preprocessing("gray", (0.0,), (1.0,))))
    two = {name: np.zeros((1, 3, 4, 4), np.float32) for name in ("x", "z")}
    pair = kit.model([kit.node("Add", ["x", "z"], ["y"])], two, {"y": np.float32})
    with pytest.raises(ModelError, match="the model has 2 inputs"):
        TARGET.emit(pair, out, options=_fold(_preprocessing("rgb", (0.0,), (1.0,))))
    assert not out.exists()


def test_the_source_is_left_alone(kit: Any, rng: Any, tmp_path: Path) -> None:
    source = _network(kit, rng, 3)
    x = {"x": rng.standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)}
    before = OrtSession(source).run(x)["y"]
    TARGET.emit(source, tmp_path, options=_fold(_preprocessing("bgr", *IMAGENET)))
    assert np.array_equal(OrtSession(source).run(x)["y"], before)
