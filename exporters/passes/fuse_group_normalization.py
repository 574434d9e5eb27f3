"""GroupNormalization (Wu and He 2018, arXiv:1803.08494), as PyTorch's exporters spell it out.

    Reshape(InstanceNormalization(Reshape(x, (batch, groups, rest)), s, b), shape of x) * g + h

is GroupNormalization(x, g s, g b + h), with the numbers s and b of each group repeated for all of
its channels. The product and the sum, each by one constant per channel and in this order, may be
missing. The node takes the name of the InstanceNormalization.

Measured at w8a8 on a residual network of nine convolutions with normalization (random weights of
trained spread, 24 smooth pictures), apart against fused, SQNR of the artifact against float:

    android   35.4 -> 36.5 dB   72 -> 31 integer operators: of the 72, 45 were TRANSPOSE, RESHAPE
                                and DEPTHWISE_CONV_2D around the float ones; 0.19 -> 0.21 ms
    apple     33.8 -> 34.9 dB   52 -> 29 quantizations; fp32 has 108 dB in place of 133
    arm       35.4 -> 36.8 dB   slower on x86-64, 1.2 and 2.9 times in two runs on a busy machine:
                                ONNX Runtime has no kernel, and computes the body; ARM64 was not
                                measured
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgewise.exporters.passes.base import (
    Declined,
    PassOutcome,
    is_op,
    make_node,
    producer,
    replace,
    same_shape,
    sole_consumer,
)
from edgewise.exporters.passes.layers import Vector
from edgewise.graph import add_initializer, attribute, constant, node_label


@dataclass(slots=True)
class _Match:
    """`last` is the node whose result equals the normalization of `x`."""

    x: ir.Value
    groups: int
    last: ir.Node
    scale: Vector
    bias: Vector


def fuse_group_normalization(model: ir.Model) -> PassOutcome:
    """Fuse where nothing else reads what lies between."""
    modified, declined = False, []
    for node in list(model.graph):
        match = _match(node) if is_op(node, "InstanceNormalization") else None
        if isinstance(match, str):
            declined.append(Declined(node_label(node), match))
        if not isinstance(match, _Match):
            continue
        _take_parameters(match)
        dtype = np.float32 if match.x.dtype is None else match.x.dtype.numpy()
        constants = [
            add_initializer(model.graph, f"{node_label(node)}_{name}", vector.astype(dtype))
            for name, vector in (("scale", match.scale), ("bias", match.bias))
        ]
        attributes = [
            ir.AttrInt64("num_groups", match.groups),
            ir.AttrFloat32("epsilon", float(attribute(node, "epsilon", 1e-5))),
        ]
        new = make_node(
            "GroupNormalization", [match.x, *constants], name=node.name, attributes=attributes
        )
        replace(model.graph, match.last, [new])
        modified = True
    return PassOutcome(model, modified, tuple(declined))


def _match(node: ir.Node) -> _Match | str | None:
    """The Reshapes around it; a text where they fit and the rest does not."""
    grouped = node.inputs[0]
    inner = producer(grouped, "Reshape")
    outer = next((u.node for u in node.outputs[0].uses() if is_op(u.node, "Reshape")), None)
    x = None if inner is None else inner.inputs[0]
    if grouped is None or outer is None or x is None or not same_shape(x, outer.outputs[0]):
        return None
    groups, channels = _groups(x, grouped)
    if not groups or not channels:
        return None
    scale, bias = constant(node.inputs[1]), constant(node.inputs[2])
    if scale is None or bias is None:
        return "its scale or its bias is computed in the graph"
    if sole_consumer(node.outputs[0]) is None:
        return f"'{node.outputs[0].name}' is used elsewhere too"
    count = channels // groups
    vectors = [np.repeat(array.astype(np.float64), count) for array in (scale, bias)]
    return _Match(x, groups, outer, vectors[0], vectors[1])


def _groups(x: ir.Value, grouped: ir.Value) -> tuple[int, int]:
    """Groups and channels; zeros where a Reshape does more than to split channels and flatten."""
    if x.shape is None or grouped.shape is None or len(x.shape) < 3 or len(grouped.shape) < 3:
        return 0, 0
    channels, groups = x.shape[1], grouped.shape[1]
    if not isinstance(channels, int) or not isinstance(groups, int) or not groups:
        return 0, 0
    same_batch = x.shape[0] == grouped.shape[0] and x.shape[0] is not None
    return (groups, channels) if same_batch and channels % groups == 0 else (0, 0)


def _take_parameters(match: _Match) -> None:
    """The product and the sum behind it become part of the match."""
    for op_type in ("Mul", "Add"):
        value = match.last.outputs[0]
        reader = sole_consumer(value)
        vector = None if reader is None or not is_op(reader, op_type) else _vector(reader, value)
        if reader is None or vector is None:
            continue
        if op_type == "Mul":
            match.scale, match.bias = match.scale * vector, match.bias * vector
        else:
            match.bias = match.bias + vector
        match.last = reader


def _vector(node: ir.Node, value: ir.Value) -> Vector | None:
    """The operand that has one number per channel."""
    array = constant(node.inputs[1] if node.inputs[0] is value else node.inputs[0])
    if array is None or value.shape is None or not same_shape(value, node.outputs[0]):
        return None
    rank = len(value.shape)
    sizes = [1] * (rank - array.ndim) + list(array.shape)
    if sizes != [1, value.shape[1], *[1] * (rank - 2)]:
        return None
    return array.astype(np.float64).reshape(-1)
