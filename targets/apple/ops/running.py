"""CumSum and ReverseSequence, which MIL defines as ONNX does."""

from __future__ import annotations

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple.call import Call, Operand
from edgewise.targets.apple.ops.numbers import element_type, is_integer, wrapped
from edgewise.targets.apple.ops.storage import narrowed, widened


def cum_sum(call: Call) -> Operand:
    y = mb.cumsum(
        x=widened(call.var(0)),
        axis=call.ints(1, "axis")[0] % call.rank(0),
        exclusive=bool(call.attribute("exclusive", 0)),
        reverse=bool(call.attribute("reverse", 0)),
        name=call.name,
    )
    element = element_type(call, 0)
    return wrapped(y, element) if is_integer(element) else y


def reverse_sequence(call: Call) -> Operand:
    x = call.var(0)
    y = mb.reverse_sequence(
        x=widened(x),
        lengths=call.var(1),
        seq_axis=call.attribute("time_axis", 0),
        batch_axis=call.attribute("batch_axis", 1),
        name=call.name,
    )
    return narrowed(y, x.dtype)
