"""The digits sample as a Keras model, with the weights that come with Edgewise.

Keras has channels last and pads strided convolutions at the end, PyTorch at both sides: a padding
layer stands before these. Data are those of the sample, with the axes moved.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewise.graph import load
from edgewise.sample_models.digits.model import CLASSES

_FOLDER = files("edgewise.sample_models.digits")
#: (inputs, output channels, stride, expansion) of each inverted residual, by its place
_BLOCKS = {
    "features.3": (16, 16, 1, 1),
    "features.4": (16, 24, 2, 4),
    "features.5": (24, 24, 1, 4),
    "features.6": (24, 32, 2, 4),
    "features.7": (32, 32, 1, 4),
}

Example = tuple[dict[str, npt.NDArray[np.float32]], int]


def model() -> Any:
    """Logits (batch, 10) of pictures (batch, 32, 32, 1) with values from 0 to 1."""
    import keras

    layers = keras.layers
    image = keras.Input((32, 32, 1), name="image")
    x = _convolution(image, "features.0", 16, 3, stride=2)
    for name, (inputs, outputs, stride, expansion) in _BLOCKS.items():
        y, hidden, place = x, inputs * expansion, 0
        if expansion > 1:
            y, place = _convolution(y, f"{name}.layers.0", hidden, 1), 3
        y = _convolution(y, f"{name}.layers.{place}", hidden, 3, stride=stride, depthwise=True)
        y = _convolution(y, f"{name}.layers.{place + 3}", outputs, 1, linear=True)
        x = layers.Add()([x, y]) if stride == 1 and inputs == outputs else y
    x = _convolution(x, "features.8", 96, 1)
    x = layers.GlobalAveragePooling2D()(x)
    net = keras.Model(image, layers.Dense(CLASSES, name="classifier")(x), name="digits")
    _fill(net)
    return net


def _convolution(
    x: Any,
    name: str,
    channels: int,
    kernel: int,
    *,
    stride: int = 1,
    depthwise: bool = False,
    linear: bool = False,
) -> Any:
    import keras

    layers = keras.layers
    if kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2)(x)
    name = name.replace(".", "_")
    if depthwise:
        x = layers.DepthwiseConv2D(kernel, stride, name=name)(x)
    else:
        x = layers.Conv2D(channels, kernel, stride, name=name)(x)
    return x if linear else layers.ReLU(6.0)(x)


def _fill(net: Any) -> None:
    stored = load(str(_FOLDER / "digits.onnx")).graph.initializers
    for name, value in stored.items():
        stem, _, kind = name.rpartition(".")
        if kind != "weight" or value.const_value is None:
            continue
        layer = net.get_layer(stem.replace(".", "_"))
        bias_name = f"{stem}.bias" if f"{stem}.bias" in stored else f"{name}_bias"
        weight, bias = value.const_value, stored[bias_name].const_value
        assert bias is not None
        axes = (1, 0)
        if len(weight.shape) == 4:  # OIHW to HWIO; one filter for each channel: to HWOI
            axes = (2, 3, 0, 1) if "Depthwise" in type(layer).__name__ else (2, 3, 1, 0)
        layer.set_weights([weight.numpy().transpose(axes), bias.numpy()])


def calibration() -> Iterator[Example]:
    return _examples("calibration.npz")


def evaluation() -> Iterator[Example]:
    return _examples("evaluation.npz")


def _examples(name: str) -> Iterator[Example]:
    with np.load(str(_FOLDER / name)) as arrays:
        pictures = arrays["image"]
        labels = arrays["label"] if "label" in arrays else np.zeros(len(pictures), np.int64)
    for picture, label in zip(pictures, labels, strict=True):
        yield {"image": picture.transpose(1, 2, 0)}, int(label)
