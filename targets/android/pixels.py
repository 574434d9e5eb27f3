"""Preprocessing inside the graph: the application feeds uint8 pixels, and the file normalizes.

The model computes on `x[c] = (pixel[order[c]] - mean[c]) / std[c]`. What becomes of it, on the ONNX
graph before it is lowered:

  1. The order of channels (BGR models) goes into the weights of the convolutions that read the
     input, exactly, where nothing else reads it and they have one group.
  2. One mean and one std for all channels are what a quantized tensor says anyway: the input is
     uint8 with scale `1 / std` and zero point `mean`. In a float graph that asks for a whole
     `mean`. In an int8 graph the requantization to the calibrated scale rounds in any case, so the
     nearest whole zero point will do as long as no pixel lands further than the half step from
     its real value that every rounding costs.
  3. Else, in a float graph whose input is read by one convolution without padding: weights
     `w / std`, bias `b - sum(w * mean / std)`. With padding that would be wrong, since the model
     pads with 0, which is the pixel `mean` and differs from channel to channel.
  4. Else a 1x1 convolution takes pixels to `x` and the order of channels with it. In an int8 graph
     its weights are 127 on the (permuted) diagonal with one scale `1 / (127 std)` per channel, and
     its bias counts in 1/127 of a pixel, so that it is exact to 1/254 of a pixel before rounding.

The padded sides of a picture are right in all cases, because only 3. touches a convolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.findings import Finding
from edgewise.graph import (
    add_initializer,
    attribute,
    constant,
    consumers,
    node_label,
    quantization_of,
)
from edgewise.graph.prepare import settle
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE
from edgewise.targets.android.pixel_rounding import (
    WEIGHT_STEPS,
    Floats,
    calibrated_step,
    convolved,
    requantized,
    rounding_remarks,
    whole_zero_point,
)
from edgewise.targets.base import Normalization
from edgewise.targets.pictures import picture_input


@dataclass(frozen=True, slots=True)
class Folded:
    """The input that takes pixels now, what it stands for, and remarks."""

    input_name: str
    hub_dtype: str
    normalization: Normalization
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Picture:
    """The input while it is rewritten: `source` is what its readers read, `pixels` the new one."""

    model: ir.Model
    source: ir.Value
    pixels: ir.Value
    channel_axis: int
    mean: Floats
    std: Floats
    order: tuple[int, ...]

    @property
    def is_uniform(self) -> bool:
        return bool((self.mean == self.mean[0]).all() and (self.std == self.std[0]).all())

    @property
    def keeps_order(self) -> bool:
        return self.order == tuple(range(len(self.order)))

    def in_file_order(self) -> _Picture:
        """The same once its readers take channels in the order of the picture."""
        channels = np.argsort(self.order)
        in_order = tuple(range(len(self.order)))
        return replace(self, mean=self.mean[channels], std=self.std[channels], order=in_order)

    @property
    def stem(self) -> str:
        return f"{self.pixels.name}/normalization"


def fold_preprocessing(model: ir.Model, preprocessing: Mapping[str, Any] | None) -> Folded:
    """Rewrite a prepared model in place so that its only input takes uint8 pixels, RGB or gray.

    Raises:
        UsageError: nothing says how pictures become inputs.
        ModelError: the model has several inputs, or one that pictures cannot feed.
    """
    picture = _take_over(model, preprocessing)
    normalization = Normalization(
        tuple(float(mean) for mean in picture.mean),
        tuple(float(std) for std in picture.std),
        picture.order,
    )
    hub_dtype = "uint8" if picture.source.dtype == ir.DataType.UINT8 else "float32"
    if not picture.keeps_order and _reorder_weights(picture):
        picture = picture.in_file_order()
    findings = _normalize(picture)
    settle(model)
    return Folded(str(picture.pixels.name), hub_dtype, normalization, tuple(findings))


def _take_over(model: ir.Model, preprocessing: Mapping[str, Any] | None) -> _Picture:
    """Put a uint8 input in place of the model's; its readers still read the old value."""
    graph = model.graph
    found = picture_input(model, preprocessing, "android")
    source = found.source
    pixels = ir.Value(name=source.name, shape=source.shape, type=ir.TensorType(ir.DataType.UINT8))
    source.name = f"{pixels.name}/normalized"
    graph.inputs[graph.inputs.index(source)] = pixels
    return _Picture(model, source, pixels, found.channel_axis, found.mean, found.std, found.order)


# ---- the order of channels, in the weights (case 1)


def _reorder_weights(picture: _Picture) -> bool:
    """Permute the input channels of the first convolutions; False where that cannot be done."""
    readers = list(_through_quantization(picture.source))
    found = [_weight_of(node) for node in readers]
    weights = dict.fromkeys(weight for weight in found if weight is not None)
    if picture.channel_axis != 1 or not readers or None in found:
        return False
    if any(not _reads_only(weight, readers) for weight in weights):
        return False
    order = np.argsort(picture.order)
    for weight in weights:
        array = constant(weight)
        assert array is not None  # _weight_of has seen it
        weight.const_value = ir.tensor(np.ascontiguousarray(array[:, order]), name=weight.name)
    return True


def _through_quantization(value: ir.Value) -> Iterator[ir.Node]:
    for node in consumers(value):
        if node.op_type in (QUANTIZE, DEQUANTIZE) and node.inputs[0] is value:
            yield from _through_quantization(node.outputs[0])
        else:
            yield node


def _weight_of(node: ir.Node) -> ir.Value | None:
    """The initializer behind the weights of a convolution with one group, whose scales, if any,
    do not run along its input channels."""
    if node.op_type != "Conv" or attribute(node, "group", 1) != 1:
        return None
    weight = node.inputs[1]
    maker = None if weight is None else weight.producer()
    if maker is not None and maker.op_type == DEQUANTIZE:
        if quantization_of(maker).axis not in (None, 0):
            return None
        weight = maker.inputs[0]
    return weight if weight is not None and constant(weight) is not None else None


def _reads_only(weight: ir.Value, readers: list[ir.Node]) -> bool:
    """Whether only these nodes read the weights, directly or through DQ."""
    return all(
        node in readers or (node.op_type == DEQUANTIZE and _reads_only(node.outputs[0], readers))
        for node in consumers(weight)
    )


# ---- mean and std (cases 2 to 4)


def _normalize(picture: _Picture) -> list[Finding]:
    if picture.source.dtype == ir.DataType.UINT8 and picture.keeps_order:
        picture.source.replace_all_uses_with(picture.pixels, replace_graph_outputs=True)
        return []
    step, mean, std = calibrated_step(picture.source), picture.mean, picture.std
    if picture.keeps_order and picture.is_uniform:
        zero_point = whole_zero_point(float(mean[0]), float(std[0]), step)
        if zero_point is not None:
            _replace_source(picture, _dequantized(picture, float(1 / std[0]), zero_point))
            if step is None:
                return []
            landed = requantized(zero_point, float(std[0]), step)
            return rounding_remarks(picture.pixels, mean, std, step, landed)
    if step is None:
        if not _fold_into_convolution(picture):
            pixels = _dequantized(picture, 1.0, 0)
            _replace_source(picture, _float_convolution(picture, pixels))
        return []
    _replace_source(picture, _int8_convolution(picture, _dequantized(picture, 1.0, 0)))
    landed = convolved(mean, std, step)
    return rounding_remarks(picture.pixels, mean, std, step, landed)


def _replace_source(picture: _Picture, value: ir.Value) -> None:
    value.shape = picture.source.shape
    value.type = ir.TensorType(ir.DataType.FLOAT)
    picture.source.replace_all_uses_with(value, replace_graph_outputs=True)


def _fold_into_convolution(picture: _Picture) -> bool:
    """Case 3; False where it does not hold."""
    readers = consumers(picture.source)
    node = readers[0] if len(readers) == 1 else None
    if node is None or node.op_type != "Conv" or not picture.keeps_order:
        return False
    weight, bias = constant(node.inputs[1]), None
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = constant(node.inputs[2])
        if bias is None:
            return False
    if weight is None or attribute(node, "group", 1) != 1 or not _is_unpadded(node):
        return False
    mean, std = (numbers.reshape(1, -1, 1, 1) for numbers in (picture.mean, picture.std))
    scaled = weight.astype(np.float64) / std
    offset = -(scaled * mean).sum(axis=(1, 2, 3)) + (0 if bias is None else bias)
    label = node_label(node)
    graph = picture.model.graph
    node.resize_inputs(3)
    node.replace_input_with(
        1, add_initializer(graph, f"{label}/weights", scaled.astype(np.float32))
    )
    node.replace_input_with(2, add_initializer(graph, f"{label}/bias", offset.astype(np.float32)))
    _replace_source(picture, _dequantized(picture, 1.0, 0))
    return True


def _is_unpadded(node: ir.Node) -> bool:
    kind = attribute(node, "auto_pad", "NOTSET")
    return kind == "VALID" or (kind == "NOTSET" and not any(attribute(node, "pads") or []))


def _float_convolution(picture: _Picture, pixels: ir.Value) -> ir.Value:
    weights = _diagonal(picture, 1 / picture.std).astype(np.float32)
    bias = (-picture.mean / picture.std).astype(np.float32)
    operands = [add_initializer(picture.model.graph, f"{picture.stem}/weights", weights)]
    operands.append(add_initializer(picture.model.graph, f"{picture.stem}/bias", bias))
    return _convolved(picture, pixels, operands)


def _int8_convolution(picture: _Picture, pixels: ir.Value) -> ir.Value:
    scales = (1 / (picture.std * WEIGHT_STEPS)).astype(np.float32)
    weights = _diagonal(picture, np.full(len(scales), WEIGHT_STEPS)).astype(np.int8)
    bias = np.rint(-picture.mean * WEIGHT_STEPS).astype(np.int32)
    operands = []
    for name, integers in (("weights", weights), ("bias", bias)):
        stem = f"{picture.stem}/{name}"
        parts = [
            add_initializer(picture.model.graph, f"{stem}_integers", integers),
            add_initializer(picture.model.graph, f"{stem}_scales", scales),
            add_initializer(
                picture.model.graph, f"{stem}_zero_points", np.zeros(len(scales), integers.dtype)
            ),
        ]
        operands.append(_add(picture, DEQUANTIZE, parts, stem, {"axis": 0}))
    return _convolved(picture, pixels, operands)


def _diagonal(picture: _Picture, numbers: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Weights (channel of the model, channel of the picture, 1, 1) of a 1x1 convolution."""
    channels = len(picture.order)
    weights = np.zeros((channels, channels, 1, 1), numbers.dtype)
    weights[np.arange(channels), list(picture.order), 0, 0] = numbers
    return weights


def _convolved(picture: _Picture, pixels: ir.Value, operands: list[ir.Value]) -> ir.Value:
    """The convolution on the model's layout; NHWC goes there and back, which costs nothing."""
    if picture.channel_axis == 1:
        return _add(picture, "Conv", [pixels, *operands], picture.stem)
    stem = picture.stem
    planes = _add(picture, "Transpose", [pixels], f"{stem}/planes", {"perm": [0, 3, 1, 2]})
    result = _add(picture, "Conv", [planes, *operands], f"{stem}/scaled")
    return _add(picture, "Transpose", [result], stem, {"perm": [0, 2, 3, 1]})


def _dequantized(picture: _Picture, scale: float, zero_point: int) -> ir.Value:
    """The pixels as floats; a uint8 tensor with these parameters in the file."""
    stem = f"{picture.stem}/pixels"
    parts = [
        picture.pixels,
        add_initializer(picture.model.graph, f"{stem}_scale", np.array(scale, np.float32)),
        add_initializer(picture.model.graph, f"{stem}_zero_point", np.array(zero_point, np.uint8)),
    ]
    return _add(picture, DEQUANTIZE, parts, stem)


def _add(
    picture: _Picture,
    op_type: str,
    inputs: list[ir.Value],
    name: str,
    attributes: Mapping[str, Any] | None = None,
) -> ir.Value:
    """A node; the graph is sorted when all is done."""
    node = ir.node(op_type, inputs, attributes=dict(attributes or {}), name=name)
    output = node.outputs[0]
    output.name, output.type = name, ir.TensorType(ir.DataType.FLOAT)
    picture.model.graph.append(node)
    return output
