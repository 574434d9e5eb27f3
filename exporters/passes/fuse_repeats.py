"""Entries that are repeated next to each other are a Resize to the nearest one.

`repeat(x, r, axis)` of other frameworks, which is how Keras writes nearest up-sampling, becomes

    Reshape(Tile(Unsqueeze(x, axis + 1), (1, ..., r, ..., 1)), shape of x, r times as long at axis)

and is entry floor(i / r) of x at each i: Resize in mode nearest, asymmetric, floor. Of a Resize of
that kind after another both scales are multiplied.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgewise.exporters.passes.base import PassOutcome, is_op, make_node, producer, replace
from edgewise.graph import add_initializer, attribute, constant, node_label

Dim = int | ir.SymbolicDim
_NEAREST = {
    "mode": "nearest",
    "coordinate_transformation_mode": "asymmetric",
    "nearest_mode": "floor",
}


def fuse_repeats(model: ir.Model) -> PassOutcome:
    """Fuse each repetition, and merge it with the one before."""
    modified = False
    for node in list(model.graph):
        found = _repetition(node)
        if found is None:
            continue
        data, scales = found
        before = producer(data, "Resize")
        source = None if before is None else before.inputs[0]
        earlier = None if before is None else _scales(before)
        if source is not None and earlier is not None:
            scales, data = [a * b for a, b in zip(scales, earlier, strict=True)], source
        name = f"{node_label(node)}_scales"
        factors = add_initializer(model.graph, name, np.array(scales, np.float32))
        attributes = [ir.AttrString(key, text) for key, text in _NEAREST.items()]
        resize = make_node("Resize", [data, None, factors], name=node.name, attributes=attributes)
        replace(model.graph, node, [resize])
        modified = True
    return PassOutcome(model, modified)


def _repetition(reshape: ir.Node) -> tuple[ir.Value, list[float]] | None:
    """What is repeated, and how often along each axis."""
    tile = producer(reshape.inputs[0], "Tile") if is_op(reshape, "Reshape") else None
    source = None if tile is None else tile.inputs[0]
    wider = None if source is None else source.producer()
    repeats = None if tile is None else constant(tile.inputs[1])
    if wider is None or repeats is None or not is_op(wider, "Unsqueeze", "Reshape"):
        return None
    data, result = wider.inputs[0], reshape.outputs[0]
    inside = wider.outputs[0].shape
    if data is None or data.shape is None or result.shape is None or inside is None:
        return None
    repeated = [axis for axis, count in enumerate(repeats) if count != 1]
    if len(repeated) != 1 or repeated[0] == 0 or inside[repeated[0]] != 1:
        return None
    axis, count = repeated[0] - 1, int(repeats[repeated[0]])
    shape, rank = list(data.shape), len(data.shape)
    size = shape[axis]
    if not isinstance(size, int):
        return None
    longer = [*shape[:axis], size * count, *shape[axis + 1 :]]
    if not _agree([*inside[: axis + 1], *inside[axis + 2 :]], shape) or not _agree(
        list(result.shape), longer
    ):
        return None
    return data, [float(count) if i == axis else 1.0 for i in range(rank)]


def _agree(found: Sequence[Dim], wanted: Sequence[Dim]) -> bool:
    """Whether two shapes of as many elements are the same: one size at most may be free."""
    free = [not isinstance(dim, int) for dim in wanted]
    return (
        len(found) == len(wanted)
        and sum(free) <= 1
        and all(
            a == b or (unknown and not isinstance(a, int))
            for a, b, unknown in zip(found, wanted, free, strict=True)
        )
    )


def _scales(resize: ir.Node) -> list[float] | None:
    """Of a Resize of the very kind that is written here."""
    same = all(attribute(resize, key) == text for key, text in _NEAREST.items())
    factors = constant(resize.inputs[2]) if len(resize.inputs) == 3 else None
    if not same or factors is None or resize.inputs[1] is not None:
        return None
    return [float(factor) for factor in factors]
