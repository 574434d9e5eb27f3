"""Random graphs by seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx

from random_graphs import blocks, elementwise, indexing, movement, products, reductions
from random_graphs.building import Array, Growth

#: by family, in proportion to what networks have: what stands here twice is drawn twice as often
OPERATORS: dict[str, tuple[Callable[[Growth], None], ...]] = {
    "elementwise": (
        *[elementwise.unary, elementwise.binary] * 3,
        elementwise.clip,
        elementwise.division,
        elementwise.fmod,
        elementwise.positive,
        elementwise.power,
        elementwise.prelu,
        elementwise.rounding,
        elementwise.square,
        elementwise.variadic,
    ),
    "integers": (
        *[elementwise.comparison, elementwise.where] * 2,
        elementwise.cast,
        elementwise.cast_any,
        elementwise.integer_binary,
        elementwise.integer_unary,
        elementwise.logical,
        elementwise.to_int,
    ),
    "movement": (
        *[movement.transpose] * 3,
        *[movement.concat, movement.reshape, movement.slice_] * 2,
        movement.constant_node,
        movement.depth_space,
        movement.expand,
        movement.flatten,
        movement.pad,
        movement.reshape_by_shape,
        movement.split,
        movement.squeeze,
        movement.tile,
        movement.unsqueeze,
    ),
    "indexing": (
        indexing.arg,
        indexing.computed_index,
        indexing.cumsum,
        indexing.gather,
        indexing.gather_elements,
        indexing.gather_nd,
        indexing.one_hot,
        indexing.reverse_sequence,
        indexing.scatter_elements,
        indexing.scatter_nd,
        indexing.shape_numbers,
        indexing.topk,
        indexing.trilu,
    ),
    "reductions": (
        *[reductions.reduction, reductions.softmax] * 2,
        reductions.hardmax,
        reductions.integer_reduction,
    ),
    "normalization": (
        reductions.batch_norm,
        reductions.group_norm,
        reductions.instance_norm,
        reductions.layer_norm,
        reductions.lp_norm,
        reductions.lrn,
        reductions.mean_variance,
    ),
    "products": (
        *[products.conv] * 3,
        *[blocks.wide_product, products.matmul] * 2,
        products.average_pool,
        products.conv_transpose,
        products.einsum,
        products.einsum_one,
        products.gemm,
        products.global_pool,
        products.grid_sample,
        products.lp_pool,
        products.matmul_values,
        products.max_pool,
        products.recurrent,
        products.resize,
        products.self_product,
    ),
    "blocks": (
        blocks.attention,
        blocks.block,
        blocks.spelled_norm,
        blocks.squeeze_excite,
        blocks.swish,
        blocks.tokens,
    ),
}
_OPSETS = (13, 17, 18, 20, 21, 21, 22, 23)


@dataclass(frozen=True)
class Drawn:
    """A model, one sample for its inputs, and how it grew."""

    model: onnx.ModelProto
    feeds: dict[str, Array]
    growth: Growth


def draw(seed: int, *, least: int = 8, most: int = 32) -> Drawn:
    """A graph of so many nodes or a few more: groups of nodes are added whole."""
    random = np.random.default_rng(seed)
    g = Growth(random, opset=int(random.choice(_OPSETS)))
    _inputs(g)
    wanted = g.integer(least, most)
    for _ in range(wanted * 12):
        if len(g.nodes) >= wanted:
            break
        g.try_(g.pick(OPERATORS[g.pick(tuple(OPERATORS))]))
    outputs = _outputs(g)
    return Drawn(g.model(outputs), g.inputs, g)


def _inputs(g: Growth) -> None:
    for index in range(g.integer(1, 3)):
        rank = g.pick([4, 4, 4, 3, 3, 2, 2, 1, 5, 0, 6])
        dims = g.dims(rank, 8 if rank < 4 else 6 if rank == 4 else 4)
        if dims and g.chance(0.5):
            dims = (1, *dims[1:])
        g.input(f"x{index}", g.normal(*dims))
    if g.chance(0.3):
        numbers = g.random.integers(-6, 7, g.dims(g.integer(0, 3)))
        g.input("i", np.asarray(numbers, g.pick([np.int32, np.int64])))
    if g.chance(0.15):
        g.input("b", np.asarray(g.random.random(g.dims(g.integer(0, 4))) < 0.5))


def _outputs(g: Growth) -> list[str]:
    """What nothing reads, some of what something does, and copies of inputs and of outputs."""
    for source in (g.value(), g.value(lambda v: v.name in g.inputs)):
        if g.chance(0.2):
            g.op("Identity", source)
    computed = [v.name for v in g.values if v.name not in g.inputs]
    chosen = [name for name in computed if not g.uses.get(name) or g.chance(0.08)]
    return [chosen[i] for i in g.random.permutation(len(chosen))]
