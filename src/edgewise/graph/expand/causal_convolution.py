"""CausalConvWithState (opset 27): a depthwise convolution of a sequence that looks back only.

all = past, input        along the length; zeros stand for a missing past of k - 1 elements
output = activation(Conv(all, weight, bias)),        present = the last k - 1 elements of all
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgewise.graph.expand.expansion import CannotExpand, Expansion


def expand_causal_conv_with_state(e: Expansion) -> Sequence[ir.Value | None]:
    activation = str(e.attribute("activation", "none"))
    if activation not in ("none", "silu", "swish"):
        raise CannotExpand(f"its activation is '{activation}'", "Use none, silu or swish.")
    channels, length, past = e.size(1), e.size(2), e.size(2, 1) - 1
    whole = e.input(0)
    if past and e.has(3):
        whole = e.op("Concat", e.input(3), whole, axis=2)
    elif past:
        whole = e.op("Pad", whole, e.ints([0, 0, past, 0, 0, 0]))
    bias = e.input(2) if e.has(2) else None
    y = e.op("Conv", whole, e.input(1), bias, group=channels)
    if activation != "none":
        y = e.op("Mul", y, e.op("Sigmoid", y))
    if not e.wants(1):
        return [y, None][: len(e.node.outputs)]
    tail = e.op("Slice", whole, e.ints([length]), e.ints([length + past]), e.ints([2]))
    return [y, tail]
