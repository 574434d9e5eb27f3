"""Conv and ConvTranspose with one, two or three spatial axes.

ConvTranspose cases, with `full = (in - 1) * stride + dilation * (kernel - 1) + 1` per axis:
1. `output_shape` or `auto_pad` SAME (`in * stride` elements, or all there are): the crop is
   `full + output_padding - out`, shared between both ends as the ONNX operator specification says.
2. `output_padding` at most the end crop: it is subtracted from the crop.
3. `output_padding` beyond the end crop: those elements receive nothing but the bias, so zeros are
   appended to the output and the bias is added afterwards.

A weight may be computed at run time (that of ConvTranspose from iOS 17 on). MIL then has no
dilations: zeros are put between the elements of the weight instead.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from edgewise.graph import resolve_pads
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var
from edgewise.targets.apple.call import Array, Call, Operand, emit, named


def conv(call: Call) -> Operand:
    weight = call.operand(1)
    kernel = [int(size) for size in weight.shape[2:]]
    strides, dilations = _steps(call, len(kernel))
    begin, end = resolve_pads(call.node, call.shape(0)[2:], kernel, strides, dilations)
    if min([*begin, *end]) < 0:
        call.refuse("its padding is negative", "Slice the input instead.")
    bias, late_bias = _bias(call, weight.shape[0])
    weight_var, dilations = _weight(weight, dilations)
    result = mb.conv(
        x=call.var(0),
        weight=weight_var,
        strides=strides,
        dilations=dilations,
        groups=call.attribute("group", 1),
        **named(call.name if late_bias is None else None),
        **padding(begin, end),
        **bias,
    )
    return _add_bias(call, result, late_bias)


def conv_transpose(call: Call) -> Operand:
    weight = call.operand(1)
    kernel = [int(size) for size in weight.shape[2:]]
    strides, dilations = _steps(call, len(kernel))
    groups = call.attribute("group", 1)
    begin, end = _crops(call, kernel, strides, dilations)
    missing = [max(0, -crop) for crop in end]
    bias, late_bias = _bias(call, weight.shape[1] * groups)
    if any(missing):  # case 3
        late_bias = _as_channels(call, bias.pop("bias")) if bias else late_bias
    plain = late_bias is None and not any(missing)
    weight_var, dilations = _weight(weight, dilations)
    result = mb.conv_transpose(
        x=call.var(0),
        weight=weight_var,
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


def _weight(weight: Operand, dilations: list[int]) -> tuple[Var, list[int]]:
    """The weight in the program, and the dilations that are left for MIL."""
    if not isinstance(weight, Var):
        return emit(weight), dilations
    for axis, step in enumerate(dilations, start=2):
        if step > 1 and int(weight.shape[axis]) > 1:
            weight = _stuffed(weight, axis, step)
    return weight, [1] * len(dilations)


def _stuffed(weight: Var, axis: int, step: int) -> Var:
    """`step - 1` zeros between the elements along an axis."""
    shape = [int(size) for size in weight.shape]
    lead, size, tail = prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])
    apart = mb.reshape(x=weight, shape=[lead, size, 1, tail])
    wide = mb.pad(x=apart, pad=[0, step - 1, 0, 0], mode="constant", constant_val=np.float32(0))
    joined = mb.reshape(x=wide, shape=[lead, size * step, tail])
    extent = (size - 1) * step + 1
    cut = mb.slice_by_index(x=joined, begin=[0, 0, 0], end=[lead, extent, tail])
    return mb.reshape(x=cut, shape=[*shape[:axis], extent, *shape[axis + 1 :]])


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
    full = [
        (size - 1) * stride + dilation * (window - 1) + 1
        for size, stride, dilation, window in zip(spatial, strides, dilations, kernel, strict=True)
    ]
    if wanted is None and auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        if any(extra):
            call.refuse(
                "auto_pad SAME with output_padding has another shape in each runtime",
                "Export the model with explicit padding.",
            )
        steps = zip(spatial, strides, full, strict=True)
        wanted = [min(size * stride, whole) for size, stride, whole in steps]
    if wanted is None:
        pads = call.attribute("pads") or [0] * 2 * rank
        if auto_pad == "VALID":
            pads = [0] * 2 * rank
        return list(pads[:rank]), [
            end - more
            for end, more in zip(pads[rank:], extra, strict=True)  # cases 2 and 3
        ]
    begin, end = [], []
    for whole, more, size in zip(full, extra, wanted, strict=True):  # case 1
        total = max(0, whole + more - size)
        first = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
        begin.append(first)
        end.append(total - first - more - max(0, size - whole - more))
    return begin, end
