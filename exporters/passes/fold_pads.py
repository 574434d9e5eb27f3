"""Padding in a node of its own becomes that of the window behind it.

1. Pad by zeros before a Conv: the pads of both are added.
2. Pad before a MaxPool, whose own padding never wins: by minus infinity or the lowest number, or by
   zeros where nothing is below zero (behind Relu, or Clip from 0 up). A window has to keep at least
   one element of its own: every pad is smaller than the kernel.

Only axes of space may be padded, by constants that are not negative, and the window must not have
its padding computed (`auto_pad` SAME), nor its output rounded up (`ceil_mode`).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgewise.exporters.passes.base import (
    Declined,
    PassOutcome,
    is_op,
    producer,
    scalar,
)
from edgewise.graph import attribute, constant, node_label


def fold_pads(model: ir.Model) -> PassOutcome:
    """Fold into every such window; a Pad with other readers stays for them."""
    modified, declined = False, []
    for node in model.graph:
        pad = producer(node.inputs[0], "Pad") if is_op(node, "Conv", "MaxPool") else None
        if pad is None:
            continue
        pads = _pads(pad)
        reason = pads if isinstance(pads, str) else _obstacle(node, pad, pads)
        if reason or isinstance(pads, str):
            declined.append(Declined(node_label(pad), reason))
            continue
        own = attribute(node, "pads") or [0] * len(pads)
        if attribute(node, "auto_pad", "NOTSET") == "VALID":
            own = [0] * len(pads)
        node.attributes.pop("auto_pad", None)
        node.attributes.add(
            ir.AttrInt64s("pads", [int(a) + b for a, b in zip(own, pads, strict=True)])
        )
        node.replace_input_with(0, pad.inputs[0])
        modified = True
    return PassOutcome(model, modified, tuple(declined))


def _pads(pad: ir.Node) -> list[int] | str:
    """Of the axes of space: all at the beginnings, then all at the ends."""
    data, amounts = pad.inputs[0], constant(pad.inputs[1]) if len(pad.inputs) > 1 else None
    if attribute(pad, "mode", "constant") != "constant":
        return f"its mode is {attribute(pad, 'mode')}"
    if data is None or data.shape is None or amounts is None:
        return "its amounts are computed in the graph"
    rank = len(data.shape)
    axes = constant(pad.inputs[3]) if len(pad.inputs) > 3 and pad.inputs[3] is not None else None
    if len(pad.inputs) > 3 and pad.inputs[3] is not None and axes is None:
        return "its axes are computed in the graph"
    whole = np.zeros((2, rank), np.int64)
    whole[:, np.arange(rank) if axes is None else axes] = amounts.reshape(2, -1)
    if (whole < 0).any():
        return "it cuts"
    if whole[:, :2].any():
        return "it pads other axes than those of space"
    return [int(amount) for amount in whole[:, 2:].reshape(-1)]


def _obstacle(window: ir.Node, pad: ir.Node, pads: list[int]) -> str:
    given = pad.inputs[2] if len(pad.inputs) > 2 else None
    value = 0.0 if given is None else scalar(given)
    if attribute(window, "auto_pad", "NOTSET").startswith("SAME"):
        return f"'{node_label(window)}' computes its own padding"
    if value is None:
        return "its value is computed in the graph"
    if is_op(window, "Conv"):
        return "" if value == 0.0 else "its value is not zero"
    if attribute(window, "ceil_mode", 0):
        return f"'{node_label(window)}' rounds its output up"
    if len(window.outputs) > 1 and window.outputs[1].uses():
        return f"'{node_label(window)}' tells places, which padding shifts"
    kernel = attribute(window, "kernel_shape")
    own = attribute(window, "pads") or [0] * len(pads)
    if any(int(a) + b >= k for a, b, k in zip(own, pads, [*kernel, *kernel], strict=True)):
        return "a window would hold nothing but padding"
    if value <= np.finfo(np.float16).min or (value == 0.0 and _is_positive(pad.inputs[0])):
        return ""
    return "the data may be below its value"


def _is_positive(value: ir.Value | None) -> bool:
    node = None if value is None else value.producer()
    if node is None:
        return False
    if is_op(node, "Relu"):
        return True
    low = scalar(node.inputs[1]) if is_op(node, "Clip") and len(node.inputs) > 1 else None
    return low is not None and low >= 0.0
