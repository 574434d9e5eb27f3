"""Convolution and its transpose, one to three spatial axes (coremltools MIL ops: iOS15/conv.py)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgewise.targets.apple.interpreter.kernels.base import (
    Array,
    Inputs,
    Kernel,
    Node,
    Result,
    Run,
    along_channels,
)
from edgewise.targets.apple.interpreter.kernels.engine import operator

_PAD_TYPES = ("valid", "custom", "same", "same_lower")


def _steps(node: Node) -> dict[str, int | str | tuple[int, ...]]:
    """The attributes that ONNX has as well."""
    attributes: dict[str, int | str | tuple[int, ...]] = {"group": node.integer("groups", 1)}
    for name in ("strides", "dilations"):
        steps = node.ints(name)
        if steps is not None:
            attributes[name] = tuple(steps)
    return attributes


def _same_pads(node: Node, given: Sequence[int], window: Sequence[int]) -> tuple[int, ...]:
    """Padding that makes `ceil(input / stride)` outputs; an odd one out goes to the end with
    `same` and to the beginning with `same_lower`. ONNX Runtime has none of it with dilation."""
    rank = len(given)
    strides, dilations = (node.ints(name, [1] * rank) or [] for name in ("strides", "dilations"))
    total = [
        max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
        for size, kernel, stride, dilation in zip(given, window, strides, dilations, strict=True)
    ]
    less, more = [pad // 2 for pad in total], [pad - pad // 2 for pad in total]
    return (*less, *more) if node.text("pad_type", "valid") == "same" else (*more, *less)


def convolution_attributes(
    node: Node, given: Sequence[int], window: Sequence[int]
) -> tuple[tuple[str, int | str | tuple[int, ...]], ...]:
    """Of the ONNX Conv that this `conv` is for an input and a kernel of these spatial sizes."""
    attributes = _steps(node)
    pad_type = node.text("pad_type", "valid")
    if pad_type in ("same", "same_lower"):
        attributes["pads"] = _same_pads(node, given, window)
    elif pad_type == "custom":
        pads = node.ints("pad") or []
        attributes["pads"] = (*pads[0::2], *pads[1::2])  # begins, then ends
    return tuple(sorted(attributes.items()))


def _conv(node: Node) -> Run:
    if node.text("pad_type", "valid") not in _PAD_TYPES:
        raise node.refuse(f"pad_type is one of {', '.join(_PAD_TYPES)}")

    def run(inputs: Inputs) -> Result:
        x, weight = inputs["x"], inputs["weight"]
        attributes = convolution_attributes(node, x.shape[2:], weight.shape[2:])
        bias = (inputs["bias"],) if "bias" in inputs else ()
        return operator("Conv", 2 + len(bias), attributes, node.threads)(x, weight, *bias)

    return run


def _conv_transpose(node: Node) -> Run:
    """The full overlap-add of all contributions, then a window of it: `pad` crops the beginning,
    and where the asked size reaches past the end there is nothing but the bias.
    """
    spread = operator("ConvTranspose", 2, tuple(sorted(_steps(node).items())), node.threads)

    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        full = spread(x, inputs["weight"])
        out = _window(full, *_placement(node, x.shape[2:], full.shape[2:]))
        return out + along_channels(inputs["bias"], out.ndim) if "bias" in inputs else out

    return run


def _placement(
    node: Node, given: Sequence[int], full: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Begin and size of the output within the full overlap-add, per spatial axis."""
    rank = len(full)
    pad_type, asked = node.text("pad_type", "valid"), node.ints("output_shape")
    if pad_type in ("same", "same_lower"):
        strides = node.ints("strides", [1] * rank) or []
        same = [size * step for size, step in zip(given, strides, strict=True)]
        sizes = same if asked is None else asked[2:]
        surplus = [max(whole - size, 0) for whole, size in zip(full, sizes, strict=True)]
        return [extra // 2 if pad_type == "same" else -(-extra // 2) for extra in surplus], sizes
    pads = node.ints("pad", [0] * 2 * rank) or [] if pad_type == "custom" else [0] * 2 * rank
    begins, ends = pads[0::2], pads[1::2]
    cropped = [whole - b - e for whole, b, e in zip(full, begins, ends, strict=True)]
    return begins, cropped if asked is None else asked[2:]


def _window(full: Array, begins: Sequence[int], sizes: Sequence[int]) -> Array:
    missing = [
        max(begin + size - whole, 0)
        for begin, size, whole in zip(begins, sizes, full.shape[2:], strict=True)
    ]
    if any(missing):
        full = np.pad(full, [(0, 0), (0, 0), *((0, extra) for extra in missing)])
    window = (slice(begin, begin + size) for begin, size in zip(begins, sizes, strict=True))
    return full[(slice(None), slice(None), *window)]


KERNELS: dict[str, Kernel] = {"conv": _conv, "conv_transpose": _conv_transpose}
