"""DepthToSpace and SpaceToDepth.

TFLite's operators split and merge channels in the order (row, column, channel), which is ONNX's
DCR. CRD is the order (channel, row, column): the channels are regrouped before or after.
"""

from __future__ import annotations

from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import NHWC, Value
from edgewise.targets.android.model import INT32
from edgewise.targets.android.ops.dtypes import BOOL, cast


def lower_depth_to_space(call: Call) -> None:
    x, dtype = _image(call), call.output_dtype()
    block = int(call.attribute("blocksize"))
    if call.attribute("mode", "DCR") == "CRD":
        x = _regrouped(call, x, x.tensor.shape[3] // block**2, block**2)
    y = call.write_like("DEPTH_TO_SPACE", [x], x, NHWC, blockSize=block)
    call.finish(cast(call, y, dtype) if dtype == BOOL else y)


def lower_space_to_depth(call: Call) -> None:
    x, dtype = _image(call), call.output_dtype()
    block = int(call.attribute("blocksize"))
    y = call.write_like("SPACE_TO_DEPTH", [x], x, NHWC, blockSize=block)
    if call.attribute("mode", "DCR") == "CRD":
        y = _regrouped(call, y, block**2, x.tensor.shape[3])
    call.finish(cast(call, y, dtype) if dtype == BOOL else y)


def _image(call: Call) -> Value:
    """The input in NHWC order; the kernels take all types but bool."""
    x = call.builder.reorder(call.operand(0), NHWC)
    return cast(call, x, INT32) if x.dtype == BOOL else x


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
