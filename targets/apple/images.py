"""Preprocessing inside the package: Core ML takes a picture, and the program normalizes it.

The model computes on `x[c] = (pixel[c] - mean[c]) / std[c]`. An image input of Core ML hands over
its planes as numbers from 0 to 255 in the order of its colour space, so that the order of channels
costs nothing: a model for BGR gets an input with that colour space, whose mean and std are in the
same order. What remains is written behind the input as ordinary operations, for an ML Program has
no other place for scale and bias:
    x = (pixel - mean) * (1 / std)
with one number for all channels where they are equal. The difference comes first because fp16 has
it exactly where the mean is a multiple of 1/8; a scale before the bias would round twice.

Core ML lays pictures out as planes. A model that takes NHWC gets a transpose behind the
normalization. One that takes uint8 pixels gets a cast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.graph import add_initializer, static_shape
from edgewise.graph.prepare import settle
from edgewise.targets.base import Normalization
from edgewise.targets.pictures import PictureInput, picture_input, refuse_picture

#: axis of the model -> axis of Core ML's planes
_PERMS = {1: (0, 1, 2, 3), 3: (0, 3, 1, 2)}
_TARGET = "apple"


@dataclass(frozen=True, slots=True)
class Picture:
    """The input that takes a picture now, and what the model itself had in its place."""

    name: str
    color_space: str  # as Core ML's specification names it
    perm: tuple[int, ...]  # axis `k` of the planes is axis `perm[k]` of the model's input
    hub_shape: tuple[int, ...]
    hub_dtype: str
    normalization: Normalization


def take_picture(model: ir.Model, preprocessing: Mapping[str, Any] | None) -> Picture:
    """Rewrite a prepared model in place so that its only input takes the planes of a picture.

    Raises:
        UsageError: nothing says how pictures become inputs.
        ModelError: the model has several inputs, or one that pictures cannot feed.
    """
    found = picture_input(model, preprocessing, _TARGET)
    source = found.source
    hub_shape = static_shape(source)
    if hub_shape[0] != 1:
        raise refuse_picture(_TARGET, f"'{source.name}' takes {hub_shape[0]} pictures at once")
    perm = _PERMS[found.channel_axis]
    pixels = ir.Value(
        name=source.name,
        shape=ir.Shape([hub_shape[axis] for axis in perm]),
        type=ir.TensorType(ir.DataType.FLOAT),
    )
    source.name = f"{pixels.name}/normalized"
    model.graph.inputs[model.graph.inputs.index(source)] = pixels
    source.replace_all_uses_with(_normalized(model, found, pixels), replace_graph_outputs=True)
    settle(model)
    return Picture(
        str(pixels.name),
        _color_space(found),
        perm,
        hub_shape,
        found.hub_dtype,
        found.normalization,
    )


def _color_space(picture: PictureInput) -> str:
    if len(picture.order) == 1:
        return "GRAYSCALE"
    return "RGB" if picture.order[0] == 0 else "BGR"


def _normalized(model: ir.Model, picture: PictureInput, pixels: ir.Value) -> ir.Value:
    """The input as the model's nodes read it. The graph is sorted when all is done."""
    value = pixels
    if picture.mean.any():
        mean = _numbers(model, pixels, "mean", picture.mean)
        value = _add(model, "Sub", [value, mean], "centred")
    if (picture.std != 1).any():
        scale = _numbers(model, pixels, "scale", 1 / picture.std)
        value = _add(model, "Mul", [value, scale], "scaled")
    if picture.channel_axis != 1:
        value = _add(model, "Transpose", [value], "moved", {"perm": [0, 2, 3, 1]})
    if picture.source.dtype == ir.DataType.UINT8:
        value = _add(model, "Cast", [value], "whole", {"to": ir.DataType.UINT8.value})
    value.shape, value.type = picture.source.shape, picture.source.type
    return value


def _numbers(
    model: ir.Model, pixels: ir.Value, name: str, numbers: npt.NDArray[np.float64]
) -> ir.Value:
    """One number, or one per channel shaped to broadcast over the planes."""
    equal = bool((numbers == numbers[0]).all())
    array = numbers[0] if equal else numbers.reshape(1, -1, 1, 1)
    return add_initializer(model.graph, f"{pixels.name}/{name}", np.asarray(array, np.float32))


def _add(
    model: ir.Model,
    op_type: str,
    inputs: list[ir.Value],
    name: str,
    attributes: Mapping[str, Any] | None = None,
) -> ir.Value:
    stem = f"{inputs[0].name}/{name}"
    node = ir.node(op_type, inputs, attributes=dict(attributes or {}), name=stem)
    output = node.outputs[0]
    output.name, output.type = stem, ir.TensorType(ir.DataType.FLOAT)
    model.graph.append(node)
    return output
