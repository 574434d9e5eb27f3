"""AdaRound: weights move to the one or the other of the two integers beside them, whichever keeps
the outputs of their layer (Nagel et al. 2020, arXiv:2004.10568).

For each layer with constant weights, tr(dW H dW^T) is minimised over roundings (`rounding`), where
H = E[x x^T] of its float inputs (`gram`). Three things keep what is gained:

1. The grid is that of the model as the recipe quantizes it: scales and integers are read there.
2. Of every group of weights with one scale, the largest keep their float values, and no other
   becomes larger: the scale that follows from the group is the same, bit for bit. All others lie on
   the grid, so that rounding them to nearest gives exactly the integers that were found. The result
   is quantized once more to see that it does; a weight for which it does not, stays as it was.
3. H is softened towards its diagonal, which stands for data that were not seen,
   H' = 0.7 H + 0.3 diag(H). One sample of four is held out, and an output channel whose error is
   not smaller on both parts keeps rounding to nearest.

Layers come in the order of their cost; at the deadline, the rest stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration.float_form import name_nodes
from edgewise.calibration.quantize_for import quantize_for
from edgewise.calibration.repairs.base import Repaired, RepairInput, declined, repaired
from edgewise.calibration.repairs.gram import (
    Floats,
    Layer,
    Moments,
    gram_matrices,
    layer_of,
    passes,
)
from edgewise.calibration.repairs.rounding import (
    Rows,
    descend,
    descend_in_pairs,
    output_change,
    relax,
)
from edgewise.calibration.statistics import model_hash
from edgewise.findings import Finding
from edgewise.graph import TensorQuantization, constant, quantization_of
from edgewise.graph.quantized import DEQUANTIZE

_NAME = "ada_round"
_SOFTENED = np.float32(0.3)
_ITERATIONS = 100
#: multiplications that the relaxation of one layer may take, some seconds; with fewer iterations
#: than `_FEWEST_ITERATIONS` it does not settle
_OPERATIONS = 2e10
_FEWEST_ITERATIONS = 40
#: the same of one sweep of the descent in pairs
_PAIR_OPERATIONS = 3e7
#: bytes of the moments of one layer: K = 8192
_LARGEST_GRAM = 2 * 4 * 8192**2


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """How a weight is stored: its integers by rounding to nearest, and what they stand for."""

    quantization: TensorQuantization
    integers: npt.NDArray[np.int32]

    @property
    def zero_point(self) -> int:
        """One for all channels, as every format of weights has it."""
        return int(self.quantization.zero_point.reshape(-1)[0])

    @property
    def scale(self) -> Floats:
        """That of every element, in the shape of the weight."""
        return self.quantization.dequantize(np.full_like(self.integers, self.zero_point + 1))

    def peaks(self, array: Floats) -> Floats:
        """The largest magnitude of those that share a scale, for every element of the weight."""
        magnitude = np.abs(array)
        axis, block = self.quantization.axis, self.quantization.block_size
        if axis is None:
            return np.broadcast_to(magnitude.max(initial=0.0), array.shape)
        if not block:
            others = tuple(index for index in range(array.ndim) if index != axis)
            return np.broadcast_to(magnitude.max(axis=others, keepdims=True), array.shape)
        split = magnitude.reshape(*array.shape[:axis], -1, block, *array.shape[axis + 1 :])
        # a block of a convolution takes in the whole window
        within = (axis + 1, *range(3, split.ndim))
        largest = split.max(axis=within, keepdims=True)
        return np.broadcast_to(largest, split.shape).reshape(array.shape)


@dataclass(frozen=True, slots=True, eq=False)
class _Weight:
    """A weight to be rounded, and the layers that read it, which lay it out alike."""

    layers: tuple[Layer, ...]
    grid: _Grid

    @property
    def first(self) -> Layer:
        return self.layers[0]

    @property
    def name(self) -> str:
        return self.first.weight.name or ""

    @property
    def operations(self) -> int:
        """Multiplications of one iteration."""
        return int(self.first.array.size) * self.first.row_length


def ada_round(model: ir.Model, given: RepairInput) -> Repaired:
    """The model with rounded weights; see the module. Ranges of activations stay as they are.

    Raises:
        ModelError, DataError, UsageError: what quantizing, or the source, raises.
    """
    work = ir.from_proto(ir.to_proto(model))
    name_nodes(work)
    grids = _grids(work, given)
    weights, findings = _weights(work, grids)
    weights.sort(key=lambda weight: weight.operations)
    found: dict[str, _Rounded] = {}
    for lot in passes([layer for weight in weights for layer in weight.layers]):
        if given.expired:
            break
        moments = gram_matrices(work, lot, given.source, limit=given.limit, threads=given.threads)
        for weight in weights:
            if weight.first in lot and not given.expired:
                together = _sum(moments[layer.name] for layer in weight.layers)
                found[weight.name] = _round(weight, together)
    left = len(weights) - len(found)
    if left:
        findings.append(_out_of_time(left, len(weights)))
    better = {name: rounded for name, rounded in found.items() if rounded.channels}
    if not better:
        return Repaired(model, findings=tuple(findings))
    kept = _set(work, better, given)
    findings += [
        declined(_NAME, weight.first.name, "the recipe gives rounded weights other scales")
        for weight in weights
        if weight.name in better.keys() - kept
    ]
    nodes = [layer.name for weight in weights if weight.name in kept for layer in weight.layers]
    findings.append(repaired(_NAME, nodes, _message(better, kept)))
    return Repaired(work, tuple(nodes), tuple(findings))


def _set(model: ir.Model, better: Mapping[str, _Rounded], given: RepairInput) -> set[str]:
    """Give the model the rounded weights in place; the names of those that quantization leaves as
    they were found, for all others are put back."""
    values = model.graph.initializers
    before = {name: values[name].const_value for name in better}
    for name, rounded in better.items():
        values[name].const_value = ir.tensor(rounded.values, name=name)
    again = _grids(model, given)
    kept = set()
    for name, rounded in better.items():
        readers = [again[use.node.name or ""] for use in values[name].uses()]
        if all(np.array_equal(grid.integers, rounded.integers) for grid in readers):
            kept.add(name)
        else:
            values[name].const_value = before[name]
    return kept


def _out_of_time(left: int, total: int) -> Finding:
    return Finding(
        "calibration/ada-round-deadline",
        "warning",
        f"time was up before {left} of {total} weights, which are rounded to nearest",
        remedy="Give the search more time, or calibrate with fewer samples.",
    )


def _message(better: Mapping[str, _Rounded], kept: Iterable[str]) -> str:
    chosen = [better[name] for name in kept]
    before, after = (
        np.array([getattr(rounded, part) for rounded in chosen]) for part in ("before", "after")
    )
    share = float(np.exp(np.log(after / before).mean())) if chosen else 1.0
    return (
        f"{len(chosen)} weights are rounded so that outputs stay: their squared error is"
        f" {share:.2f} times that of rounding to nearest (geometric mean over weights)"
    )


def _grids(model: ir.Model, given: RepairInput) -> dict[str, _Grid]:
    """The grid of every node's weight, by the name of the node."""
    statistics = replace(given.statistics, model_hash=model_hash(model))
    known = None if not given.scheme.needs_statistics else statistics
    quantized = quantize_for(model, known, given.scheme, given.recipe).model
    grids = {}
    for node in quantized.graph:
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        producer = None if weight is None else weight.producer()
        if producer is None or producer.op_type != DEQUANTIZE:
            continue
        integers = constant(producer.inputs[0])
        if integers is not None:
            stored = integers.astype(np.int32)
            grids[node.name or ""] = _Grid(quantization_of(producer), stored)
    return grids


def _weights(model: ir.Model, grids: Mapping[str, _Grid]) -> tuple[list[_Weight], list[Finding]]:
    """What can be rounded, and a remark on each other node that has integer weights."""
    readers: dict[str, list[Layer]] = {}
    findings = []
    for node in model.graph:
        layer = layer_of(node)
        if layer is None or node.name not in grids:
            continue
        reason = layer if isinstance(layer, str) else _obstacle(layer, grids)
        if reason is not None:
            findings.append(declined(_NAME, node.name or "", reason))
        elif isinstance(layer, Layer):
            readers.setdefault(layer.weight.name or "", []).append(layer)
    return [_Weight(tuple(all_), grids[all_[0].name]) for all_ in readers.values()], findings


def _obstacle(layer: Layer, grids: Mapping[str, _Grid]) -> str | None:
    """Why a layer keeps its weight."""
    grid = grids[layer.name]
    if grid.integers.shape != layer.array.shape:
        return "its weights are stored in another form"
    if (grid.quantization.zero_point != grid.zero_point).any():
        return "its weights have several zero points"
    if layer.gram_bytes > _LARGEST_GRAM:
        return f"the Gram matrix of {layer.row_length} inputs is too large"
    for use in layer.weight.uses():
        other = layer_of(use.node)
        alike = isinstance(other, Layer) and use.idx == 1 and other.like(layer)
        if not alike or use.node.name not in grids:
            return "its weights are shared with a node that uses them otherwise"
        if not grids[use.node.name or ""].quantization.same_as(grid.quantization):
            return "its weights are shared with a node that stores them otherwise"
    return None


def _sum(parts: Iterable[Moments]) -> Moments:
    fit, held = zip(*((part.fit, part.held) for part in parts), strict=True)
    return Moments(sum(fit[1:], fit[0]), sum(held[1:], held[0]))


@dataclass(frozen=True, slots=True, eq=False)
class _Rounded:
    """What was found for a weight: integers, values that round to them, how many channels gained,
    and the error of the layer's output by rounding to nearest and after."""

    integers: npt.NDArray[np.int32]
    values: Floats
    channels: int
    before: float
    after: float


def _round(weight: _Weight, moments: Moments) -> _Rounded:
    """The best rounding that is found, channel by channel never worse than to nearest."""
    layer, grid = weight.first, weight.grid
    nearest = layer.rows((grid.integers - grid.zero_point).astype(np.float32))
    rows = _rows(layer, grid, nearest)
    soft = _softened(moments.fit)
    start = nearest
    iterations = int(min(_ITERATIONS, _OPERATIONS / weight.operations))
    if iterations >= _FEWEST_ITERATIONS:
        start = relax(rows, soft, iterations)
    chosen = descend(rows, soft, start)
    if weight.operations <= _PAIR_OPERATIONS:
        chosen = descend_in_pairs(rows, soft, chosen)
    parts = [gram for gram in (moments.fit, moments.held) if gram.any()]
    old = [output_change(rows, nearest, gram) for gram in parts]
    new = [output_change(rows, chosen, gram) for gram in parts]
    better = np.all([after < before for before, after in zip(old, new, strict=True)], axis=0)
    better &= bool(parts)
    integers = layer.weights(np.where(better[..., None], chosen, nearest)).astype(np.int32)
    integers += grid.zero_point
    changed = layer.weights(np.broadcast_to(better[..., None], nearest.shape))
    return _Rounded(
        integers,
        np.where(changed, _values(layer.array, grid, integers), layer.array),
        int(better.sum()),
        float(np.sum(old)),
        float(np.sum(np.where(better, new, old))),
    )


def _rows(layer: Layer, grid: _Grid, nearest: Floats) -> Rows:
    """Free is what case 2 of the module lets move: neither the largest of a scale nor anything that
    would become larger."""
    array, scale = layer.array, grid.scale
    steps = array.astype(np.float64) / scale
    peaks = grid.peaks(array)
    top = np.rint(peaks.astype(np.float64) / scale)
    free = (np.abs(array) < peaks) & (np.ceil(np.abs(steps)) <= top) & (steps != np.rint(steps))
    free &= np.ceil(np.abs(steps)) <= np.abs(grid.integers - grid.zero_point).max(initial=0)
    size = max(float(scale.mean()), float(np.finfo(np.float32).tiny))
    return Rows(
        layer.rows(steps.astype(np.float32)),
        nearest,
        layer.rows(free),
        layer.rows((scale / size).astype(np.float32)),
    )


def _values(array: Floats, grid: _Grid, integers: npt.NDArray[np.int32]) -> Floats:
    """Case 2 of the module."""
    peaks = grid.peaks(array)
    values = np.clip(grid.quantization.dequantize(integers), -peaks, peaks)
    return np.where(np.abs(array) < peaks, values, array).astype(np.float32)


def _softened(gram: Floats) -> Floats:
    """Case 3 of the module."""
    soft = gram * (1 - _SOFTENED)
    index = np.arange(gram.shape[-1])
    soft[:, index, index] = gram[:, index, index]
    return soft
