"""BatchNormalization, InstanceNormalization, LayerNormalization, RMSNormalization, LRN.

Exporters fold BatchNorm into convolutions; one that stands alone is `x * m + b` with constants
`m = scale / sqrt(var + epsilon)` and `b = bias - mean * m`. The others are
`(x - mean) / sqrt(variance + epsilon) * scale + bias`, from MEAN over the axes in question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgewise.graph import attribute
from edgewise.targets.android.builder import FLOAT32
from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import NHWC, Value
from edgewise.targets.android.model import Array
from edgewise.targets.android.ops.activation import binary, chain

#: operands that change nothing
_NEUTRAL = {"MUL": 1.0, "ADD": 0.0}


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
    y = _normalized(call, x, list(range(2, x.rank))).normal
    for index, kind in ((1, "MUL"), (2, "ADD")):
        known = call.constant(index)
        if known is None:
            y = binary(call, kind, y, _along(call, x, 1, call.operand(index)))
        elif (known != _NEUTRAL[kind]).any():
            y = binary(call, kind, y, _per_axis(call, x, 1, known).tensor)
    call.finish(y)


def _along(call: Call, x: Value, axis: int, vector: Value) -> Value:
    """A computed vector along an ONNX axis of `x`, in the order of `x`."""
    shape = [1] * x.rank
    shape[x.axis(axis)] = vector.tensor.shape[0]
    return Value(call.builder.reshape(vector.tensor, shape), x.perm)


def lower_layer_normalization(call: Call) -> None:
    """The mean and the inverse deviation are outputs 1 and 2."""
    x = call.operand(0)
    axes = list(range(int(call.attribute("axis", -1)) % x.rank, x.rank))
    parts = _normalized(call, x, axes)
    y = _scaled(call, x, parts.normal, ((1, "MUL"), (2, "ADD")))
    call.finish(y)
    for index, value in ((1, parts.mean), (2, parts.inverse)):
        if index < len(call.node.outputs):
            call.finish(value, index)


def lower_rms_normalization(call: Call) -> None:
    x = call.operand(0)
    axes = list(range(int(call.attribute("axis", -1)) % x.rank, x.rank))
    power = _mean(call, binary(call, "MUL", x, x), axes)
    y = binary(call, "MUL", x, _inverse_root(call, power))
    call.finish(_scaled(call, x, y, ((1, "MUL"),)))


def _scaled(call: Call, x: Value, y: Value, steps: Sequence[tuple[int, str]]) -> Value:
    """`y` times the scale and plus the bias, which broadcast to `x`."""
    for index, kind in steps:
        known = call.constant(index)
        if not call.has(index) or (known is not None and (known == _NEUTRAL[kind]).all()):
            continue
        if known is not None:
            y = binary(call, kind, y, call.constant_operand(index, x.perm, x.rank))
        else:
            widened = call.builder.with_rank(call.operand(index), x.rank)
            y = binary(call, kind, y, call.builder.reorder(widened, x.perm))
    return y


@dataclass(frozen=True, slots=True)
class _Parts:
    """(x - mean) * inverse, where inverse is 1 / sqrt(variance + epsilon)."""

    normal: Value
    mean: Value
    inverse: Value


def _normalized(call: Call, x: Value, axes: list[int]) -> _Parts:
    """Over ONNX axes."""
    mean = _mean(call, x, axes)
    centred = binary(call, "SUB", x, mean)
    variance = _mean(call, binary(call, "MUL", centred, centred), axes)
    inverse = _inverse_root(call, variance)
    return _Parts(binary(call, "MUL", centred, inverse), mean, inverse)


def _mean(call: Call, x: Value, axes: list[int]) -> Value:
    shape = [1 if axis in axes else dim for axis, dim in zip(x.perm, x.tensor.shape, strict=True)]
    tensor = call.builder.ints(sorted(x.axis(axis) for axis in axes))
    return Value(call.builder.add("MEAN", [x, tensor], shape, FLOAT32, keepDims=True), x.perm)


def _inverse_root(call: Call, variance: Value) -> Value:
    epsilon = call.builder.float_scalar(float(call.attribute("epsilon", 1e-5)))
    return chain(call, binary(call, "ADD", variance, epsilon), ["RSQRT"])


def lrn_fits(node: ir.Node) -> bool:
    """TFLite takes odd windows over the channels of images."""
    x = node.inputs[0]
    image = x is not None and x.shape is not None and len(x.shape) == 4
    return image and int(attribute(node, "size", 1)) % 2 == 1


def lower_lrn(call: Call) -> None:
    """ONNX divides alpha by the size of the window, TFLite does not."""
    size = int(call.attribute("size"))
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
