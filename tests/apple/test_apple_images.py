"""Packages that take pictures: their description, their numbers, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgewise.errors import ModelError, UsageError
from edgewise.graph import OrtSession, prepare
from edgewise.targets import EmitOptions
from edgewise.targets.apple import TARGET
from edgewise.targets.apple._coremltools import ct
from edgewise.targets.apple.interpreter import Interpreter

FOLD = {"fold_preprocessing": True}
UNEVEN = {"color": "rgb", "mean": (123.675, 116.28, 103.53), "std": (58.4, 57.1, 57.4)}


def convolution(make, shape=(1, 3, 10, 12), seed=0):
    """A padded convolution, whose borders tell whether 0 still is 0 for the model."""
    channels = shape[1]
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"], name="conv", pads=[1, 1, 1, 1])]
    constants = {"w": make.random(4, channels, 3, 3, seed=seed), "b": make.random(4, seed=seed + 1)}
    return make.build_model(nodes, {"x": np.zeros(shape, np.float32)}, ["y"], constants)


def options(preprocessing, **others):
    return EmitOptions(preprocessing=preprocessing, options={**FOLD, **others})


def pixels_of(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def normalized(pixels, preprocessing, axis=1):
    """What the model gets for pixels in the order of its own channels."""
    form = [1] * pixels.ndim
    form[axis] = -1
    mean, std = (
        np.broadcast_to(np.asarray(preprocessing[key], np.float64).reshape(-1), pixels.shape[axis])
        for key in ("mean", "std")
    )
    return ((pixels - mean.reshape(form)) / std.reshape(form)).astype(np.float32)


CASES = {
    "uneven rgb": ((1, 3, 10, 12), UNEVEN, "RGB"),
    "uneven bgr": ((1, 3, 10, 12), {**UNEVEN, "color": "bgr"}, "BGR"),
    "even": ((1, 3, 10, 12), {"mean": 127.5, "std": 127.5}, "RGB"),
    "std alone": ((1, 3, 10, 12), {"mean": 0.0, "std": 255.0}, "RGB"),
    "nothing": ((1, 3, 10, 12), {"mean": 0.0, "std": 1.0}, "RGB"),
    "gray": ((1, 1, 10, 12), {"color": "gray", "mean": 33.0, "std": 78.5}, "GRAYSCALE"),
}


@pytest.mark.parametrize(("shape", "preprocessing", "space"), CASES.values(), ids=CASES)
def test_pictures_give_what_the_model_gives(make, tmp_path, shape, preprocessing, space):
    model = convolution(make, shape)
    artifact = TARGET.emit(model, tmp_path, "fp32", options=options(preprocessing))
    feature = ct.utils.load_spec(str(artifact.path)).description.input[0]
    image = feature.type.imageType
    assert (image.height, image.width) == (10, 12)
    assert image.ColorSpace.Name(image.colorSpace) == space

    pixels = pixels_of(shape)
    feeds = {"x": normalized(pixels, preprocessing)}
    expected = OrtSession(prepare(model, batch=1)).run(feeds)["y"]
    result = TARGET.open(artifact.path).run(feeds)["y"]
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-4)

    picture = np.moveaxis(pixels[0, ::-1] if space == "BGR" else pixels[0], 0, -1)
    picture = picture[..., 0] if space == "GRAYSCALE" else picture
    direct = Interpreter(artifact.path).run({"x": picture})["y"]
    assert np.array_equal(direct, result)


def test_a_model_in_nhwc_gets_a_transpose(make, tmp_path):
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w"], ["y"], name="conv"),
    ]
    x = np.zeros((1, 10, 12, 3), np.float32)
    model = make.build_model(nodes, {"x": x}, ["y"], {"w": make.random(4, 3, 3, 3)})
    wanted = options({**UNEVEN, "layout": "nhwc", "color": "bgr"})
    artifact = TARGET.emit(model, tmp_path, "fp32", options=wanted)
    signature = artifact.manifest.inputs[0]
    assert (signature.shape, signature.hub_shape) == ((1, 3, 10, 12), (1, 10, 12, 3))
    assert signature.perm == (0, 3, 1, 2)
    feeds = {"x": normalized(pixels_of((1, 10, 12, 3)), UNEVEN, axis=3)}
    expected = OrtSession(prepare(model, batch=1)).run(feeds)["y"]
    result = TARGET.open(artifact).run(feeds)["y"]
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-4)


def test_a_model_of_uint8_pixels(make, tmp_path):
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["f", "w"], ["y"], name="conv"),
    ]
    x = pixels_of((1, 3, 10, 12))
    model = make.build_model(nodes, {"x": x}, ["y"], {"w": make.random(4, 3, 3, 3)})
    artifact = TARGET.emit(model, tmp_path, "fp32", options=options({"mean": 0.0, "std": 1.0}))
    assert artifact.manifest.inputs[0].hub_dtype == "uint8"
    expected = OrtSession(prepare(model, batch=1)).run({"x": x})["y"]
    result = TARGET.open(artifact).run({"x": x})["y"]
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-2)


def test_a_quantized_model(make, tmp_path):
    """Its first scale is 0.02; a pixel is 1/32 = 1.56 steps, and no pixel lies half-way."""
    model = make.quantized_cnn()
    preprocessing = {"mean": 128.0, "std": 32.0}
    wanted = options(preprocessing, compute="fp32")
    artifact = TARGET.emit(model, tmp_path, "w8a8", options=wanted)
    feeds = {"x": normalized(pixels_of((1, 3, 12, 12)), preprocessing)}
    expected = OrtSession(prepare(model, batch=1)).run(feeds)["y_d"]
    assert np.array_equal(TARGET.open(artifact).run(feeds)["y_d"], expected)


def test_half_precision_stays_close(make, tmp_path):
    model = convolution(make)
    artifact = TARGET.emit(model, tmp_path, "fp16", options=options(UNEVEN))
    feeds = {"x": normalized(pixels_of((1, 3, 10, 12)), UNEVEN)}
    expected = OrtSession(prepare(model, batch=1)).run(feeds)["y"]
    difference = np.abs(TARGET.open(artifact).run(feeds)["y"] - expected)
    assert difference.max() < 0.005 * np.ptp(expected)


def test_the_manifest_says_what_is_left_to_do(make, tmp_path):
    preprocessing = {**UNEVEN, "color": "bgr", "resize": 12}
    artifact = TARGET.emit(convolution(make), tmp_path, "fp32", options=options(preprocessing))
    document = json.loads((tmp_path / "manifest.json").read_text())
    assert document["preprocessing"] == {
        "color": "rgb", "mean": [0.0], "std": [1.0], "layout": "nchw", "resize": 12,
    }  # fmt: skip
    assert document["options"]["image"] == {"input": "x", "color_space": "BGR"}
    normalization = document["inputs"][0]["normalization"]
    assert normalization["order"] == [2, 1, 0]
    assert document["inputs"][0]["dtype"] == "uint8"
    assert artifact.manifest.inputs[0].hub_dtype == "float32"


@pytest.mark.parametrize(
    ("mean", "std", "color", "added"),
    [(0.0, 1.0, "bgr", []), (9.0, 1.0, "rgb", ["sub"]), (9.0, 2.0, "bgr", ["sub", "mul"])],
)
def test_only_what_is_needed_is_written(make, tmp_path, mean, std, color, added):
    """Never a permutation of channels."""
    preprocessing = {"mean": mean, "std": std, "color": color}
    path = TARGET.emit(convolution(make), tmp_path, "fp32", options=options(preprocessing)).path
    program = ct.utils.load_spec(str(path)).mlProgram.functions["main"]
    block = program.block_specializations[program.opset]
    kinds = [operation.type for operation in block.operations if operation.type != "const"]
    assert kinds == [*added, "conv", "identity"]


REFUSED = {
    "two channels": ((1, 2, 8, 8), UNEVEN, "no picture of 3 channels"),
    "no picture": ((1, 12), UNEVEN, "no picture of 3 channels"),
    "several at once": ((2, 3, 8, 8), UNEVEN, "2 pictures at once"),
    "gray asked, colour there": ((1, 3, 8, 8), {"color": "gray"}, "no picture of 1 channels"),
}  # fmt: skip


@pytest.mark.parametrize(("shape", "preprocessing", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_picture_is_refused(make, tmp_path, shape, preprocessing, message):
    model = make.node("Relu", [shape], {}).model()
    with pytest.raises(ModelError) as caught:
        TARGET.emit(model, tmp_path / "out", "fp32", options=options(preprocessing))
    text = str(caught.value)
    assert message in text and "\n" not in text and "[targets.apple]" in text
    assert list(tmp_path.iterdir()) == []


def test_two_inputs_are_refused(make, tmp_path):
    x = np.zeros((1, 3, 4, 4), np.float32)
    nodes = [helper.make_node("Add", ["x", "z"], ["y"])]
    model = make.build_model(nodes, {"x": x, "z": x}, ["y"])
    with pytest.raises(ModelError, match="2 inputs, and pictures feed one"):
        TARGET.emit(model, tmp_path, "fp32", options=options(UNEVEN))


def test_folding_needs_to_know_the_preprocessing(make, tmp_path):
    with pytest.raises(UsageError, match="needs to know the preprocessing"):
        TARGET.emit(convolution(make), tmp_path / "out", "fp32", options=EmitOptions(options=FOLD))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="option 'fold_preprocessing' is 'yes'"):
        TARGET.check_options({"fold_preprocessing": "yes"}, "fp32")


def test_the_given_model_stays_as_it_was(make, tmp_path):
    model = convolution(make)
    before = [value.name for value in model.graph.inputs], len(list(model.graph))
    TARGET.emit(model, Path(tmp_path), "fp32", options=options(UNEVEN))
    assert ([value.name for value in model.graph.inputs], len(list(model.graph))) == before
