"""DepthToSpace and SpaceToDepth.

TFLite's operators split and merge channels in the order (row, column, channel), which is ONNX's
DCR. CRD is the order (channel, row, column): the channels are regrouped before or after.
"""

from __future__ import annotations

from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import NHWC, Value


def lower_depth_to_space(call: Call) -> None:
    x = call.builder.reorder(call.operand(0), NHWC)
    block = int(call.attribute("blocksize"))
    if call.attribute("mode", "DCR") == "CRD":
        x = _regrouped(call, x, x.tensor.shape[3] // block**2, block**2)
    call.finish(call.write_like("DEPTH_TO_SPACE", [x], x, NHWC, blockSize=block))


def lower_space_to_depth(call: Call) -> None:
    x = call.builder.reorder(call.operand(0), NHWC)
    block = int(call.attribute("blocksize"))
    y = call.write_like("SPACE_TO_DEPTH", [x], x, NHWC, blockSize=block)
    if call.attribute("mode", "DCR") == "CRD":
        y = _regrouped(call, y, block**2, x.tensor.shape[3])
    call.finish(y)


def _regrouped(call: Call, x: Value, outer: int, inner: int) -> Value:
    """Channel `(a, b)` of `outer` times `inner` becomes channel `(b, a)`."""
    builder, shape = call.builder, x.tensor.shape
    rows = shape[0] * shape[1] * shape[2]
    split = builder.reshape(x.tensor, (rows, outer, inner))
    turned = builder.add(
        "TRANSPOSE",
        [split, builder.ints([0, 2, 1])],
        (rows, inner, outer),
        split.dtype,
        split.quantization,
    )
    return Value(builder.reshape(turned, shape), NHWC)
