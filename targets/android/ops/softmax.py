"""Softmax and LogSoftmax along any axis: TFLite takes the last axis in memory.

An image in NHWC order that is normalised over its channels needs no transpose.
"""

from __future__ import annotations

from typing import Any

from edgewise.targets.android.call import Call

_KINDS = {"Softmax": "SOFTMAX", "LogSoftmax": "LOG_SOFTMAX"}


def lower_softmax(call: Call) -> None:
    x = call.operand(0)
    axis = int(call.attribute("axis", -1)) % x.rank
    if x.perm[-1] != axis:
        x = call.builder.reorder(x, (*(a for a in x.perm if a != axis), axis))
    kind = _KINDS[call.op_type]
    options: dict[str, Any] = {"beta": 1.0} if kind == "SOFTMAX" else {}
    call.finish(call.write(kind, [x], x.perm, quantization=call.fixed_output(kind), **options))
