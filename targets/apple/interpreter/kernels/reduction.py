"""Reductions, sorting and running sums (coremltools MIL ops: reduction.py, tensor_operation.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgewise.targets.apple.interpreter.kernels.base import Array, Inputs, Kernel, Node, Result, Run

Reduce = Callable[[Array, tuple[int, ...], bool], Any]


def _log_sum_exp(x: Array, axes: tuple[int, ...], keep: bool) -> Any:
    top = x.max(axis=axes, keepdims=True)
    total = np.exp(x - top).sum(axis=axes, keepdims=True)
    result = np.log(total) + top
    return result if keep else np.squeeze(result, axis=axes)


def _reduction(reduce: Reduce) -> Kernel:
    def build(node: Node) -> Run:
        given, keep = node.ints("axes"), node.flag("keep_dims")

        def run(inputs: Inputs) -> Result:
            x = inputs["x"]
            axes = range(x.ndim) if given is None else given
            return np.asarray(reduce(x, tuple(axis % x.ndim for axis in axes), keep))

        return run

    return build


def _arg_reduction(reduce: Callable[..., Array]) -> Kernel:
    def build(node: Node) -> Run:
        axis, keep = node.integer("axis", -1), node.flag("keep_dims")
        return lambda inputs: reduce(inputs["x"], axis=axis, keepdims=keep)

    return build


def _order(x: Array, axis: int, *, ascending: bool) -> Array:
    """Indices that sort along the axis; of equal values the first comes first."""
    if ascending:
        return np.argsort(x, axis=axis, kind="stable")
    reversed_order = np.argsort(np.flip(x, axis), axis=axis, kind="stable")
    return np.flip(x.shape[axis] - 1 - reversed_order, axis)


def _topk(node: Node) -> Run:
    k, axis = node.integer("k", 1), node.integer("axis", -1)
    ascending, with_indices = node.flag("ascending"), node.flag("return_indices", True)

    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        count = x.shape[axis] if k == -1 else k
        indices = np.take(_order(x, axis, ascending=ascending), np.arange(count), axis=axis)
        values = np.take_along_axis(x, indices, axis=axis)
        return [values, indices] if with_indices else [values]

    return run


def _argsort(node: Node) -> Run:
    axis, ascending = node.integer("axis", -1), node.flag("ascending")
    return lambda inputs: _order(inputs["x"], axis, ascending=ascending)


def _cumsum(node: Node) -> Run:
    axis, exclusive, reverse = node.integer("axis", 0), node.flag("exclusive"), node.flag("reverse")

    def run(inputs: Inputs) -> Result:
        x = np.flip(inputs["x"], axis) if reverse else inputs["x"]
        total = np.cumsum(x, axis=axis, dtype=x.dtype)
        total = total - x if exclusive and x.dtype.kind in "iu" else total
        if exclusive and x.dtype.kind == "f":  # shift instead: a difference would round
            total = np.moveaxis(total, axis, 0)
            total = np.concatenate([np.zeros_like(total[:1]), total[:-1]])
            total = np.moveaxis(total, 0, axis)
        return np.flip(total, axis) if reverse else total

    return run


KERNELS: dict[str, Kernel] = {
    "argsort": _argsort,
    "cumsum": _cumsum,
    "reduce_argmax": _arg_reduction(np.argmax),
    "reduce_argmin": _arg_reduction(np.argmin),
    "reduce_l1_norm": _reduction(lambda x, axes, keep: np.abs(x).sum(axis=axes, keepdims=keep)),
    "reduce_l2_norm": _reduction(
        lambda x, axes, keep: np.sqrt(np.square(x).sum(axis=axes, keepdims=keep))
    ),
    "reduce_log_sum": _reduction(lambda x, axes, keep: np.log(x.sum(axis=axes, keepdims=keep))),
    "reduce_log_sum_exp": _reduction(_log_sum_exp),
    "reduce_max": _reduction(lambda x, axes, keep: x.max(axis=axes, keepdims=keep)),
    "reduce_mean": _reduction(lambda x, axes, keep: x.mean(axis=axes, keepdims=keep)),
    "reduce_min": _reduction(lambda x, axes, keep: x.min(axis=axes, keepdims=keep)),
    "reduce_prod": _reduction(lambda x, axes, keep: x.prod(axis=axes, keepdims=keep)),
    "reduce_sum": _reduction(lambda x, axes, keep: x.sum(axis=axes, keepdims=keep)),
    "reduce_sum_square": _reduction(
        lambda x, axes, keep: np.square(x).sum(axis=axes, keepdims=keep)
    ),
    "topk": _topk,
}
