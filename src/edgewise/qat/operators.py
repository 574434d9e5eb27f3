"""Operators of the hub model as torch computes them, differentiably.

One function per operator: it takes the node's attributes and its inputs (None for an absent one)
and gives a tensor, or a tuple of several. `OPERATORS` is the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edgewise.errors import ModelError

Attributes = Mapping[str, Any]
Operator = Callable[..., Any]

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}
_MAX_POOLS = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_MEAN_POOLS = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _padded(x: Tensor, a: Attributes, value: float = 0.0) -> Tensor:
    """`pads` put around the spatial axes: all beginnings, then all ends."""
    if a.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise ModelError("automatic padding has no torch form")
    rank = x.ndim - 2
    pads = list(a.get("pads", [0] * 2 * rank))
    pairs = [p for axis in reversed(range(rank)) for p in (pads[axis], pads[rank + axis])]
    return functional.pad(x, pairs, value=value) if any(pairs) else x


def _conv(a: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    rank = x.ndim - 2
    ones = [1] * rank
    return _CONVOLUTIONS[rank](
        _padded(x, a), w, b, a.get("strides", ones), 0, a.get("dilations", ones), a.get("group", 1)
    )


def _conv_transpose(a: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    rank = x.ndim - 2
    ones, pads = [1] * rank, list(a.get("pads", [0] * 2 * rank))
    if pads[:rank] != pads[rank:] or "output_shape" in a or a.get("auto_pad", "NOTSET") != "NOTSET":
        raise ModelError("uneven padding of a transposed convolution has no torch form")
    return _TRANSPOSED[rank](
        x, w, b, a.get("strides", ones), pads[:rank], a.get("output_padding", [0] * rank),
        a.get("group", 1), a.get("dilations", ones),
    )  # fmt: skip


def _gemm(a: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    x = x.transpose(0, 1) if a.get("transA", 0) else x
    w = w.transpose(0, 1) if a.get("transB", 0) else w
    product: Tensor = a.get("alpha", 1.0) * (x @ w)
    return product if b is None else product + a.get("beta", 1.0) * b


def _max_pool(a: Attributes, x: Tensor) -> Tensor:
    rank = x.ndim - 2
    return _MAX_POOLS[rank](
        _padded(x, a, -math.inf), a["kernel_shape"], a.get("strides", [1] * rank), 0,
        a.get("dilations", [1] * rank), bool(a.get("ceil_mode", 0)),
    )  # fmt: skip


def _average_pool(a: Attributes, x: Tensor) -> Tensor:
    rank = x.ndim - 2
    pads, inside = list(a.get("pads", [0] * 2 * rank)), bool(a.get("count_include_pad", 0))
    if pads[:rank] != pads[rank:] or any(d != 1 for d in a.get("dilations", [])):
        raise ModelError("uneven padding of an average pool has no torch form")
    return _MEAN_POOLS[rank](
        x, a["kernel_shape"], a.get("strides", [1] * rank), pads[:rank],
        bool(a.get("ceil_mode", 0)), inside,
    )  # fmt: skip


def _reduction(function: Callable[..., Tensor]) -> Operator:
    def reduce(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
        chosen = a.get("axes") if axes is None else axes.tolist()
        if not chosen:
            if a.get("noop_with_empty_axes", 0):
                return x
            chosen = list(range(x.ndim))
        return function(x, dim=list(chosen), keepdim=bool(a.get("keepdims", 1)))

    return reduce


def _clip(
    a: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None
) -> Tensor:
    return x if low is None and high is None else torch.clamp(x, low, high)


def _reshape(a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    wanted = [int(size) for size in shape.tolist()]
    if not a.get("allowzero", 0):
        wanted = [x.shape[i] if size == 0 else size for i, size in enumerate(wanted)]
    return x.reshape(wanted)


def _flatten(a: Attributes, x: Tensor) -> Tensor:
    axis = a.get("axis", 1) % (x.ndim + 1)
    return x.reshape(math.prod(x.shape[:axis]), -1)


def _squeeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze([int(axis) for axis in axes.tolist()])


def _unsqueeze(a: Attributes, x: Tensor, axes: Tensor) -> Tensor:
    rank = x.ndim + axes.numel()
    for axis in sorted(int(axis) % rank for axis in axes.tolist()):
        x = x.unsqueeze(axis)
    return x


def _split(a: Attributes, x: Tensor, sizes: Tensor | None = None) -> Any:
    axis = a.get("axis", 0)
    if sizes is not None:
        return torch.split(x, [int(size) for size in sizes.tolist()], axis)
    return torch.split(x, -(-x.shape[axis] // a["num_outputs"]), axis)


def _slice(
    a: Attributes, x: Tensor, starts: Tensor, ends: Tensor, axes: Any = None, steps: Any = None
) -> Tensor:
    count = starts.numel()
    along = list(range(count)) if axes is None else axes.tolist()
    by = [1] * count if steps is None else steps.tolist()
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), along, by, strict=True):
        index = range(x.shape[axis])[slice(start, _end(end, step), step)]
        x = x.index_select(axis, torch.tensor(list(index), dtype=torch.int64, device=x.device))
    return x


def _end(end: int, step: int) -> int | None:
    """ONNX marks "to the very beginning" by a number below every size."""
    return None if step < 0 and end < -(2**31) + 1 else end


def _pad(
    a: Attributes, x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Any = None
) -> Tensor:
    mode, amounts = a.get("mode", "constant"), [int(p) for p in pads.tolist()]
    along = list(range(x.ndim)) if axes is None else [int(axis) % x.ndim for axis in axes.tolist()]
    begin, end = [0] * x.ndim, [0] * x.ndim
    for place, axis in enumerate(along):
        begin[axis], end[axis] = amounts[place], amounts[len(along) + place]
    pairs = [p for axis in reversed(range(x.ndim)) for p in (begin[axis], end[axis])]
    if mode == "constant":
        return functional.pad(x, pairs, value=0.0 if value is None else float(value))
    while pairs and pairs[-2:] == [0, 0]:
        pairs = pairs[:-2]
    names = {"edge": "replicate", "reflect": "reflect", "wrap": "circular"}
    return functional.pad(x, pairs, mode=names[mode])


def _resize(
    a: Attributes, x: Tensor, roi: Any = None, scales: Tensor | None = None, sizes: Any = None
) -> Tensor:
    if sizes is not None:
        size = [int(number) for number in sizes.tolist()][2:]
    elif scales is not None:
        pairs = zip(x.shape, scales.tolist(), strict=True)
        size = [int(old * scale) for old, scale in pairs][2:]
    else:
        raise ModelError("a Resize without sizes has no torch form")
    where = a.get("coordinate_transformation_mode", "half_pixel")
    if a.get("mode", "nearest") == "nearest":
        return functional.interpolate(x, size, mode="nearest")
    if a["mode"] == "linear" and x.ndim == 4:
        return functional.interpolate(
            x, size, mode="bilinear", align_corners=where == "align_corners"
        )
    raise ModelError(f"Resize of mode {a['mode']} has no torch form")


def _gather(a: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    axis = a.get("axis", 0) % x.ndim
    wanted = torch.where(indices < 0, indices + x.shape[axis], indices)
    taken = x.index_select(axis, wanted.reshape(-1))
    return taken.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def _layer_normalization(
    a: Attributes, x: Tensor, scale: Tensor, bias: Tensor | None = None
) -> Tensor:
    shape = x.shape[a.get("axis", -1) % x.ndim :]
    return functional.layer_norm(
        x, shape, scale.expand(shape), None if bias is None else bias.expand(shape),
        a.get("epsilon", 1e-5),
    )  # fmt: skip


def _batch_normalization(a: Attributes, x: Tensor, *parts: Tensor) -> Tensor:
    scale, bias, mean, variance = parts
    return functional.batch_norm(x, mean, variance, scale, bias, eps=a.get("epsilon", 1e-5))


def _space(a: Attributes, x: Tensor) -> Tensor:
    """DepthToSpace."""
    n, c, h, w = x.shape
    size = a["blocksize"]
    if a.get("mode", "DCR") == "CRD":
        return functional.pixel_shuffle(x, size)
    parts = x.reshape(n, size, size, c // size**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(n, c // size**2, h * size, w * size)


def _folded(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """Of any number of inputs."""

    def fold(a: Attributes, first: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            first = function(first, other)
        return first

    return fold


def _expand(a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    wanted = np.broadcast_shapes(tuple(x.shape), tuple(int(size) for size in shape.tolist()))
    return x.expand(wanted)


def _shape(a: Attributes, x: Tensor) -> Tensor:
    return torch.tensor(x.shape[a.get("start", 0) : a.get("end")], device=x.device)


#: ONNX data types by number
_TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 11: torch.float64}


def _cast(a: Attributes, x: Tensor) -> Tensor:
    if int(a["to"]) not in _TYPES:
        raise ModelError(f"a cast to data type {a['to']} has no torch form")
    return x.to(_TYPES[int(a["to"])])


def _plain(function: Callable[..., Tensor]) -> Operator:
    return lambda a, *inputs: function(*inputs)


def _mean(a: Attributes, x: Tensor) -> Tensor:
    return x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)


def _prelu(a: Attributes, x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, slope * x, x)


def _transpose(a: Attributes, x: Tensor) -> Tensor:
    return x.permute(list(a.get("perm", range(x.ndim)[::-1])))


OPERATORS: Mapping[str, Operator] = {
    "Abs": _plain(torch.abs),
    "Add": _plain(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Celu": lambda a, x: functional.celu(x, a.get("alpha", 1.0)),
    "Clip": _clip,
    "Concat": lambda a, *inputs: torch.cat(inputs, a["axis"]),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _space,
    "Div": _plain(torch.div),
    "Dropout": lambda a, x, *rest: x,
    "Elu": lambda a, x: functional.elu(x, a.get("alpha", 1.0)),
    "Equal": _plain(torch.eq),
    "Erf": _plain(torch.erf),
    "Exp": _plain(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": lambda a, x: functional.gelu(x, approximate=a.get("approximate", "none")),
    "Gemm": _gemm,
    "GlobalAveragePool": _mean,
    "GlobalMaxPool": lambda a, x: x.amax(dim=tuple(range(2, x.ndim)), keepdim=True),
    "HardSigmoid": lambda a, x: torch.clamp(a.get("alpha", 0.2) * x + a.get("beta", 0.5), 0, 1),
    "HardSwish": _plain(functional.hardswish),
    "Identity": lambda a, x: x,
    "LayerNormalization": _layer_normalization,
    "LeakyRelu": lambda a, x: functional.leaky_relu(x, a.get("alpha", 0.01)),
    "Log": _plain(torch.log),
    "LogSoftmax": lambda a, x: functional.log_softmax(x, a.get("axis", -1)),
    "MatMul": _plain(torch.matmul),
    "Max": _folded(torch.maximum),
    "MaxPool": _max_pool,
    "Min": _folded(torch.minimum),
    "Mish": _plain(functional.mish),
    "Mul": _plain(torch.mul),
    "Neg": _plain(torch.neg),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": lambda a, x, y: torch.pow(x, y.to(x.dtype)),
    "Reciprocal": _plain(torch.reciprocal),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMean": _reduction(torch.mean),
    "ReduceMin": _reduction(torch.amin),
    "ReduceSum": _reduction(torch.sum),
    "Relu": _plain(torch.relu),
    "Reshape": _reshape,
    "Resize": _resize,
    "Selu": _plain(functional.selu),
    "Shape": _shape,
    "Sigmoid": _plain(torch.sigmoid),
    "Slice": _slice,
    "Softmax": lambda a, x: functional.softmax(x, a.get("axis", -1)),
    "Softplus": _plain(functional.softplus),
    "Softsign": _plain(functional.softsign),
    "Split": _split,
    "Sqrt": _plain(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _plain(torch.sub),
    "Swish": lambda a, x: x * torch.sigmoid(a.get("alpha", 1.0) * x),
    "Tanh": _plain(torch.tanh),
    "Tile": lambda a, x, repeats: x.repeat([int(r) for r in repeats.tolist()]),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _plain(torch.where),
}


def as_sequence(results: Any) -> Sequence[Tensor]:
    return results if isinstance(results, tuple | list) else (results,)


def as_tensor(array: Any) -> Tensor:
    """Of a constant; numpy's memory is not shared."""
    return torch.from_numpy(np.array(array))
