"""Where a factor per channel goes behind a layer, until other layers take it back.

Let f be what lies between a layer's output y and a layer that reads it. A factor 1 / s_c > 0 on
channel c of y reaches the reader unchanged where f is positively homogeneous in every channel,

    f(y / s) = f(y) / s,

which holds for the operators below, each with its condition:

1. Relu, LeakyRelu, PRelu, Abs, Identity, Dropout: element by element, and linear on either side
   of 0. Clip with a lower bound of 0 or none, and no upper bound that acts: see 5.
2. MaxPool, AveragePool, GlobalMaxPool, GlobalAveragePool: channels stay apart.
3. ReduceMean, ReduceMax, ReduceSum over other axes than that of the channels; Pad with zeros, or
   by copies, along other axes.
4. Reshape, Flatten, Squeeze, Unsqueeze and Transpose move the axis of the channels; where one
   joins it with the axes behind it, channel c covers `repeat` elements in a row.
5. Clip(y / s, 0, u) = Clip(y, 0, u s) / s: the same as Clip(y, 0, u) / s wherever y is at most
   min(u, u s). The bound is reported, and who chooses s sees to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod

import onnx_ir as ir

from edgewise.calibration.activation_functions import bounds_of
from edgewise.calibration.repairs.layers import LAYER_OPS, Layer, layer_of
from edgewise.graph import attribute, constant

_STANDARD = ("", "ai.onnx")
_ELEMENTWISE = frozenset({"Abs", "Dropout", "Identity", "LeakyRelu", "PRelu", "Relu"})
_POOLS = frozenset({"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"})
_REDUCTIONS = frozenset({"ReduceMax", "ReduceMean", "ReduceSum"})
_SHAPES = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor with channels along `axis`, each covering `repeat` elements in a row."""

    value: ir.Value
    axis: int
    repeat: int = 1


@dataclass(frozen=True, slots=True)
class Reader:
    """A layer that reads the channels, and the tensor that it reads."""

    layer: Layer
    place: Place


@dataclass(slots=True)
class Paths:
    """All that is behind a layer: the layers that read it, and the tensors on the way."""

    readers: list[Reader] = field(default_factory=list)
    #: from the layer's output on
    places: list[Place] = field(default_factory=list)
    #: outputs of Clip nodes, with their upper bounds
    bounded: list[tuple[Place, float]] = field(default_factory=list)


def paths_behind(layer: Layer) -> Paths | str:
    """What is behind the layer, or why a factor cannot be taken back everywhere."""
    shape = layer.output.shape
    if shape is None:
        return f"the shape of '{layer.output.name}' is unknown"
    start = Place(layer.output, layer.channel_axis % len(shape))
    if start.value.is_graph_output():
        return f"'{start.value.name}' is an output of the model"
    return paths_from(start, uses_of(start.value))


def paths_from(start: Place, uses: Iterable[tuple[ir.Node, int]]) -> Paths | str:
    """What is behind some uses of a tensor, each a node and the number of its input, or why a
    factor cannot be taken back everywhere."""
    paths = Paths(places=[start])
    queue = [(start, *use) for use in uses]
    while queue:
        place, node, index = queue.pop()
        found = _behind(node, index, place, paths)
        if isinstance(found, str):
            return found
        if found is None:
            continue
        if found.value.is_graph_output():
            return f"'{found.value.name}' is an output of the model"
        paths.places.append(found)
        queue += [(found, *use) for use in uses_of(found.value)]
    return paths if paths.readers else "no layer reads it"


def uses_of(value: ir.Value) -> list[tuple[ir.Node, int]]:
    """The nodes that read a tensor, with the number of the input."""
    return [(use.node, use.idx) for use in value.uses()]


def _behind(node: ir.Node, index: int, place: Place, paths: Paths) -> Place | str | None:
    """Where the channels are behind a node; None where a layer has taken the factors."""
    if node.domain not in _STANDARD:
        return f"{node.domain}.{node.op_type} reads it"
    if node.op_type in LAYER_OPS:
        return _read_by_layer(node, index, place, paths)
    if index != 0:
        return f"{node.op_type} '{node.name}' reads it"
    out = node.outputs[0]
    if out.shape is None or place.value.shape is None:
        return f"the shape of '{out.name}' is unknown"
    if node.op_type == "Clip":
        return _behind_clip(node, place, paths)
    if node.op_type in _ELEMENTWISE or (node.op_type in _POOLS and place.axis == 1):
        return Place(out, place.axis, place.repeat)
    if node.op_type in _REDUCTIONS:
        return _behind_reduction(node, place)
    if node.op_type == "Pad":
        return _behind_pad(node, place)
    if node.op_type == "Transpose":
        rank = len(place.value.shape)
        order = [int(axis) for axis in attribute(node, "perm") or range(rank)[::-1]]
        return Place(out, order.index(place.axis), place.repeat)
    if node.op_type in _SHAPES:
        return _behind_reshape(node, place)
    return f"{node.op_type} '{node.name}' reads it"


def _read_by_layer(node: ir.Node, index: int, place: Place, paths: Paths) -> str | None:
    layer = layer_of(node)
    if isinstance(layer, str):
        return f"{node.op_type} '{node.name}' reads it, and {layer}"
    rank = 0 if place.value.shape is None else len(place.value.shape)
    wanted = 1 if node.op_type in ("Conv", "ConvTranspose") else rank - 1
    if index != 0 or place.axis != wanted:
        return f"{node.op_type} '{node.name}' reads it along another axis"
    paths.readers.append(Reader(layer, place))
    return None


def _behind_clip(node: ir.Node, place: Place, paths: Paths) -> Place | str:
    bounds = bounds_of(node)
    if bounds is None:
        return f"the bounds of Clip '{node.name}' are not constant"
    if bounds[0] not in (0.0, -math.inf) or bounds[1] <= 0.0:
        return f"the lower bound of Clip '{node.name}' is neither 0 nor absent"
    behind = Place(node.outputs[0], place.axis, place.repeat)
    if bounds[1] < math.inf:
        paths.bounded.append((behind, bounds[1]))
    return behind


def _behind_reduction(node: ir.Node, place: Place) -> Place | str:
    rank = 0 if place.value.shape is None else len(place.value.shape)
    given = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if given is None:
        return f"{node.op_type} '{node.name}' reduces its channels"
    axes = {int(axis) % rank for axis in given.reshape(-1)}
    if place.axis in axes or not axes:
        return f"{node.op_type} '{node.name}' reduces its channels"
    dropped = 0 if attribute(node, "keepdims", 1) else sum(axis < place.axis for axis in axes)
    return Place(node.outputs[0], place.axis - dropped, place.repeat)


def _behind_pad(node: ir.Node, place: Place) -> Place | str:
    rank = 0 if place.value.shape is None else len(place.value.shape)
    pads = constant(node.inputs[1])
    filling = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    named = len(node.inputs) > 3 and node.inputs[3] is not None
    absent = len(node.inputs) < 3 or node.inputs[2] is None
    if attribute(node, "mode", "constant") == "constant" and not (
        absent or (filling is not None and not filling.any())
    ):
        return f"Pad '{node.name}' fills with something else than 0"
    if pads is None or named or pads[place.axis] or pads[place.axis + rank]:
        return f"Pad '{node.name}' may add channels"
    return Place(node.outputs[0], place.axis, place.repeat)


def _behind_reshape(node: ir.Node, place: Place) -> Place | str:
    """The axis behind the same number of elements, which may have taken in those behind it."""
    reason = f"{node.op_type} '{node.name}' moves its channels"
    before, after = place.value.shape, node.outputs[0].shape
    if before is None or after is None:
        return reason
    old, new = list(before), list(after)
    # free sizes in front are the same on both sides where all that follows is static
    inner = [dim for dim in old[place.axis :] if isinstance(dim, int)]
    if len(inner) != len(old) - place.axis:
        return reason
    for axis in range(len(new)):
        rest = [dim for dim in new[axis:] if isinstance(dim, int)]
        if len(rest) == len(new) - axis and prod(rest) == prod(inner):
            size, whole = inner[0], new[axis]
            if isinstance(whole, int) and whole % size == 0 and whole // size:
                return Place(node.outputs[0], axis, place.repeat * (whole // size))
    return reason
