"""From the tensors of one sample to what is kept of each.

1. Relu and Clip rise or stay, and give the same bits wherever they are computed. What they make of
   an observed tensor follows from its extremes and from the values sampled of it, so that it need
   not be fetched: in most networks that is every third tensor.
2. Positions that a mask hides are left out (`masked_positions`).
3. Of a Pad, only what it surrounds enters the histogram; its constant counts as an extreme, unless
   nothing but maxima are taken of it, from which a saturated constant stays away just as well.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration.activation_functions import bounds_of
from edgewise.calibration.masked_positions import Positions, masked_positions
from edgewise.calibration.tensor_statistics import Monotone, Observation, Running
from edgewise.graph import attribute, constant, consumers

Array = npt.NDArray[Any]

#: tensors of a sample and what follows from them without being fetched
Derived = Mapping[str, tuple[str, Monotone]]


@dataclass(frozen=True, slots=True)
class _Clamp:
    low: np.float32
    high: np.float32

    def __call__(self, values: Array) -> Array:
        # in this order as in ONNX, where the upper bound wins
        return np.asarray(np.minimum(np.maximum(values, self.low), self.high))


@dataclass(frozen=True, slots=True)
class _Padding:
    """The part of a Pad's output that is data, and the constant around it where that counts."""

    inside: tuple[slice, ...]
    constant: np.float32 | None


@dataclass(frozen=True, slots=True)
class Observer:
    """What to fetch for each sample, and how to reduce it."""

    #: every tensor to observe, in graph order
    names: tuple[str, ...]
    derived: Derived
    positions: tuple[Positions, ...]
    padding: Mapping[str, _Padding]

    @classmethod
    def of(cls, model: ir.Model, names: Sequence[str]) -> Observer:
        """An observer of the named tensors of the main graph."""
        positions = masked_positions(model)
        return cls(tuple(names), _derived(model, set(names), positions), positions, _padding(model))

    @property
    def fetched(self) -> tuple[str, ...]:
        """The tensors whose values a sample is reduced from: inputs or outputs of nodes."""
        weighing = (name for part in self.positions for group in part.mixed for name, _ in group)
        observed = (name for name in self.names if name not in self.derived)
        return tuple(dict.fromkeys((*observed, *weighing)))

    def counted(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """The values that count of every fetched tensor that is observed; no empty arrays."""
        wanted = [name for name in self.names if name in values and values[name].size]
        counted = {name: values[name] for name in wanted}
        for part in self.positions:
            kept = part.kept(values)
            if kept is None:
                continue
            for name, axes in part.axes.items():
                for axis in axes if name in counted else ():
                    counted[name] = counted[name].take(kept, axis)
        return counted

    def add(self, counted: Mapping[str, Array], totals: Mapping[str, Running]) -> None:
        """Add what the given tensors hold, and those that follow from them, to their totals.

        Raises:
            ValueError: a tensor holds NaN or infinity.
        """
        seen = {name: self._observation(name, array) for name, array in counted.items()}
        for name, (source, function) in self.derived.items():
            if source in seen:
                seen[name] = seen[source].through(function)
        for name, observation in seen.items():
            totals[name].add(observation)

    def _observation(self, name: str, array: Array) -> Observation:
        axis = 1 if array.ndim > 3 else array.ndim - 1
        channels = not any(axis in part.axes.get(name, ()) for part in self.positions)
        padding = self.padding.get(name)
        inside = array if padding is None else array[padding.inside]
        if padding is None or not inside.size:
            return Observation.of(array, channels=channels)
        seen = Observation.of(inside, channels=channels)
        return seen if padding.constant is None else seen.holding(padding.constant)


def _derived(
    model: ir.Model, names: Collection[str], positions: Sequence[Positions]
) -> dict[str, tuple[str, Monotone]]:
    """Case 1: name -> the observed tensor it follows from; in graph order."""
    found: dict[str, tuple[str, Monotone]] = {}
    for node in model.graph:
        bounds = bounds_of(node)
        if bounds is None or node.inputs[0] is None:
            continue
        source, name = node.inputs[0].name or "", node.outputs[0].name or ""
        if source not in names or name not in names:
            continue
        if any(part.axes.get(name) != part.axes.get(source) for part in positions):
            continue
        low, high = (np.float32(bound) for bound in bounds)
        if not (math.isnan(low) or math.isnan(high)):
            found[name] = (source, _Clamp(low, high))
    return found


def _padding(model: ir.Model) -> dict[str, _Padding]:
    """Case 3, where the amounts are known."""
    found = {}
    for node in model.graph:
        if node.op_type != "Pad" or attribute(node, "mode", "constant") != "constant":
            continue
        amounts, shape = constant(node.inputs[1]), node.outputs[0].shape
        given = node.inputs[2] if len(node.inputs) > 2 else None
        value = constant(given)
        axes = constant(node.inputs[3]) if len(node.inputs) > 3 else None
        if amounts is None or shape is None or (given is not None and value is None):
            continue
        if len(node.inputs) > 3 and node.inputs[3] is not None and axes is None:
            continue
        rank = len(shape)
        chosen = range(rank) if axes is None else [int(axis) % rank for axis in axes.reshape(-1)]
        inside = [slice(None)] * rank
        for axis, begin, end in zip(chosen, *np.split(amounts.reshape(-1), 2), strict=True):
            inside[axis] = slice(max(int(begin), 0), -max(int(end), 0) or None)
        filled = np.float32(0.0) if value is None else np.float32(value.reshape(()))
        found[node.outputs[0].name or ""] = _Padding(
            tuple(inside), None if _only_maxima(node.outputs[0], filled) else filled
        )
    return found


def _only_maxima(value: ir.Value, filled: np.float32) -> bool:
    readers = consumers(value)
    pooled = bool(readers) and all(node.op_type == "MaxPool" for node in readers)
    return pooled and float(filled) < 0.0 and not value.is_graph_output()
