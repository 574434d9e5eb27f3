"""RotaryEmbedding (ONNX, opset 23): pairs of elements (a, b) turned by an angle per position.

    a' = a cos - b sin
    b' = b cos + a sin

or `y = x * C + swapped(x) * S`, where `swapped` exchanges a and b of each pair, C holds cos for
both and S holds -sin for a and sin for b. C and S become constants where the caches and positions
are constant, so five operators are left.

1. halves: a pair is (k, k + R / 2); swapping is splitting in two and joining the other way round
2. interleaved: a pair is (2k, 2k + 1); swapping is gathering the elements in another order
3. elements beyond the first R stay as they are
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import CannotExpand, Expansion


def expand_rotary_embedding(e: Expansion) -> Sequence[ir.Value | None]:
    x, flat = e.input(0), e.rank() == 3
    heads = int(e.attribute("num_heads", 0))
    if flat and not heads:
        raise CannotExpand("its number of heads is not given", "Export the model again.")
    size = e.size(-1) // heads if flat else e.size(-1)
    if flat:
        x = e.reshape(x, [0, 0, heads, size])
    rotated = int(e.attribute("rotary_embedding_dim", 0)) or size
    rest: ir.Value | None = None
    if rotated < size:
        x, rest = e.op("Split", x, e.ints([rotated, size - rotated]), outputs=2, axis=-1)
    interleaved = bool(e.attribute("interleaved", 0))
    cosine, sine = (_angles(e, index, heads_axis=2 if flat else 1) for index in (1, 2))
    turned = e.op(
        "Add",
        e.op("Mul", x, _paired(e, cosine, cosine, rotated, interleaved)),
        e.op(
            "Mul",
            _swapped(e, x, rotated, interleaved),
            _paired(e, e.op("Neg", sine), sine, rotated, interleaved),
        ),
    )
    if rest is not None:
        turned = e.op("Concat", turned, rest, axis=-1)
    return [e.reshape(turned, [0, 0, -1]) if flat else turned]


def _angles(e: Expansion, index: int, heads_axis: int) -> ir.Value:
    """A cache for every position, (batch, length, R / 2), with an axis for the heads."""
    cache = e.input(index)
    if e.has(3):
        cache = e.op("Gather", cache, e.input(3), axis=0)
    broadcast: ir.Value = e.op("Unsqueeze", cache, e.ints([heads_axis]))
    return broadcast


def _paired(
    e: Expansion, first: ir.Value, second: ir.Value, rotated: int, interleaved: bool
) -> ir.Value:
    """Numbers for the first and the second elements of pairs, where those elements stand."""
    if not interleaved:
        joined: ir.Value = e.op("Concat", first, second, axis=-1)
        return joined
    apart = [e.op("Unsqueeze", numbers, e.ints([-1])) for numbers in (first, second)]
    return e.reshape(e.op("Concat", *apart, axis=-1), [0, 0, 0, rotated])


def _swapped(e: Expansion, x: ir.Value, rotated: int, interleaved: bool) -> ir.Value:
    """Cases 1 and 2."""
    if interleaved:
        others = np.arange(rotated).reshape(-1, 2)[:, ::-1].ravel()
        gathered: ir.Value = e.op("Gather", x, e.array(others, np.int64), axis=-1)
        return gathered
    first, second = e.op("Split", x, e.ints([rotated // 2, rotated // 2]), outputs=2, axis=-1)
    swapped: ir.Value = e.op("Concat", second, first, axis=-1)
    return swapped
