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

#: MIL pad_type -> ONNX auto_pad; both make `ceil(input / stride)` outputs with SAME
_AUTO_PAD = {"valid": "VALID", "same": "SAME_UPPER", "same_lower": "SAME_LOWER"}


def _conv(node: Node) -> Run:
    pad_type = node.text("pad_type", "valid")
    attributes: dict[str, int | str | tuple[int, ...]] = {"group": node.integer("groups", 1)}
    for mil, onnx in (("strides", "strides"), ("dilations", "dilations")):
        if node.has(mil):
            attributes[onnx] = tuple(node.ints(mil) or ())
    if pad_type == "custom":
        pads = node.ints("pad") or []
        attributes["pads"] = (*pads[0::2], *pads[1::2])  # begins, then ends
    else:
        attributes["auto_pad"] = _AUTO_PAD[pad_type]
    arity = 3 if node.has("bias") else 2
    convolve = operator("Conv", arity, tuple(sorted(attributes.items())), node.threads)
    if arity == 2:
        return lambda inputs: convolve(inputs["x"], inputs["weight"])
    return lambda inputs: convolve(inputs["x"], inputs["weight"], inputs["bias"])


def _conv_transpose(node: Node) -> Run:
    """The full overlap-add of all contributions, then a window of it: `pad` crops the beginning,
    and where the asked size reaches past the end there is nothing but the bias.
    """
    attributes: dict[str, int | str | tuple[int, ...]] = {"group": node.integer("groups", 1)}
    for name in ("strides", "dilations"):
        if node.has(name):
            attributes[name] = tuple(node.ints(name) or ())
    spread = operator("ConvTranspose", 2, tuple(sorted(attributes.items())), node.threads)
    pad_type = node.text("pad_type", "valid")
    pads = node.ints("pad") if pad_type == "custom" else None
    asked = node.ints("output_shape")

    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        full = spread(x, inputs["weight"])
        spatial = full.shape[2:]
        strides = node.ints("strides") or [1] * len(spatial)
        if asked is not None:
            sizes = asked[2:]
        elif pad_type in ("same", "same_lower"):
            sizes = [size * step for size, step in zip(x.shape[2:], strides, strict=True)]
        else:
            total = pads or [0] * 2 * len(spatial)
            ends = zip(total[0::2], total[1::2], strict=True)
            sizes = [size - sum(pair) for size, pair in zip(spatial, ends, strict=True)]
        begins = _begins(pad_type, pads, spatial, sizes)
        out = _window(full, begins, sizes)
        return out + along_channels(inputs["bias"], out.ndim) if "bias" in inputs else out

    return run


def _begins(
    pad_type: str, pads: list[int] | None, full: Sequence[int], sizes: Sequence[int]
) -> list[int]:
    if pad_type in ("same", "same_lower"):
        surplus = [max(whole - size, 0) for whole, size in zip(full, sizes, strict=True)]
        return [extra // 2 if pad_type == "same" else extra - extra // 2 for extra in surplus]
    return (pads or [0] * 2 * len(full))[0::2]


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
