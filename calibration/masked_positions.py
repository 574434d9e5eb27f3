"""Positions of padding tokens, whose values decide nothing.

Where a mask made from the model's inputs keeps a softmax from some positions, as `attention_mask`
does in BERT, the hidden states there are computed and never used. They must not widen a range.

Position p of an axis is ignored for one sample when no other position can tell what its value is:
1. axes that run along the same positions form a class (`axis_ties`); a class counts only where a
   mask that depends on an input of the model reaches a softmax along it;
2. wherever elements along the class are summed or normalized over, a factor of all elements at p
   is exactly zero, as the weights of a masked softmax are, and products with the mask. That is read
   from the sample's own values, so that it needs no notion of what a mask looks like;
3. every other operator leaves positions apart, or picks some. A class that meets an operator
   without a rule is not used.

Kept whole, since a value decides there: the mask itself, and scores from the operator that applies
the mask up to its softmax.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration.axis_ties import Axis, Ties, shape_of, ties_of
from edgewise.calibration.operands import is_float
from edgewise.calibration.union_find import UnionFind
from edgewise.graph import constant, consumers

Array = npt.NDArray[Any]

#: operators that make features: what they give is no mask
_FEATURES = frozenset({"Conv", "ConvTranspose", "Einsum", "GRU", "Gemm", "LSTM",
                       "LayerNormalization", "MatMul", "RMSNormalization", "RNN"})  # fmt: skip
#: operators that apply a mask to scores
_APPLYING = frozenset({"Add", "Max", "Min", "Sub", "Where"})
#: operators that read no values
_OF_SHAPES = frozenset({"Shape", "Size"})


@dataclass(frozen=True, slots=True)
class Positions:
    """One class: the axes of tensors that run along it, by name, and the places where its elements
    are mixed, each with the (tensor, axis) pairs one of which is zero at ignored positions."""

    axes: Mapping[str, tuple[int, ...]]
    mixed: tuple[tuple[tuple[str, int], ...], ...]

    def kept(self, values: Mapping[str, Array]) -> npt.NDArray[np.intp] | None:
        """The positions that count in a sample; None where all do, or none.

        Args:
            values: the sample's tensors, those of `mixed` among them.
        """
        counted: npt.NDArray[np.bool_] | None = None
        for group in self.mixed:
            used = [_used(values[name], axis) for name, axis in group]
            here = np.logical_and.reduce(used)
            counted = here if counted is None else counted | here
        if counted is None or counted.all() or not counted.any():
            return None
        return np.flatnonzero(counted)


def _used(array: Array, axis: int) -> npt.NDArray[np.bool_]:
    """Whether there is anything but zeros at each position of an axis."""
    others = tuple(index for index in range(array.ndim) if index != axis)
    return np.asarray((array != 0).any(axis=others))


def masked_positions(model: ir.Model) -> tuple[Positions, ...]:
    """The classes of positions that a mask hides, in the main graph of a model."""
    features = _features(model.graph)
    masks = _masks(model.graph, features)
    if not masks:
        return ()
    touched = _touched(model.graph, features, masks)
    ties = {node: ties_of(node) for node in model.graph}
    joined = UnionFind()
    for node_ties in ties.values():
        for one, two in node_ties.same:
            if one.value in features and two.value in features:
                joined.unite((one.key, two.key))
    masked = {
        joined.find(axis.key)
        for node, found in ties.items()
        if node.op_type == "Softmax" and node.inputs[0] in touched
        for (axis,) in found.mixed
    }
    usable = masked - _leaking(ties, features, joined)
    return tuple(_positions(leader, ties, features - touched, joined) for leader in sorted(usable))


def _features(graph: ir.Graph) -> frozenset[ir.Value]:
    """Computed float tensors that hold features, not masks: what a feature operator or a table of
    constants gives, all that follows, and float inputs that such an operator reads."""
    found: set[ir.Value] = {value for value in graph.inputs if _feeds_features(value)}
    for node in graph:
        table = node.op_type == "Gather" and is_float(node.inputs[0])
        if table:
            array = constant(node.inputs[0])
            table = array is not None and array.ndim > 1
        if table or node.op_type in _FEATURES or any(value in found for value in node.inputs):
            found |= {value for value in node.outputs if is_float(value)}
    return frozenset(found)


def _feeds_features(value: ir.Value) -> bool:
    """Whether a float input reaches a feature operator through others."""
    if not is_float(value) or constant(value) is not None:
        return False
    seen, queue = {value}, [value]
    while queue:
        for node in consumers(queue.pop()):
            if node.op_type in _FEATURES:
                return True
            if node.op_type in (*_OF_SHAPES, "Softmax") or _joins_features(node, seen):
                continue
            fresh = [out for out in node.outputs if is_float(out) and out not in seen]
            seen.update(fresh)
            queue += fresh
    return False


def _joins_features(node: ir.Node, seen: Collection[ir.Value]) -> bool:
    """Whether the node reads something computed that does not come from the same input."""
    others = [value for value in node.inputs if is_float(value) and value not in seen]
    return any(value is not None and value.producer() is not None for value in others)


def _masks(graph: ir.Graph, features: Collection[ir.Value]) -> frozenset[ir.Value]:
    """What depends on the values of an input and is no feature."""
    found = {v for v in graph.inputs if v not in features and v.name not in graph.initializers}
    for node in graph:
        if node.op_type not in _OF_SHAPES and any(value in found for value in node.inputs):
            found |= {value for value in node.outputs if value not in features}
    return frozenset(found)


def _touched(
    graph: ir.Graph, features: Collection[ir.Value], masks: Collection[ir.Value]
) -> frozenset[ir.Value]:
    """Features from where a mask is applied to the softmax after it."""
    found: set[ir.Value] = set()
    for node in graph:
        if node.op_type == "Softmax":
            continue
        read = [value for value in node.inputs if value is not None]
        applied = (
            node.op_type in _APPLYING
            and any(value in masks for value in read)
            and any(value in features for value in read)
            and not _writes_zeros(node)
        )
        if applied or any(value in found for value in read):
            found |= {value for value in node.outputs if value in features}
    return frozenset(found)


def _writes_zeros(node: ir.Node) -> bool:
    """Where with zeros in the place of what is masked: a product with the mask."""
    if node.op_type != "Where":
        return False
    arrays = [constant(value) for value in node.inputs[1:]]
    return any(array is not None and not array.any() for array in arrays)


def _leaking(
    ties: Mapping[ir.Node, Ties], features: Collection[ir.Value], joined: UnionFind
) -> set[str]:
    """Classes that meet an operator without a rule for them."""
    found = set()
    for node, node_ties in ties.items():
        if node.op_type in _OF_SHAPES:
            continue
        for value in node.inputs:
            shape = shape_of(value)
            if value is None or value not in features:
                continue
            for index, size in enumerate(shape or ()):
                axis = Axis(value, index)
                if size != 1 and not node_ties.covers(axis):
                    found.add(joined.find(axis.key))
    return found


def _positions(
    leader: str,
    ties: Mapping[ir.Node, Ties],
    ignorable: Collection[ir.Value],
    joined: UnionFind,
) -> Positions:
    axes: dict[str, tuple[int, ...]] = defaultdict(tuple)
    for value in ignorable:
        for index in range(len(shape_of(value) or ())):
            if joined.find(Axis(value, index).key) == leader:
                axes[value.name or ""] += (index,)
    mixed: dict[tuple[tuple[str, int], ...], None] = {}
    for node_ties in ties.values():
        for group in node_ties.mixed:
            if any(joined.find(axis.key) == leader for axis in group):
                weighing = [axis for axis in group if constant(axis.value) is None]
                mixed[tuple((axis.value.name or "", axis.index) for axis in weighing)] = None
    return Positions({name: axes[name] for name in sorted(axes)}, tuple(mixed))
