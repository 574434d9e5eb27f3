"""Scaled dot product attention (ONNX operator Attention, opset 23 and later).

    scores = scale * Q K^T                     (batch, query heads, queries S, keys T)
    capped = softcap * tanh(scores / softcap)  where a softcap is given
    P = softmax(capped + bias)                 bias: see `attention_mask`
    Y = P V, with rows of zeros where a query may attend to nothing

1. Inputs of rank 3 hold all heads side by side; they are split by a Reshape and a Transpose.
2. Grouped heads: query head h reads key head h // g. So (batch, heads, S, D) is read as
   (batch, key heads, g * S, D), and nothing of the keys and values is copied.
3. The scale is multiplied into Q, which is smaller than the scores; a softcap divides there too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgewise.graph.expand.attention_mask import Mask, mask_of
from edgewise.graph.expand.expansion import CannotExpand, Expansion

_RAW, _CAPPED, _BIASED, _PROBABILITIES = range(4)


@dataclass(frozen=True, slots=True)
class _Heads:
    """How many heads there are, and the size of one."""

    query: int
    key: int
    size: int
    value_size: int

    @property
    def grouped(self) -> bool:
        return self.query != self.key


def expand_attention(e: Expansion) -> Sequence[ir.Value | None]:
    heads = _heads(e)
    query, key, value = (
        _split(e, index, count)
        for index, count in ((0, heads.query), (1, heads.key), (2, heads.key))
    )
    past = 0
    if e.has(4) and e.has(5):
        past = e.size(2, 4)
        key = e.op("Concat", e.input(4), key, axis=2)
        value = e.op("Concat", e.input(5), value, axis=2)
    mask = mask_of(e, past)
    mode = int(e.attribute("qk_matmul_output_mode", _RAW)) if e.wants(3) else None

    softcap = float(e.attribute("softcap", 0.0))
    scale = e.attribute("scale")
    scale = 1 / math.sqrt(heads.size) if scale is None else float(scale)
    folded = bool(softcap) and mode != _RAW
    scores = _scores(e, heads, query, key, scale / softcap if folded else scale)
    shown = {_RAW: scores}
    if softcap:
        inner = scores if folded else e.op("Mul", scores, e.number(1 / softcap))
        scores = e.op("Mul", e.op("Tanh", inner), e.number(softcap))
    shown[_CAPPED] = shown[_BIASED] = scores
    if mode == _BIASED and mask.exact is not None:
        shown[_BIASED] = e.op("Add", scores, mask.exact)
    if mask.bias is not None:
        scores = e.op("Add", scores, mask.bias)
    weights = e.op("Softmax", scores, axis=-1)
    if mode == _PROBABILITIES:
        weights = shown[_PROBABILITIES] = _only_valid(e, weights, mask)
        mask = Mask()
    y = _only_valid(e, _weighted(e, heads, weights, value), mask)
    return [
        _joined(e, y),
        key if e.wants(1) else None,
        value if e.wants(2) else None,
        None if mode is None else shown[mode],
    ][: len(e.node.outputs)]


def _heads(e: Expansion) -> _Heads:
    if e.rank() == 4:
        return _Heads(e.size(1, 0), e.size(1, 1), e.size(3, 0), e.size(3, 2))
    query, key = e.attribute("q_num_heads"), e.attribute("kv_num_heads")
    if e.rank() != 3 or not query or not key:
        raise CannotExpand("its number of heads is not given", "Export the model again.")
    return _Heads(int(query), int(key), e.size(2, 0) // int(query), e.size(2, 2) // int(key))


def _split(e: Expansion, index: int, heads: int) -> ir.Value:
    """Case 1: (batch, length, heads * size) as (batch, heads, length, size)."""
    value = e.input(index)
    if e.rank(index) == 4:
        return value
    apart = e.reshape(value, [0, 0, heads, e.size(2, index) // heads])
    return e.transpose(apart, [0, 2, 1, 3])


def _joined(e: Expansion, y: ir.Value) -> ir.Value:
    """Case 1, backwards."""
    return y if e.rank() == 4 else e.reshape(e.transpose(y, [0, 2, 1, 3]), [0, 0, -1])


def _scores(e: Expansion, heads: _Heads, query: ir.Value, key: ir.Value, scale: float) -> ir.Value:
    if scale != 1:
        query = e.op("Mul", query, e.number(scale))
    if heads.grouped:
        query = e.reshape(query, [0, heads.key, -1, heads.size])
    scores: ir.Value = e.op("MatMul", query, e.transpose(key, [0, 1, 3, 2]))
    if heads.grouped:
        scores = e.reshape(scores, [0, heads.query, _queries(e), -1])
    return scores


def _weighted(e: Expansion, heads: _Heads, weights: ir.Value, value: ir.Value) -> ir.Value:
    """P V"""
    if not heads.grouped:
        product: ir.Value = e.op("MatMul", weights, value)
        return product
    group = heads.query // heads.key
    rows = e.reshape(weights, [0, heads.key, group * _queries(e), -1])
    return e.reshape(e.op("MatMul", rows, value), [0, heads.query, -1, heads.value_size])


def _queries(e: Expansion) -> int:
    return e.size(-2)


def _only_valid(e: Expansion, value: ir.Value, mask: Mask) -> ir.Value:
    """Rows of zeros for queries that may attend to nothing."""
    if mask.valid is None:
        return value
    zeroed: ir.Value = e.op("Mul", value, mask.valid)
    return zeroed
