"""Conv and ConvTranspose with one, two or three spatial axes.

ConvTranspose cases, with `full = (in - 1) * stride + dilation * (kernel - 1) + 1` per axis:
1. `output_shape` or `auto_pad` SAME: the crop is `full + output_padding - out`, shared between both
   ends as the ONNX operator specification says.
2. `output_padding` at most the end crop: it is subtracted from the crop.
3. `output_padding` beyond the end crop: those elements receive nothing but the bias, so zeros are
   appended to the output and the bias is added afterwards.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgewise.graph import resolve_pads
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var
from edgewise.targets.apple.call import Array, Call, Operand, emit, named


def conv(call: Call) -> Operand:
    weight = call.constant_or_refuse(1, "weight")
    kernel = list(weight.shape[2:])
    strides, dilations = _steps(call, len(kernel))
    begin, end = resolve_pads(call.node, call.shape(0)[2:], kernel, strides, dilations)
    bias, late_bias = _bias(call, weight.shape[0])
    result = mb.conv(
        x=call.var(0),
        weight=emit(weight),
        strides=strides,
        dilations=dilations,
        groups=call.attribute("group", 1),
        **named(call.name if late_bias is None else None),
        **padding(begin, end),
        **bias,
    )
    return _add_bias(call, result, late_bias)


def conv_transpose(call: Call) -> Operand:
    weight = call.constant_or_refuse(1, "weight")
    kernel = list(weight.shape[2:])
    strides, dilations = _steps(call, len(kernel))
    groups = call.attribute("group", 1)
    begin, end = _crops(call, kernel, strides, dilations)
    missing = [max(0, -crop) for crop in end]
    bias, late_bias = _bias(call, weight.shape[1] * groups)
    if any(missing):  # case 3
        late_bias = _as_channels(call, bias.pop("bias")) if bias else late_bias
    plain = late_bias is None and not any(missing)
    result = mb.conv_transpose(
        x=call.var(0),
        weight=emit(weight),
        strides=strides,
        dilations=dilations,
        groups=groups,
        **named(call.name if plain else None),
        **padding(begin, [max(0, crop) for crop in end]),
        **bias,
    )
    if any(missing):
        pads = [0, 0, 0, 0] + [item for extra in missing for item in (0, extra)]
        result = mb.pad(
            x=result,
            pad=pads,
            mode="constant",
            constant_val=np.float32(0),
            **named(call.name if late_bias is None else None),
        )
    return _add_bias(call, result, late_bias)


def padding(begin: list[int], end: list[int]) -> dict[str, Any]:
    """MIL wants begin and end per axis in turn, ONNX gives all begins and then all ends."""
    if not any(begin) and not any(end):
        return {"pad_type": "valid"}
    return {
        "pad_type": "custom",
        "pad": [pad for pair in zip(begin, end, strict=True) for pad in pair],
    }


def _steps(call: Call, rank: int) -> tuple[list[int], list[int]]:
    return call.attribute("strides", [1] * rank), call.attribute("dilations", [1] * rank)


def _bias(call: Call, channels: int) -> tuple[dict[str, Array], Operand | None]:
    """The bias as an argument of the operation, or, when computed, as a value to be added."""
    if not call.has(2):
        return {}, None
    if call.is_constant(2):
        return {"bias": np.ascontiguousarray(call.array(2, "bias").reshape(channels))}, None
    return {}, _as_channels(call, call.operand(2))


def _as_channels(call: Call, bias: Operand) -> Operand:
    shape = [1, -1] + [1] * (call.rank(0) - 2)
    if isinstance(bias, Var):
        return mb.reshape(x=bias, shape=shape)
    return np.asarray(bias).reshape(shape)


def _add_bias(call: Call, result: Var, late_bias: Operand | None) -> Var:
    if late_bias is None:
        return result
    return mb.add(x=result, y=emit(late_bias), name=call.name)


def _crops(
    call: Call, kernel: list[int], strides: list[int], dilations: list[int]
) -> tuple[list[int], list[int]]:
    """Elements to cut from each end of the full output; a negative end is missing elements."""
    rank = len(kernel)
    spatial = call.shape(0)[2:]
    extra = call.attribute("output_padding", [0] * rank)
    auto_pad = call.attribute("auto_pad", "NOTSET")
    wanted = call.attribute("output_shape")
    if wanted is None and auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [size * stride for size, stride in zip(spatial, strides, strict=True)]
    if wanted is None:
        pads = call.attribute("pads") or [0] * 2 * rank
        if auto_pad == "VALID":
            pads = [0] * 2 * rank
        return list(pads[:rank]), [
            end - more
            for end, more in zip(pads[rank:], extra, strict=True)  # cases 2 and 3
        ]
    begin, end = [], []
    for axis in range(rank):  # case 1
        full = (spatial[axis] - 1) * strides[axis] + dilations[axis] * (kernel[axis] - 1) + 1
        total = max(0, full + extra[axis] - wanted[axis])
        first = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
        begin.append(first)
        end.append(total - first - extra[axis] - max(0, wanted[axis] - full - extra[axis]))
    return begin, end
