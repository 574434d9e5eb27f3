"""Slices, gathers and scatters (coremltools MIL ops: tensor_transformation.py, scatter_gather.py).

Out-of-range indices are undefined in MIL; here they are an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from edgewise.targets.apple.interpreter.kernels.base import Array, Inputs, Kernel, Node, Result, Run

#: how `mode` combines the data with the updates, repeated indices included
_COMBINE: dict[str, Callable[[Array, Any, Array], None]] = {
    "add": np.add.at,
    "div": np.divide.at,
    "max": np.maximum.at,
    "min": np.minimum.at,
    "mul": np.multiply.at,
    "sub": np.subtract.at,
}


def _slices(node: Node, inputs: Inputs, rank: int) -> tuple[slice | int, ...]:
    """numpy's own slices: `squeeze_mask` picks one element, a mask drops its bound."""
    begin, end = (np.asarray(inputs[name]).tolist() for name in ("begin", "end"))
    stride = node.ints("stride") or [1] * rank
    masks = [node.ints(name) or [0] * rank for name in ("begin_mask", "end_mask", "squeeze_mask")]
    return tuple(
        int(first)
        if single
        else slice(None if open_ else int(first), None if close else int(last), step)
        for first, last, step, open_, close, single in zip(begin, end, stride, *masks, strict=True)
    )


def _slice_by_index(node: Node) -> Run:
    return lambda inputs: inputs["x"][_slices(node, inputs, inputs["x"].ndim)]


def _slice_update(node: Node) -> Run:
    def run(inputs: Inputs) -> Result:
        out = inputs["x"].copy()
        out[_slices(node, inputs, out.ndim)] = inputs["update"]
        return out

    return run


def _slice_by_size(node: Node) -> Run:
    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        window = []
        for begin, size, length in zip(inputs["begin"], inputs["size"], x.shape, strict=True):
            first = int(begin) % length if begin < 0 else int(begin)
            window.append(slice(first, None if size == -1 else first + int(size)))
        return x[tuple(window)]

    return run


def _gather(node: Node) -> Run:
    """Output shape: x.shape[:axis] + indices.shape[batch_dims:] + x.shape[axis + 1:]."""
    axis, batch = node.integer("axis", 0), node.integer("batch_dims", 0)

    def run(inputs: Inputs) -> Result:
        x, indices = inputs["x"], np.asarray(inputs["indices"])
        if batch == 0:
            return np.take(x, indices, axis=axis)
        lead, position = x.shape[:batch], axis % x.ndim - batch
        rows = zip(
            x.reshape(-1, *x.shape[batch:]),
            indices.reshape(-1, *indices.shape[batch:]),
            strict=True,
        )
        taken = np.stack([np.take(row, index, axis=position) for row, index in rows])
        return taken.reshape(*lead, *taken.shape[1:])

    return run


def _gather_along_axis(node: Node) -> Run:
    axis = node.integer("axis", 0)
    return lambda inputs: np.take_along_axis(inputs["x"], inputs["indices"].astype(np.int64), axis)


def _as_index(indices: Array) -> tuple[Array, ...]:
    """The last axis of `indices` holds coordinates: one index array per coordinate."""
    return tuple(np.moveaxis(indices, -1, 0))


def _gather_nd(node: Node) -> Run:
    """Output shape: indices.shape[:-1] + x.shape[batch_dims + indices.shape[-1]:]."""
    batch = node.integer("batch_dims", 0)

    def run(inputs: Inputs) -> Result:
        x, indices = inputs["x"], inputs["indices"]
        if batch == 0:
            return np.asarray(x[_as_index(indices)])
        count = math.prod(x.shape[:batch])
        rows = zip(
            x.reshape(count, *x.shape[batch:]),
            indices.reshape(count, *indices.shape[batch:]),
            strict=True,
        )
        taken = np.stack([row[_as_index(index)] for row, index in rows])
        return taken.reshape(*x.shape[:batch], *taken.shape[1:])

    return run


def _combine(mode: str, out: Array, where: Any, updates: Array) -> None:
    if mode == "update":
        out[where] = updates
    elif mode == "div" and out.dtype.kind in "iu":
        np.floor_divide.at(out, where, updates)
    else:
        _COMBINE[mode](out, where, updates)


def _scatter(node: Node) -> Run:
    axis, mode = node.integer("axis", 0), node.text("mode", "add")

    def run(inputs: Inputs) -> Result:
        out = inputs["data"].copy()
        updates = np.moveaxis(inputs["updates"], axis, 0)
        _combine(mode, np.moveaxis(out, axis, 0), inputs["indices"], updates)
        return np.asarray(out)

    return run


def _scatter_along_axis(node: Node) -> Run:
    axis, mode = node.integer("axis", 0), node.text("mode", "add")

    def run(inputs: Inputs) -> Result:
        out, indices = inputs["data"].copy(), inputs["indices"]
        where: list[Any] = list(np.ogrid[tuple(slice(size) for size in indices.shape)])
        where[axis] = indices
        _combine(mode, out, tuple(where), inputs["updates"])
        return np.asarray(out)

    return run


def _scatter_nd(node: Node) -> Run:
    mode = node.text("mode", "add")

    def run(inputs: Inputs) -> Result:
        out = inputs["data"].copy()
        _combine(mode, out, _as_index(inputs["indices"]), inputs["updates"])
        return np.asarray(out)

    return run


def _reverse_sequence(node: Node) -> Run:
    """Of each batch, the first `lengths[b]` elements are turned around."""
    axis, batch = node.integer("seq_axis", 0), node.integer("batch_axis", 0)

    def run(inputs: Inputs) -> Result:
        x = np.moveaxis(inputs["x"], (batch, axis), (0, 1))
        out = x.copy()
        for row, length in enumerate(np.asarray(inputs["lengths"]).tolist()):
            out[row, :length] = x[row, :length][::-1]
        return np.ascontiguousarray(np.moveaxis(out, (0, 1), (batch, axis)))

    return run


def _one_hot(node: Node) -> Run:
    axis = node.integer("axis", -1)

    def run(inputs: Inputs) -> Result:
        indices = np.asarray(inputs["indices"])
        position = axis % (indices.ndim + 1)
        shape = [1] * (indices.ndim + 1)
        shape[position] = -1
        classes = np.arange(int(inputs["one_hot_vector_size"])).reshape(shape)
        hot = np.expand_dims(indices, position) == classes
        return np.where(hot, inputs.get("on_value", 1), inputs.get("off_value", 0))

    return run


KERNELS: dict[str, Kernel] = {
    "gather": _gather,
    "gather_along_axis": _gather_along_axis,
    "gather_nd": _gather_nd,
    "one_hot": _one_hot,
    "reverse_sequence": _reverse_sequence,
    "scatter": _scatter,
    "scatter_along_axis": _scatter_along_axis,
    "scatter_nd": _scatter_nd,
    "slice_by_index": _slice_by_index,
    "slice_by_size": _slice_by_size,
    "slice_update": _slice_update,
}
