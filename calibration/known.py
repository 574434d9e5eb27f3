"""Ranges that the source of a hub model chose itself, since it was quantized.

1. A known tensor takes the range of its integers, `[(qmin - z) s, (qmax - z) s]`, and remembers s
   and z: where the target's format has the same integers, it carries exactly these (`parameters`).
2. What is certain about others follows from their neighbours: movers hand a range on, Relu and Clip
   cut it, pools and means stay inside, Concat holds its inputs, Sigmoid and the like have bounds.
3. Backwards through Relu and Clip: of what only they read, nothing matters beyond their range.
4. A known weight keeps its scales, where its values lie on their grid. Sources that give weights
   all 256 integers put -max|w| on -128, which no target stores: where few weights are there, they
   move one step to -127, by s^2 each, in place of s^2 / 12 for every weight on another grid.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import cast

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration.activation_functions import bounds_of
from edgewise.calibration.operands import activations, float_outputs, inputs_of_role
from edgewise.calibration.placement import COPYING_OPS, Placement
from edgewise.calibration.ranges import Range, Stored
from edgewise.calibration.scheme import QMAX, QMIN, IntegerType
from edgewise.graph import TensorQuantization, attribute

Known = Mapping[str, TensorQuantization]
Ranges = Mapping[str, Range]

#: give elements of their input, or means of them
_INSIDE = COPYING_OPS | {
    "DepthToSpace", "Dropout", "Expand", "GatherND", "GlobalAveragePool", "GlobalMaxPool",
    "Identity", "ReduceMax", "ReduceMean", "ReduceMin", "SpaceToDepth", "Tile",
}  # fmt: skip
#: read and write one scale
_TIED = _INSIDE - {"GlobalAveragePool", "ReduceMean"}
#: give every element of their input once
_ALL_OF = frozenset({"DepthToSpace", "Flatten", "Reshape", "SpaceToDepth", "Squeeze", "Transpose",
                     "Unsqueeze"})  # fmt: skip
_JOINING = frozenset({"Concat", "Max", "Min", "Where"})
_BOUNDED: Mapping[str, Range] = {
    "HardSigmoid": Range(0.0, 1.0),
    "Sigmoid": Range(0.0, 1.0),
    "Softmax": Range(0.0, 1.0),
    "Softsign": Range(-1.0, 1.0),
    "Tanh": Range(-1.0, 1.0),
}
#: least value of functions that rise where they are positive, and stay below their input there
_LEAST: Mapping[str, Callable[[ir.Node, float], float]] = {
    "Elu": lambda node, low: -float(attribute(node, "alpha", 1.0)),
    "Gelu": lambda node, low: -0.17004,
    "HardSwish": lambda node, low: -0.375,
    "LeakyRelu": lambda node, low: low * float(attribute(node, "alpha", 0.01)),
}

#: of the integers of a weight, see case 4
_MOST_LOWEST = 1 / 12


def known_range(known: TensorQuantization) -> Range:
    """Case 1; of several scales, the range of all channels together."""
    dtype = cast(IntegerType, known.zero_point.dtype.name)
    limits = np.iinfo(known.zero_point.dtype)
    zero, scale = known.zero_point.astype(np.float64), known.scale.astype(np.float64)
    low, high = (limits.min - zero) * scale, (limits.max - zero) * scale
    stored = None
    if known.per_tensor:
        stored = Stored(float(known.scale), int(known.zero_point), dtype)
    return Range(min(float(low.min()), 0.0), max(float(high.max()), 0.0), stored)


def missing_activations(model: ir.Model, placement: Placement, ranges: Ranges) -> list[str]:
    """The tensors of placed nodes that have no range yet, in graph order."""
    found: dict[str, None] = {}
    for node in model.graph:
        for value in activations(node) if node in placement else ():
            if value.name not in ranges:
                found[value.name or ""] = None
    return list(found)


def derive_ranges(
    model: ir.Model, wanted: Collection[str], ranges: dict[str, Range], *, exactly: bool
) -> None:
    """Add, in place, what cases 2 and 3 tell of the wanted tensors.

    Args:
        exactly: only what has the same scale, or needs no more; else bounds that data would narrow.
    """
    left, before = set(wanted), -1
    while left and len(left) != before:
        before = len(left)
        for node in model.graph:
            for value in float_outputs(node):
                if value.name in left and (found := _of_inputs(node, ranges, exactly=exactly)):
                    ranges[value.name or ""] = found
        for node in reversed(model.graph):
            source = node.inputs[0] if node.inputs else None
            if source is not None and source.name in left:
                found = _of_output(node, source, ranges)
                if found is not None:
                    ranges[source.name or ""] = found
        left -= ranges.keys()


def _of_inputs(node: ir.Node, ranges: Ranges, *, exactly: bool) -> Range | None:
    """Case 2."""
    if exactly and node.op_type not in _TIED:
        return None
    if node.op_type in _BOUNDED:
        return _BOUNDED[node.op_type]
    found = [ranges.get(value.name or "") for value in inputs_of_role(node, "activation")]
    known = [real for real in found if real is not None]
    if not known or len(known) != len(found):
        return None
    first = known[0]
    if node.op_type in _JOINING:
        for other in known[1:]:
            first = first.union(other)
        return first
    if node.op_type in _INSIDE:
        return first if len(known) == 1 else None
    if (bounds := bounds_of(node)) is not None:
        low, high = max(first.low, bounds[0]), min(first.high, bounds[1])
        return first if (low, high) == (first.low, first.high) else Range.around_zero(low, high)
    if node.op_type in _LEAST:
        return Range.around_zero(max(_LEAST[node.op_type](node, first.low), first.low), first.high)
    return None


def _of_output(node: ir.Node, source: ir.Value, ranges: Ranges) -> Range | None:
    """Case 3, and movers that lose nothing."""
    if node.op_type not in _ALL_OF | {"Relu", "Clip"}:
        return None
    if len(source.uses()) != 1 or source.is_graph_output():
        return None
    return ranges.get(node.outputs[0].name or "")


def on_grid(array: npt.NDArray[np.float32], known: TensorQuantization) -> bool:
    """Whether every value is one that the integers of a known constant stand for."""
    return np.array_equal(known.dequantize(known.quantize(array)), array)


def known_scales(
    array: npt.NDArray[np.float32], known: TensorQuantization | None, axis: int | None
) -> npt.NDArray[np.float32] | None:
    """Case 4: symmetric int8 scales of a weight, one per channel of `axis`, or a single one.

    None where the weight is not known, the scales run along another axis or are asymmetric, a value
    is not one of the integers -128..127 of its scale, or more than one in twelve is -128.
    """
    if known is None or known.block_size or (not known.per_tensor and known.axis != axis):
        return None
    dtype = known.zero_point.dtype.name
    if dtype not in ("int8", "uint8"):
        return None
    middle = 0 if dtype == "int8" else (QMAX["uint8"] + 1) // 2
    if (known.zero_point != middle).any():
        return None
    channels = 1 if axis is None else array.shape[axis]
    if known.scale.size not in (1, channels):
        return None
    scales = np.broadcast_to(known.scale.reshape(-1), (channels,))
    shape = [1] * array.ndim
    if axis is not None:
        shape[axis] = -1
    spread = scales.reshape(shape) if axis is not None else scales.reshape(())
    steps = np.rint(array / spread)
    lowest = QMIN["int8"]
    if steps.min(initial=0.0) < lowest or steps.max(initial=0.0) > QMAX["int8"]:
        return None
    if np.count_nonzero(steps == lowest) > _MOST_LOWEST * steps.size:
        return None
    return scales if np.array_equal((steps * spread).astype(np.float32), array) else None
