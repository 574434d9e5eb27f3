"""Image inputs of packages that coremltools made, with its own scale and bias."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgewise.errors import ModelError
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Function, Program, ct, quiet, types
from edgewise.targets.apple.interpreter import Interpreter

Array = npt.NDArray[Any]
_SIZE = (5, 7)


def package(folder: Path, layout: str, **preprocessing: Any) -> Path:
    """Gives its planes back, multiplied and shifted as coremltools' ImageType says."""
    channels = 1 if layout.startswith("GRAY") else 3
    target = ct.target.iOS16
    half = layout == "GRAYSCALE_FLOAT16"
    kind = types.fp16 if half else types.fp32
    with quiet():
        shape = (1, channels, *_SIZE)
        placeholder = mb.placeholder(shape=shape, dtype=kind)
        with Function({"x": placeholder}, opset_version=target) as function:
            function.set_outputs([mb.relu(x=function.inputs["x"], name="y")])
        program = Program()
        program.add_function("main", function)
        colors = ct.colorlayout[layout]
        image = ct.ImageType(name="x", color_layout=colors, shape=shape, **preprocessing)
        model = ct.convert(
            program,
            source="milinternal",
            convert_to="mlprogram",
            inputs=[image],
            minimum_deployment_target=target,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )
        path = folder / "image.mlpackage"
        model.save(str(path))
    return path


def pixels(*shape: int) -> Array:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("layout", ["RGB", "BGR"])
def test_scale_and_bias(tmp_path: Path, layout: str) -> None:
    path = package(tmp_path, layout, scale=2.0, bias=[1.0, -3.0, 5.0])
    interpreter = Interpreter(path)
    spec = interpreter.inputs[0]
    assert (spec.shape, spec.dtype, spec.color_space) == ((1, 3, 5, 7), np.uint8, layout)
    picture = pixels(5, 7, 3)
    planes = np.moveaxis(picture if layout == "RGB" else picture[..., ::-1], -1, 0)[None]
    expected = np.maximum(planes * 2.0 + np.array([1.0, -3.0, 5.0]).reshape(1, 3, 1, 1), 0)
    assert np.array_equal(interpreter.run({"x": picture})["y"], expected)
    as_planes = np.moveaxis(picture, -1, 0)[None]
    assert np.array_equal(interpreter.run({"x": as_planes})["y"], expected)


def test_gray(tmp_path: Path) -> None:
    interpreter = Interpreter(package(tmp_path, "GRAYSCALE", scale=0.5))
    picture = pixels(5, 7)
    for form in (picture, picture[..., None], picture[None, None]):
        result = interpreter.run({"x": form})["y"]
        assert np.array_equal(result[0, 0], picture * np.float32(0.5))


def test_gray_of_half_precision(tmp_path: Path) -> None:
    interpreter = Interpreter(package(tmp_path, "GRAYSCALE_FLOAT16"))
    assert interpreter.inputs[0].dtype == np.float16
    picture = np.random.default_rng(0).uniform(0, 9, (5, 7)).astype(np.float16)
    assert np.array_equal(interpreter.run({"x": picture})["y"][0, 0], picture)
    with pytest.raises(ModelError, match="GRAYSCALE_FLOAT16 picture of 5 x 7, as float16"):
        interpreter.run({"x": pixels(5, 7)})


@pytest.mark.parametrize(
    "picture",
    [
        pixels(5, 8, 3),
        pixels(5, 7),
        pixels(2, 3, 5, 7),
        pixels(5, 7, 3).astype(np.float32),
        pixels(5, 7, 3).astype(np.int64),
    ],
    ids=["size", "channels", "batch", "fractions", "wide"],
)
def test_what_is_no_such_picture(tmp_path: Path, picture: Array) -> None:
    interpreter = Interpreter(package(tmp_path, "RGB"))
    with pytest.raises(ModelError, match="takes a RGB picture of 5 x 7, as uint8"):
        interpreter.run({"x": picture})
