"""Pools by other norms, and the inverse of a pool.

1. LpPool: (sum |x|^p)^(1/p) over each window. The sum is the window's size times the mean over the
   explicitly padded input, so that every window counts all its elements.
2. GlobalLpPool: the same over all spatial axes.
3. MaxUnpool: zeros, and each element where its index says. An `output_shape` other than the one
   that the pool's attributes imply is declined: by ONNX Runtime and PyTorch the indices number its
   elements, by the ONNX project's own tests those of the implied shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import CannotExpand, Expansion
from edgewise.graph.read import resolve_pads, static_shape


def expand_lp_pool(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 1."""
    kernel = [int(size) for size in e.attribute("kernel_shape")]
    rank, spatial = len(kernel), e.shape()[2:]
    strides = e.attribute("strides") or [1] * rank
    dilations = e.attribute("dilations") or [1] * rank
    begin, _ = resolve_pads(e.node, spatial, kernel, strides, dilations)
    output = static_shape(e.node.outputs[0])[2:]
    _check_agreement(e, begin, strides)
    end = [
        max(
            (output[a] - 1) * strides[a]
            + (kernel[a] - 1) * dilations[a]
            + 1
            - spatial[a]
            - begin[a],
            0,
        )
        for a in range(rank)
    ]
    power = int(e.attribute("p", 2))
    powers = _powers(e, e.input(0), power)
    if any(begin) or any(end):
        powers = e.op("Pad", powers, e.ints([0, 0, *begin, 0, 0, *end]))
    mean = e.op("AveragePool", powers, kernel_shape=kernel, strides=strides, dilations=dilations)
    return [_root(e, e.op("Mul", mean, e.number(math.prod(kernel))), power)]


def _check_agreement(e: Expansion, begin: Sequence[int], strides: Sequence[int]) -> None:
    """Decline what shape inference and runtimes count differently."""
    same = str(e.attribute("auto_pad", "NOTSET")).startswith("SAME")
    if same and any(step > 1 for step in e.attribute("dilations") or ()):
        raise CannotExpand(
            "auto_pad SAME with dilations has another shape in each runtime",
            "Export the model with explicit padding.",
        )
    sizes = zip(e.shape()[2:], static_shape(e.node.outputs[0])[2:], begin, strides, strict=True)
    if any(out > 1 and (out - 1) * step >= size + low for size, out, low, step in sizes):
        raise CannotExpand(
            "its last window lies in the padding only", "Use ceil_mode=0 or less padding."
        )


def expand_global_lp_pool(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 2."""
    power, axes = int(e.attribute("p", 2)), list(range(2, e.rank()))
    if power <= 2:
        return [e.reduce("ReduceL1" if power == 1 else "ReduceL2", e.input(0), axes)]
    return [_root(e, e.reduce("ReduceSum", _powers(e, e.input(0), power), axes), power)]


def _powers(e: Expansion, x: ir.Value, power: int) -> ir.Value:
    """|x|^p"""
    if power == 2:
        powers: ir.Value = e.op("Mul", x, x)
        return powers
    powers = e.op("Abs", x)
    return powers if power == 1 else e.op("Pow", powers, e.number(power))


def _root(e: Expansion, total: ir.Value, power: int) -> ir.Value:
    if power == 1:
        return total
    root: ir.Value = e.op("Sqrt", total) if power == 2 else e.op("Pow", total, e.number(1 / power))
    return root


def expand_max_unpool(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 3."""
    x, kernel = e.input(0), e.attribute("kernel_shape")
    rank = len(kernel)
    strides, pads = e.attribute("strides") or [1] * rank, e.attribute("pads") or [0] * 2 * rank
    implied = [
        (size - 1) * stride + extent - before - after
        for size, stride, extent, before, after in zip(
            e.shape()[2:], strides, kernel, pads[:rank], pads[rank:], strict=True
        )
    ]
    shape = [*e.shape()[:2], *implied]
    if e.has(2) and e.known(2, "output shape").tolist() != shape:
        raise CannotExpand(
            f"its output shape is not {shape}, which its attributes imply: its indices are then "
            "read differently by different runtimes",
            "Unpool to that shape, and pad or crop the result.",
        )
    # windows that do not overlap name each element once: then adding is placing
    apart = all(stride >= extent for stride, extent in zip(strides, kernel, strict=True))
    flat = e.op(
        "ScatterND",
        e.array(np.zeros(math.prod(shape)), e.dtype()),
        e.reshape(e.input(1), [-1, 1]),
        e.reshape(x, [-1]),
        reduction="add" if apart and e.dtype() == np.float32 else "none",
    )
    return [e.reshape(flat, shape)]
