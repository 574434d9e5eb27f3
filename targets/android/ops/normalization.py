"""BatchNormalization, InstanceNormalization, GroupNormalization, LayerNormalization, RMSNorm, LRN.

Exporters fold BatchNorm into convolutions; one that stands alone is `x * m + b` with constants
`m = scale / sqrt(var + epsilon)` and `b = bias - mean * m`. The others are
`(x - mean) / sqrt(variance + epsilon) * scale + bias`, from MEAN over the axes in question.
"""

from __future__ import annotations

import numpy as np

from edgewise.targets.android.builder import FLOAT32
from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import NHWC, Value, identity
from edgewise.targets.android.model import Array
from edgewise.targets.android.ops.activation import binary, chain


def lower_batch_normalization(call: Call) -> None:
    if call.attribute("training_mode", 0):
        raise call.refuse("it is in training mode", "Export the model for inference.")
    x = call.operand(0)
    scale, bias, mean, variance = (call.known(i, "statistics") for i in range(1, 5))
    epsilon = np.float64(call.attribute("epsilon", 1e-5))
    factor = scale / np.sqrt(variance.astype(np.float64) + epsilon)
    offset = bias - mean * factor
    scaled = binary(call, "MUL", x, _per_axis(call, x, 1, factor).tensor)
    call.finish(binary(call, "ADD", scaled, _per_axis(call, x, 1, offset).tensor))


def _per_axis(call: Call, x: Value, axis: int, numbers: Array) -> Value:
    """A constant vector along an ONNX axis of `x`, in the order of `x`."""
    shape = [1] * x.rank
    shape[x.axis(axis)] = -1
    return Value(call.builder.constant(numbers.reshape(shape).astype(np.float32)), x.perm)


def lower_instance_normalization(call: Call) -> None:
    x = call.operand(0)
    normal = _normalized(call, x, list(range(2, x.rank)))
    scaled = binary(call, "MUL", normal, _per_axis(call, x, 1, call.known(1, "scale")).tensor)
    call.finish(binary(call, "ADD", scaled, _per_axis(call, x, 1, call.known(2, "bias")).tensor))


def lower_group_normalization(call: Call) -> None:
    """Channels are split into groups; scale and bias are per channel (opset 21)."""
    x = call.builder.linear(call.operand(0))
    groups = int(call.attribute("num_groups"))
    batch, channels = x.shape[:2]
    grouped = Value(
        call.builder.reshape(x.tensor, (batch, groups, int(np.prod(x.shape)) // (batch * groups))),
        identity(3),
    )
    normal = Value(
        call.builder.reshape(_normalized(call, grouped, [2]).tensor, x.tensor.shape), x.perm
    )
    scale, bias = call.known(1, "scale"), call.known(2, "bias")
    if scale.size != channels:
        raise call.refuse("its scale is not per channel", "Export with opset 21 or later.")
    scaled = binary(call, "MUL", normal, _per_axis(call, x, 1, scale).tensor)
    call.finish(binary(call, "ADD", scaled, _per_axis(call, x, 1, bias).tensor))


def lower_layer_normalization(call: Call) -> None:
    if any(output.uses() for output in call.node.outputs[1:]):
        raise call.refuse("its mean or deviation is used", "Use the first output only.")
    x = call.operand(0)
    axes = list(range(int(call.attribute("axis", -1)) % x.rank, x.rank))
    y = _normalized(call, x, axes)
    for index, kind in ((1, "MUL"), (2, "ADD")):
        if call.has(index):
            y = binary(call, kind, y, call.constant_operand(index, x.perm, x.rank))
    call.finish(y)


def lower_rms_normalization(call: Call) -> None:
    x = call.operand(0)
    axes = list(range(int(call.attribute("axis", -1)) % x.rank, x.rank))
    power = _mean(call, binary(call, "MUL", x, x), axes)
    y = binary(call, "MUL", x, _inverse_root(call, power))
    call.finish(binary(call, "MUL", y, call.constant_operand(1, x.perm, x.rank)))


def _normalized(call: Call, x: Value, axes: list[int]) -> Value:
    """(x - mean) / sqrt(variance + epsilon) over ONNX axes."""
    mean = _mean(call, x, axes)
    centred = binary(call, "SUB", x, mean)
    variance = _mean(call, binary(call, "MUL", centred, centred), axes)
    return binary(call, "MUL", centred, _inverse_root(call, variance))


def _mean(call: Call, x: Value, axes: list[int]) -> Value:
    shape = [1 if axis in axes else dim for axis, dim in zip(x.perm, x.tensor.shape, strict=True)]
    tensor = call.builder.ints(sorted(x.axis(axis) for axis in axes))
    return Value(call.builder.add("MEAN", [x, tensor], shape, FLOAT32, keepDims=True), x.perm)


def _inverse_root(call: Call, variance: Value) -> Value:
    epsilon = call.builder.float_scalar(float(call.attribute("epsilon", 1e-5)))
    return chain(call, binary(call, "ADD", variance, epsilon), ["RSQRT"])


def lower_lrn(call: Call) -> None:
    """ONNX divides alpha by the size of the window; TFLite does not, and takes odd windows only."""
    size = int(call.attribute("size"))
    if size % 2 == 0:
        raise call.refuse("its window is even", "Use an odd size.")
    x = call.builder.reorder(call.operand(0), NHWC)
    call.finish(
        call.write(
            "LOCAL_RESPONSE_NORMALIZATION",
            [x],
            NHWC,
            radius=size // 2,
            bias=float(call.attribute("bias", 1.0)),
            alpha=float(call.attribute("alpha", 1e-4)) / size,
            beta=float(call.attribute("beta", 0.75)),
        )
    )
