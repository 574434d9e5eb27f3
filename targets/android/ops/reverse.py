"""Turning axes around: ReverseSequence, and REVERSE_V2 for others.

REVERSE_V2 takes several axes only where they lie next to each other; one is written per run of
them. REVERSE_SEQUENCE has no kernel for int8 and bool, which go through int32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgewise.targets.android.builder import INT32
from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import Value
from edgewise.targets.android.ops.dtypes import cast

_KERNEL_DTYPES = ("float32", "uint8", "int16", "int32", "int64")


def reverse_axes(call: Call, x: Value, axes: Sequence[int]) -> Value:
    """The value turned around along ONNX axes."""
    runs: list[list[int]] = []
    for axis in sorted({x.axis(axis) for axis in axes}):
        if runs and runs[-1][-1] == axis - 1:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    for run in runs:
        x = call.builder.like("REVERSE_V2", [x, call.builder.ints(run)], x)
    return x


def lower_reverse_sequence(call: Call) -> None:
    builder = call.builder
    x = call.operand(0)
    dtype = x.dtype
    lengths = call.constant(1)
    if lengths is not None:
        sizes = builder.constant(lengths.astype(np.int64))
    else:
        sizes = call.operand(1).tensor
    if dtype.name not in _KERNEL_DTYPES:
        x = cast(call, x, INT32)
    y = builder.like(
        "REVERSE_SEQUENCE",
        [x, sizes],
        x,
        seqDim=x.axis(int(call.attribute("time_axis", 0))),
        batchDim=x.axis(int(call.attribute("batch_axis", 1))),
    )
    call.finish(cast(call, y, dtype))
