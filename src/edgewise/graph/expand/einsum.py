"""Einsum: sums of products of operands whose axes are named by letters.

An ellipsis stands for as many unnamed axes as an operand has more, and those are aligned at the
right; each gets a name of its own. Then
  1. an index that an operand has twice is taken on the diagonal: both axes last, joined, and every
     (n + 1)-th element of them;
  2. an index that only one operand has, and the result has not, is summed in that operand;
  3. operands are joined two at a time from the left. For a pair, an index is
       batch     in both, and read later
       summed    in both, and not read later
       free      in one of them
     Without a summed index the pair is a broadcast Mul, otherwise a MatMul of
     (batch, free of the first, summed) and (batch, summed, free of the second);
  4. the axes are put in the order of the result.
An axis of size 1 that another operand repeats is removed first.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from edgewise.graph.expand.expansion import CannotExpand, Expansion
from edgewise.graph.read import constant


@dataclass(frozen=True, slots=True)
class _Operand:
    """A value, and the index of each of its axes."""

    value: ir.Value
    indices: str


def expand_einsum(e: Expansion) -> Sequence[ir.Value | None]:
    terms, result = _parsed(e)
    sizes = _sizes(e, terms)
    operands = [_narrowed(e, index, term, sizes) for index, term in enumerate(terms)]
    operands = [_diagonals(e, operand, sizes) for operand in operands]
    total = operands[0]
    for position, operand in enumerate(operands[1:], start=1):
        later = set(result).union(*(left.indices for left in operands[position + 1 :]))
        total = _summed(e, total, later | set(operand.indices))
        operand = _summed(e, operand, later | set(total.indices))
        total = _joined(e, total, operand, later, sizes)
    total = _summed(e, total, set(result))
    order = [total.indices.index(index) for index in result if index in total.indices]
    value = e.transpose(total.value, order)
    if len(order) < len(result):  # indices whose every axis has size 1
        value = e.reshape(value, [sizes[index] for index in result])
    return [value]


# ---- the equation


def _parsed(e: Expansion) -> tuple[list[str], str]:
    """The indices of each operand and of the result, every axis with a letter."""
    equation = str(e.attribute("equation")).replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    count = len(e.node.inputs)
    if len(terms) != count:
        raise CannotExpand(
            f"its equation '{equation}' is not for {count} operands", "Check the equation."
        )
    unnamed = [e.rank(i) - len(term.replace("...", "")) for i, term in enumerate(terms)]
    most = max((unnamed[i] for i, term in enumerate(terms) if "..." in term), default=0)
    free = [letter for letter in string.ascii_letters if letter not in equation]
    if len(free) < most:
        raise CannotExpand("it has more axes than there are letters", "Use fewer axes.")
    names = "".join(free[:most])
    if not arrow:
        letters = sorted(set(left) - set(",."))
        right = "..." * ("..." in left) + "".join(x for x in letters if left.count(x) == 1)
    filled = [
        term.replace("...", names[most - extra :])
        for term, extra in zip(terms, unnamed, strict=True)
    ]
    for index, term in enumerate(filled):
        if len(term) != e.rank(index):
            raise CannotExpand(
                f"its equation '{equation}' does not fit operand {index}", "Check the equation."
            )
    return filled, right.replace("...", names)


def _sizes(e: Expansion, terms: Sequence[str]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for position, term in enumerate(terms):
        for index, size in zip(term, e.shape(position), strict=True):
            sizes[index] = size if sizes.get(index, 1) == 1 else sizes[index]
    return sizes


# ---- one operand


def _narrowed(e: Expansion, position: int, term: str, sizes: dict[str, int]) -> _Operand:
    """Without axes of size 1 that broadcast to another operand's."""
    shape = e.shape(position)
    spread = [k for k, index in enumerate(term) if shape[k] == 1 != sizes[index]]
    if not spread:
        return _Operand(e.input(position), term)
    value = e.op("Squeeze", e.input(position), e.ints(spread))
    return _Operand(value, "".join(index for k, index in enumerate(term) if k not in spread))


def _diagonals(e: Expansion, operand: _Operand, sizes: dict[str, int]) -> _Operand:
    """Case 1."""
    value, indices = operand.value, operand.indices
    while repeated := next((index for index in indices if indices.count(index) > 1), None):
        first = indices.index(repeated)
        second = indices.index(repeated, first + 1)
        kept = [axis for axis in range(len(indices)) if axis not in (first, second)]
        rest, size = "".join(indices[axis] for axis in kept), sizes[repeated]
        moved = e.transpose(value, [*kept, first, second])
        flat = e.reshape(moved, [*(sizes[index] for index in rest), size * size])
        last = e.ints([len(rest)])
        value = e.op("Slice", flat, e.ints([0]), e.ints([size * size]), last, e.ints([size + 1]))
        indices = rest + repeated
    return _Operand(value, indices)


def _summed(e: Expansion, operand: _Operand, needed: set[str]) -> _Operand:
    """Case 2."""
    axes = [axis for axis, index in enumerate(operand.indices) if index not in needed]
    if not axes:
        return operand
    value = e.op("ReduceSum", operand.value, e.ints(axes), keepdims=0)
    return _Operand(value, "".join(index for index in operand.indices if index in needed))


# ---- two operands


def _joined(
    e: Expansion, a: _Operand, b: _Operand, later: set[str], sizes: dict[str, int]
) -> _Operand:
    """Case 3. A matrix that is constant goes right, where targets take weights."""
    if constant(a.value) is not None and constant(b.value) is None:
        a, b = b, a
    shared = [index for index in a.indices if index in b.indices]
    batch = "".join(index for index in shared if index in later)
    summed = "".join(index for index in shared if index not in later)
    free_a = "".join(index for index in a.indices if index not in shared)
    free_b = "".join(index for index in b.indices if index not in shared)
    if not summed:
        return _multiplied(e, a, b, batch + free_a + free_b)
    if not batch:  # the first keeps its free axes, the second is a matrix
        left = _arranged(e, a, [*free_a, summed], sizes)
    else:
        left = _arranged(e, a, [*batch, free_a, summed], sizes)
    right = _arranged(e, b, [*batch, summed, free_b], sizes)
    product = e.op("MatMul", left, right)
    indices = batch + free_a + free_b
    if len(free_b) == 1 and (not batch or len(free_a) == 1):
        return _Operand(product, indices)
    return _Operand(e.reshape(product, [sizes[index] for index in indices]), indices)


def _multiplied(e: Expansion, a: _Operand, b: _Operand, indices: str) -> _Operand:
    """A Mul of the two, whose axes are put in one order."""
    values = []
    for operand in (a, b):
        order = [operand.indices.index(index) for index in indices if index in operand.indices]
        value = e.transpose(operand.value, order)
        present = [index in operand.indices for index in indices]
        leading = present.index(True) if any(present) else len(present)
        missing = [axis for axis, there in enumerate(present) if not there and axis > leading]
        if missing:
            value = e.op("Unsqueeze", value, e.ints([axis - leading for axis in missing]))
        values.append(value)
    return _Operand(e.op("Mul", *values), indices)


def _arranged(
    e: Expansion, operand: _Operand, groups: Sequence[str], sizes: dict[str, int]
) -> ir.Value:
    """The value with one axis per group of indices, an axis of size 1 for an empty one."""
    order = [operand.indices.index(index) for group in groups for index in group]
    value = e.transpose(operand.value, order)
    if all(len(group) == 1 for group in groups):
        return value
    return e.reshape(value, [prod(sizes[index] for index in group) for group in groups])
