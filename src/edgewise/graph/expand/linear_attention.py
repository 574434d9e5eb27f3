"""LinearAttention (ONNX, opset 27): attention through a state S of size d_k by d_v per head.

    S_t = exp(g_t) S_{t-1} + k_t u_t^T        decay g: update rules gated, gated_delta; else 0
    u_t = v_t                                 rules linear, gated
    u_t = b_t (v_t - (exp(g_t) S_{t-1})^T k_t)     rules delta, gated_delta
    o_t = scale * S_t^T q_t

1. linear: without decay the sums can be written at once,
       O = scale * (tril(Q K^T) V + Q S_0),  S_T = S_0 + K^T V
2. the others are written step by step, for sequences that are not long
Groups of query heads share a key head: they are rows of one product (as in `attention`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import Array, CannotExpand, Expansion

#: about nine operators each; more would make files and loading slow
_MOST_STEPS = 128


@dataclass(frozen=True, slots=True)
class _Sizes:
    batch: int
    steps: int
    heads: int
    group: int
    key: int
    value: int


def expand_linear_attention(e: Expansion) -> Sequence[ir.Value | None]:
    sizes = _sizes(e)
    rule = str(e.attribute("update_rule", "gated_delta"))
    scale = float(e.attribute("scale", 0.0)) or 1 / math.sqrt(sizes.key)
    query = _query(e, sizes, scale)
    key, value = (
        e.transpose(e.reshape(e.input(i), [sizes.batch, sizes.steps, sizes.heads, size]), perm)
        for i, size, perm in ((1, sizes.key, [0, 2, 1, 3]), (2, sizes.value, [0, 2, 1, 3]))
    )
    if rule == "linear":
        output, state = _at_once(e, sizes, query, key, value)
    elif rule in ("gated", "delta", "gated_delta"):
        output, state = _step_by_step(e, sizes, query, key, value)
    else:
        raise CannotExpand(f"its update rule '{rule}' is not known", "Export the model again.")
    return [_flat(e, sizes, output), state if e.wants(1) else None][: len(e.node.outputs)]


def _sizes(e: Expansion) -> _Sizes:
    queries, keys = int(e.attribute("q_num_heads")), int(e.attribute("kv_num_heads"))
    return _Sizes(
        batch=e.size(0),
        steps=e.size(1),
        heads=keys,
        group=queries // keys,
        key=e.size(2) // queries,
        value=e.size(2, 2) // keys,
    )


def _query(e: Expansion, sizes: _Sizes, scale: float) -> ir.Value:
    """Scaled, as (batch, heads, steps, group, d_k)."""
    scaled = e.op("Mul", e.input(0), e.number(scale))
    dims = [sizes.batch, sizes.steps, sizes.heads, sizes.group, sizes.key]
    return e.transpose(e.reshape(scaled, dims), [0, 2, 1, 3, 4])


def _flat(e: Expansion, sizes: _Sizes, output: ir.Value) -> ir.Value:
    """(batch, heads, steps, group, d_v) as (batch, steps, all of them)."""
    return e.reshape(e.transpose(output, [0, 2, 1, 3, 4]), [sizes.batch, sizes.steps, -1])


def _at_once(
    e: Expansion, sizes: _Sizes, query: ir.Value, key: ir.Value, value: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """Case 1, with (step, group) as rows."""
    rows = e.reshape(query, [0, 0, sizes.steps * sizes.group, sizes.key])
    causal: Array = np.tril(np.ones((sizes.steps, sizes.steps))).repeat(sizes.group, axis=0)
    turned = e.transpose(key, [0, 1, 3, 2])
    scores = e.op("Mul", e.op("MatMul", rows, turned), e.array(causal, e.dtype()))
    output = e.op("MatMul", scores, value)
    state = e.op("MatMul", turned, value)
    if e.has(3):
        output = e.op("Add", output, e.op("MatMul", rows, e.input(3)))
        state = e.op("Add", e.input(3), state)
    dims = [sizes.batch, sizes.heads, sizes.steps, sizes.group, sizes.value]
    return e.reshape(output, dims), state


def _step_by_step(
    e: Expansion, sizes: _Sizes, query: ir.Value, key: ir.Value, value: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """Case 2. Every step has queries (group, d_k), keys (1, d_k) and values (1, d_v)."""
    if sizes.steps > _MOST_STEPS:
        raise CannotExpand(
            f"its {sizes.steps} steps would be written one by one, {_MOST_STEPS} at most",
            "Export for shorter sequences, or one step at a time with the state as input.",
        )
    queries = _steps(e, sizes, e.reshape(query, [0, 0, sizes.steps * sizes.group, sizes.key]))
    keys, values = _steps(e, sizes, key), _steps(e, sizes, value)
    decays = _steps(e, sizes, _decay(e, sizes)) if e.has(4) else None
    rates = _steps(e, sizes, _rate(e, sizes)) if e.has(5) else None
    state: ir.Value | None = e.input(3) if e.has(3) else None
    outputs = []
    for step in range(sizes.steps):
        update = values[step]
        if state is not None and decays is not None:
            state = e.op("Mul", state, decays[step])
        if rates is not None:
            if state is not None:
                update = e.op("Sub", update, e.op("MatMul", keys[step], state))
            update = e.op("Mul", rates[step], update)
        written = e.op("Mul", e.transpose(keys[step], [0, 1, 3, 2]), update)
        state = written if state is None else e.op("Add", state, written)
        outputs.append(e.op("MatMul", queries[step], state))
    joined = outputs[0] if len(outputs) == 1 else e.op("Concat", *outputs, axis=2)
    if state is None:
        raise CannotExpand("its sequence is empty", "Export the model again.")
    dims = [sizes.batch, sizes.heads, sizes.steps, sizes.group, sizes.value]
    return e.reshape(joined, dims), state


def _steps(e: Expansion, sizes: _Sizes, value: ir.Value) -> list[ir.Value]:
    """Its parts along axis 2, one per step."""
    if sizes.steps == 1:
        return [value]
    return list(e.op("Split", value, outputs=sizes.steps, axis=2, num_outputs=sizes.steps))


def _decay(e: Expansion, sizes: _Sizes) -> ir.Value:
    """exp(g) as (batch, heads, steps * d_k or steps, 1), a column per step."""
    size = e.size(2, 4) // sizes.heads
    dims = [sizes.batch, sizes.steps, sizes.heads, size]
    apart = e.transpose(e.reshape(e.op("Exp", e.input(4)), dims), [0, 2, 1, 3])
    return e.reshape(apart, [sizes.batch, sizes.heads, sizes.steps * size, 1])


def _rate(e: Expansion, sizes: _Sizes) -> ir.Value:
    """b as (batch, heads or 1, steps, 1)."""
    dims = [sizes.batch, sizes.steps, e.size(2, 5), 1]
    return e.transpose(e.reshape(e.input(5), dims), [0, 2, 1, 3])
