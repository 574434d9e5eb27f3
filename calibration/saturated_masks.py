"""Masks before a softmax, made so low that they weigh nothing and no lower.

A mask adds minus infinity, -10000 or the like to scores, or puts it in their place. A range that
reaches there resolves nothing else, but no softmax needs it. Let x = s + m be a row of n elements,
s in [s_low, s_high], and let every row have an element with m >= m_row. The largest element of the
row then is at least s_low + m_row, and what is below

    L = s_low + m_row - D

weighs less than exp(-D) of it. All of them together weigh less than n exp(-D), which is half a step
of an output with 2^bits steps for D = ln(2 n 2^bits): 9.4 for 24 elements of 8 bits. So
  1. x may saturate at L: its range is [L, s_high + m_high];
  2. m may saturate at L - s_high, because x <= L there, whatever s is;
  3. Where(c, s, m) may take L for m;
  4. s may take the range of x where m is 0 or masks: then x = s exactly, and is not rounded again.

The steps of x so grow by the ratio (W + D) / W for scores of range W, which is 3 dB for W = 24 and
less for more. Narrow scores grow by more, to steps of D / 255 = 0.04 that do not matter: weights
have steps of 1/256.

Masks that are recognised: constants; Where of a constant and something moderate; the product of a
constant and an indicator, which is made of integers or booleans and observed in [0, 1]. Only
operators that move data may be between these and the softmax. A row that is masked entirely gets
equal weights, as it does in float for masks that swallow the scores. Where the model writes zeros
over the NaN that minus infinity gives there, the mask itself selects these zeros; other softmaxes
of finite scores need no such guard, and lose it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration.masks import masked_tensors
from edgewise.calibration.ranges import Range
from edgewise.calibration.scheme import QMAX, QMIN, NumberFormat, Scheme
from edgewise.calibration.statistics import Statistics
from edgewise.graph import add_initializer, attribute, constant, consumers

Array = npt.NDArray[Any]

#: keep rows whole
_SHAPING = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})
_MOVING = _SHAPING | {"Expand", "Gather", "Identity", "Slice", "Tile", "Transpose"}
_STANDARD = ("", "ai.onnx")


@dataclass(frozen=True, slots=True)
class _Addend:
    """What is added to scores: its values in use are in [row, high], the masking ones at most
    `bottom`. `trail` leads from its operand of the addition back to where it is made, by the
    operator `maker`, whose input `slot` is the constant `masking`; a constant has no maker."""

    row: float
    high: float
    bottom: float
    masking: Array
    trail: tuple[ir.Value, ...]
    maker: ir.Node | None = None
    slot: int = 0


@dataclass(frozen=True, slots=True)
class _Masked:
    """A softmax, the operator that applies its mask, and the tensors from there to the softmax.

    `addend` is None where `apply` is a Where, whose input `slot` is the mask's constant."""

    softmax: ir.Node
    apply: ir.Node
    slot: int
    path: tuple[ir.Value, ...]
    scores: Range
    addend: _Addend | None
    bottom: float

    def lowest(self, number: NumberFormat) -> float:
        """L."""
        last = self.path[0].shape
        size = last[-1] if last is not None else None
        count = size if isinstance(size, int) else 1
        steps = QMAX[number.dtype] - QMIN[number.dtype] + 1
        row = 0.0 if self.addend is None else self.addend.row
        return self.scores.low + row - math.log(2.0 * steps * max(count, 1))

    def plain_scores(self) -> list[ir.Value]:
        """The tensor of scores (4), where it is so."""
        plain = self.addend is not None and self.addend.row == self.addend.high == 0.0
        value = self.apply.inputs[1 - self.slot] if plain else None
        single = value is not None and constant(value) is None and len(consumers(value)) == 1
        return [value] if value is not None and single and not value.is_graph_output() else []

    def limit(self, number: NumberFormat) -> float:
        """Where the mask itself may saturate (2 and 3)."""
        return self.lowest(number) - (0.0 if self.addend is None else self.scores.high)


def saturate_masks(
    model: ir.Model, statistics: Statistics, scheme: Scheme, exclude: Collection[str]
) -> dict[str, Range]:
    """Rewrite in place what can be; gives the ranges of the tensors that a mask runs through."""
    number = scheme.activation
    if number is None or not {"Add", "Softmax"} <= scheme.quantized_ops:
        return {}
    softmaxes = [
        node
        for node in model.graph
        if _is(node, "Softmax") and node.name not in exclude and _is_last_axis(node)
    ]
    found = [m for node in softmaxes if (m := _find(node, statistics, exclude)) is not None]
    found = [m for m in found if m.bottom <= m.limit(number) and _zeroes_can_follow(m)]
    ranges: dict[str, Range] = {}
    for group in _groups(found):
        for masked in group:
            _drop_guard(model.graph, masked.softmax, masked)
        ranges |= _rewrite(model.graph, group, number)
    infinite = masked_tensors(model)
    for node in softmaxes:
        if node.inputs[0] is not None and node.inputs[0].name not in infinite:
            _drop_guard(model.graph, node, None)
    return ranges


# ---- finding


def _find(softmax: ir.Node, statistics: Statistics, exclude: Collection[str]) -> _Masked | None:
    path = _trail(softmax.inputs[0], _SHAPING)
    apply = path[-1].producer() if path else None
    if apply is None or not _is(apply, "Add", "Where") or apply.name in exclude:
        return None
    if any(value.is_graph_output() or len(consumers(value)) != 1 for value in path):
        return None
    if path[0].shape is None or path[-1].shape is None or path[0].shape[-1] != path[-1].shape[-1]:
        return None
    for slot in (0, 1) if apply.op_type == "Add" else (1, 2):
        other = apply.inputs[1 - slot if apply.op_type == "Add" else 3 - slot]
        scores, mask = _observed(other, statistics), apply.inputs[slot]
        if scores is None:
            continue
        if apply.op_type == "Where":
            array = constant(mask)
            if array is not None:
                return _Masked(softmax, apply, slot, path, scores, None, float(array.max()))
            continue
        addend = _addend(mask, path[-1], statistics)
        if addend is not None:
            return _Masked(softmax, apply, slot, path, scores, addend, addend.bottom)
    return None


def _addend(mask: ir.Value | None, total: ir.Value, statistics: Statistics) -> _Addend | None:
    array = constant(mask)
    if mask is not None and array is not None:
        if total.shape is None or not array.ndim or array.shape[-1] != total.shape[-1]:
            return None
        row = float(array.max(axis=-1).min())
        return _Addend(row, float(array.max()), float(array.min()), array, (mask,))
    trail = _trail(mask, _MOVING)
    maker = trail[-1].producer() if trail else None
    if maker is None or not _is(maker, "Mul", "Where"):
        return None
    for slot in (0, 1) if maker.op_type == "Mul" else (1, 2):
        masking = constant(maker.inputs[slot])
        if masking is None or not masking.size:
            continue
        if maker.op_type == "Mul":
            if masking.size == 1 and _is_indicator(maker.inputs[1 - slot], statistics):
                bottom = float(masking.reshape(()))
                return _Addend(0.0, 0.0, bottom, masking, trail, maker, slot)
            continue
        rest = _observed(maker.inputs[3 - slot], statistics)
        if rest is not None and float(masking.max()) < rest.low:
            bottom = float(masking.max())
            return _Addend(rest.low, rest.high, bottom, masking, trail, maker, slot)
    return None


def _observed(value: ir.Value | None, statistics: Statistics) -> Range | None:
    """The values of a constant, or what a computed tensor was seen to hold."""
    array = constant(value)
    if array is not None and array.size:
        return Range(float(array.min()), float(array.max()))
    seen = None if value is None else statistics.tensors.get(value.name or "")
    return None if seen is None else Range(seen.minimum, seen.maximum)


def _is_indicator(value: ir.Value | None, statistics: Statistics) -> bool:
    """Whether a tensor is 0 or 1: integers or booleans as floats, or 1 less these."""
    seen = _observed(value, statistics)
    if seen is None or seen.low < 0.0 or seen.high > 1.0:
        return False
    trail = _trail(value, _MOVING)
    node = trail[-1].producer() if trail else None
    if node is not None and _is(node, "Sub"):
        one = constant(node.inputs[0])
        if one is None or not (one == 1.0).all():
            return False
        trail = _trail(node.inputs[1], _MOVING)
        node = trail[-1].producer() if trail else None
    source = node.inputs[0] if node is not None and _is(node, "Cast") else None
    return source is not None and source.dtype is not None and not source.dtype.is_floating_point()


def _trail(value: ir.Value | None, movers: Collection[str]) -> tuple[ir.Value, ...]:
    """The tensors from `value` back through operators that move data."""
    trail: list[ir.Value] = []
    while value is not None:
        trail.append(value)
        node = value.producer()
        value = node.inputs[0] if node is not None and _is(node, *movers) else None
    return tuple(trail)


def _is(node: ir.Node, *op_types: str) -> bool:
    return node.domain in _STANDARD and node.op_type in op_types


def _is_last_axis(softmax: ir.Node) -> bool:
    shape = softmax.outputs[0].shape
    return shape is not None and int(attribute(softmax, "axis", -1)) in (-1, len(shape) - 1)


def _groups(found: Sequence[_Masked]) -> Iterable[list[_Masked]]:
    """The masks that share their making; none where something else reads what they share."""
    groups: dict[ir.Value, list[_Masked]] = {}
    for masked in found:
        key = masked.path[-1] if masked.addend is None else masked.addend.trail[-1]
        groups.setdefault(key, []).append(masked)
    for group in groups.values():
        values = {v for m in group if m.addend and m.addend.maker for v in m.addend.trail}
        readers = {m.apply for m in group} | {v.producer() for v in values}
        if all(
            not value.is_graph_output() and readers.issuperset(consumers(value)) for value in values
        ):
            yield group


# ---- rewriting


def _rewrite(graph: ir.Graph, group: Sequence[_Masked], number: NumberFormat) -> dict[str, Range]:
    """Saturate the masks of one group at the lowest limit of its softmaxes."""
    lowest = min(masked.limit(number) for masked in group)
    first = group[0]
    ranges: dict[str, Range] = {}
    if first.addend is None:
        _put(graph, first.apply, first.slot, np.float32(lowest), "lowest")
    elif first.addend.maker is not None:
        _put(graph, first.addend.maker, first.addend.slot, np.float32(lowest), "lowest")
    else:
        array = np.maximum(first.addend.masking, np.float32(lowest))
        value = add_initializer(graph, f"{first.addend.trail[0].name}_saturated", array)
        for masked in group:
            masked.apply.replace_input_with(masked.slot, value)
    for masked in group:
        high = masked.scores.high
        if masked.addend is not None:
            high += masked.addend.high
            real = Range.around_zero(lowest, masked.addend.high)
            ranges |= {value.name or "": real for value in masked.addend.trail}
        real = Range.around_zero(masked.lowest(number), high)
        ranges |= {value.name or "": real for value in (*masked.path, *masked.plain_scores())}
    return ranges


def _put(graph: ir.Graph, node: ir.Node, slot: int, number: np.float32, suffix: str) -> None:
    """A constant of its own, of the old one's shape, for one input."""
    old = constant(node.inputs[slot])
    shape = () if old is None else old.shape
    array = np.full(shape, number, np.float32)
    node.replace_input_with(slot, add_initializer(graph, f"{node.name}_{suffix}", array))


# ---- guards


def _zeroes_can_follow(masked: _Masked) -> bool:
    """Whether the guard, if there is one, is needless, or the mask can take its place."""
    return (
        _guard(masked.softmax) is None
        or masked.bottom > -math.inf
        or _selector(masked) is not None
        or (masked.addend is not None and masked.addend.maker is None)
    )


def _guard(softmax: ir.Node) -> ir.Node | None:
    """The Where that puts zeros in the place of NaN."""
    weights = softmax.outputs[0]
    for test in consumers(weights):
        readers = consumers(test.outputs[0]) if _is(test, "IsNaN") else []
        where = readers[0] if len(readers) == 1 else None
        if where is None or not _is(where, "Where") or where.inputs[0] is not test.outputs[0]:
            continue
        zero = constant(where.inputs[1])
        plain = zero is not None and zero.size == 1 and float(zero.reshape(())) == 0.0
        if plain and where.inputs[2] is weights and not where.outputs[0].is_graph_output():
            return where
    return None


def _selector(masked: _Masked) -> tuple[ir.Value, int] | None:
    """The condition that selects masked elements, and the input that it selects for these."""
    if len(masked.path) > 1:
        return None
    if masked.addend is None:
        condition = masked.apply.inputs[0]
        return None if condition is None else (condition, masked.slot)
    maker = masked.addend.maker
    if maker is None or maker.op_type != "Where" or len(masked.addend.trail) > 1:
        return None
    condition = maker.inputs[0]
    return None if condition is None else (condition, masked.addend.slot)


def _drop_guard(graph: ir.Graph, softmax: ir.Node, masked: _Masked | None) -> None:
    where = _guard(softmax)
    if where is None:
        return
    if masked is not None and masked.bottom == -math.inf:
        selector = _selector(masked)
        if selector is not None:
            condition, slot = selector
            weights, zero = softmax.outputs[0], where.inputs[1]
            operands = (zero, weights) if slot == 1 else (weights, zero)
            for index, value in enumerate((condition, *operands)):
                where.replace_input_with(index, value)
            return
    ir.convenience.replace_all_uses_with(where.outputs[0], softmax.outputs[0])
    test = where.inputs[0].producer() if where.inputs[0] is not None else None
    graph.remove(where, safe=True)
    if test is not None and not test.outputs[0].uses():
        graph.remove(test, safe=True)
