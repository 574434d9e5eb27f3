"""A sum over axes, divided by how many numbers were summed, is a mean: ReduceMean.

    ReduceSum(x, axes) / n  or  * (1 / n)  with n = the product of the sizes of these axes

JAX has no mean of its own and writes this. As one node it is quantized once: the sum alone needs n
times the range, and integer kernels for means are the better ones.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from edgewise.exporters.passes.base import (
    PassOutcome,
    is_op,
    make_node,
    producer,
    replace,
    same_shape,
    scalar,
    sole_consumer,
)
from edgewise.graph import attribute, constant


def fuse_mean(model: ir.Model) -> PassOutcome:
    """Fuse every sum that only the division reads, over axes of known size. Needs opset 18."""
    modified = False
    for node in list(model.graph):
        total = _total(node)
        summed = producer(total, "ReduceSum")
        if total is None or summed is None or sole_consumer(total) is not node:
            continue
        if not same_shape(total, node.outputs[0]) or _factor(node) != _count(summed):
            continue
        attributes = [
            ir.AttrInt64(name, attribute(summed, name, default))
            for name, default in (("keepdims", 1), ("noop_with_empty_axes", 0))
        ]
        fused = make_node("ReduceMean", summed.inputs, name=node.name, attributes=attributes)
        replace(model.graph, node, [fused])
        modified = True
    return PassOutcome(model, modified)


def _total(node: ir.Node) -> ir.Value | None:
    """What is divided, or multiplied."""
    if is_op(node, "Div"):
        return node.inputs[0]
    if is_op(node, "Mul"):
        return next((v for v in node.inputs if producer(v, "ReduceSum") is not None), None)
    return None


def _factor(node: ir.Node) -> int | None:
    """n; None where the other operand is not it."""
    if is_op(node, "Div"):
        number = scalar(node.inputs[1])
    else:
        other = next((found for v in node.inputs if (found := scalar(v)) is not None), None)
        number = 1 / other if other else None
    if number is None or not math.isfinite(number) or number < 1:
        return None
    return round(number) if math.isclose(number, round(number), rel_tol=1e-6) else None


def _count(summed: ir.Node) -> int | None:
    """How many numbers each sum has; None where a size is free or the axes are computed."""
    x = summed.inputs[0]
    if x is None or x.shape is None or x.dtype is None or not x.dtype.is_floating_point():
        return None
    axes = constant(summed.inputs[1]) if len(summed.inputs) > 1 else None
    given = len(summed.inputs) > 1 and summed.inputs[1] is not None
    if given and axes is None:
        return None
    if (axes is None or not axes.size) and attribute(summed, "noop_with_empty_axes", 0):
        return None
    chosen = range(len(x.shape)) if axes is None or not axes.size else axes.tolist()
    sizes = [size for axis in chosen if isinstance(size := x.shape[axis], int)]
    return math.prod(sizes) if len(sizes) == len(chosen) else None
