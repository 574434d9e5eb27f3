"""Inputs that are pictures: what Core ML makes of a pixel buffer before an ML Program sees it.

An image input has a colour space and, in the program, a tensor of planes: (1, 3, height, width) or
(3, height, width) for RGB and BGR, one plane for grayscale. Core ML hands over the pixels as they
are, 0 to 255, in the order of the colour space. Scale and bias are operations of an ML Program
(coremltools writes them as `mul` and `add` behind the input), not properties of its input.

Here pictures are arrays in the order red, green, blue, as Pillow gives them, whatever the colour
space: (height, width, 3), (height, width) for grayscale, or planes in the shape of the tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgewise.errors import ModelError
from edgewise.targets.apple.interpreter.kernels.base import Array
from edgewise.targets.apple.interpreter.numbers import HELD_AS
from edgewise.targets.apple.interpreter.plan import Tensor

#: grayscale pictures of floating-point numbers, which Core ML hands over as they are
HALF_GRAY = "GRAYSCALE_FLOAT16"
_CHANNELS = {"RGB": 3, "BGR": 3, "GRAYSCALE": 1, HALF_GRAY: 1}


@dataclass(frozen=True, slots=True)
class ImageInput:
    """`color_space` as Core ML's specification names it."""

    name: str
    color_space: str

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float16 if self.color_space == HALF_GRAY else np.uint8)

    def planes(self, picture: Array, tensor: Tensor) -> Array:
        """The picture as the program's tensor.

        Raises:
            ModelError: it is no picture of the input's size, or not of whole pixels.
        """
        array = np.asarray(picture)
        kind = "f" if self.color_space == HALF_GRAY else "u"
        if array.dtype.kind != kind or (kind == "u" and array.dtype != np.uint8):
            raise self._refuse(array, tensor)
        if array.ndim == 2 and self.channels == 1:
            array = array[None]
        elif array.ndim == 3 and array.shape[-1] == self.channels and not fits(array, tensor):
            array = np.moveaxis(array, -1, 0)
        if array.ndim == len(tensor.shape) - 1:
            array = array[None]
        if not fits(array, tensor):
            raise self._refuse(np.asarray(picture), tensor)
        if self.color_space == "BGR":
            array = np.flip(array, axis=-3)
        return np.asarray(array, HELD_AS[tensor.dtype], order="C")

    @property
    def channels(self) -> int:
        return _CHANNELS[self.color_space]

    def _refuse(self, array: Array, tensor: Tensor) -> ModelError:
        height, width = tensor.shape[-2:]
        return ModelError(
            f"input '{self.name}' got {array.dtype} {list(array.shape)}",
            why=f"it takes a {self.color_space} picture of {height} x {width}, as {self.dtype}",
        )


def image_inputs(description: Any) -> Mapping[str, ImageInput]:
    """The image inputs of a Core ML function, by name.

    Args:
        description: message `ModelDescription` or `FunctionDescription`.
    """
    found = {}
    for feature in description.input:
        if feature.type.WhichOneof("Type") == "imageType":
            image = feature.type.imageType
            space = image.ColorSpace.Name(image.colorSpace)
            if space not in _CHANNELS:
                raise ModelError(
                    "an image input without a colour space", where=f"input '{feature.name}'"
                )
            found[feature.name] = ImageInput(feature.name, space)
    return found


def fits(array: Array, tensor: Tensor) -> bool:
    """Whether the array has the tensor's shape; symbolic dimensions take any size."""
    return array.ndim == len(tensor.shape) and all(
        isinstance(expected, str) or expected == size
        for size, expected in zip(array.shape, tensor.shape, strict=True)
    )
