"""Second moments of what the weights of a layer are multiplied with.

A layer with constant weights computes, at every position of its output, `y = W x + b` with the row
`x` of what the kernel sees there. A change `dW` of its weights changes the output by

    E |dW x|^2 = tr(dW H dW^T),        H = E[x x^T]

so that the Gram matrix H says all that the data have to say of the weights (Nagel et al. 2020,
arXiv:2004.10568, section 3.3). Where channels are in groups, each group has rows and a Gram matrix
of its own.

| operator | rows (groups, channels, K) | x |
|---|---|---|
| Conv | (g, M/g, C/g * kernel) | the window of the padded input |
| Gemm | (1, N, K) | a row of A |
| MatMul with a constant matrix | (1, N, K) | a vector along the last axis of A |

Inputs x are those of the float model: H then belongs to the layer alone, not to how the layers
before it happen to be quantized, one pass serves all layers, and rounding that was found for one
scheme serves each other with the same weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.data.source import DataSource
from edgewise.graph import OrtSession, attribute, constant, resolve_pads

Floats = npt.NDArray[np.float32]

#: positions of one sample's output that are looked at, spread evenly: neighbours tell little new
_POSITIONS = 64
#: of so many samples, one is held out: what fits the others may fit nothing else
_HELD_OUT = 4
#: bytes of Gram matrices that are gathered in one pass over the data
_PASS_BYTES = 512 * 2**20


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """H of one layer, (groups, K, K), from the samples to fit and from those held out."""

    fit: Floats
    held: Floats


@dataclass(frozen=True, slots=True)
class Layer:
    """A node whose weight is the constant `weight`, and how its rows are laid out."""

    node: ir.Node
    weight: ir.Value
    groups: int
    #: axis of the weight that is the row where it is a matrix; None: of a convolution
    output_axis: int | None

    @property
    def name(self) -> str:
        return self.node.name or ""

    @property
    def source(self) -> str:
        """Name of the tensor that the weight is multiplied with."""
        value = self.node.inputs[0]
        return "" if value is None else value.name or ""

    def like(self, other: Layer) -> bool:
        """Whether both lay their weights out alike."""
        return (self.groups, self.output_axis) == (other.groups, other.output_axis)

    @property
    def row_length(self) -> int:
        """K."""
        array = self.array
        if self.output_axis is not None:
            return int(array.shape[1 - self.output_axis])
        return int(np.prod(array.shape[1:]))

    @property
    def gram_bytes(self) -> int:
        """Of its moments."""
        return 2 * 4 * self.groups * self.row_length**2

    @property
    def array(self) -> Floats:
        """The weight."""
        found = constant(self.weight)
        if found is None:
            raise ValueError(f"'{self.weight.name}' is not constant")
        return found

    def rows(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(groups, channels, K) of an array of the weight's shape."""
        if self.output_axis is not None:
            return (array if self.output_axis == 0 else array.T)[None]
        return array.reshape(self.groups, array.shape[0] // self.groups, -1)

    def weights(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The other way round."""
        if self.output_axis is not None:
            return np.asarray(rows[0] if self.output_axis == 0 else rows[0].T)
        return rows.reshape(self.array.shape)


def layer_of(node: ir.Node) -> Layer | str | None:
    """The layer of a node; why there is none, as far as the node has constant weights at all."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in _OPERATORS:
        return None
    weight = node.inputs[1]
    array = constant(weight)
    if weight is None or array is None or array.dtype != np.float32:
        return None
    if node.op_type == "Conv":
        return Layer(node, weight, int(attribute(node, "group", 1)), None)
    if node.op_type == "ConvTranspose":
        return "its outputs overlap, which has no rows"
    if array.ndim != 2:
        return "its weight is no matrix"
    if node.op_type == "MatMul":
        return Layer(node, weight, 1, 1)
    if attribute(node, "alpha", 1.0) != 1.0:
        return "its weights are stored times alpha"
    return Layer(node, weight, 1, 0 if attribute(node, "transB", 0) else 1)


_OPERATORS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def passes(layers: Sequence[Layer]) -> Iterator[list[Layer]]:
    """The layers in lots whose Gram matrices fit in memory together."""
    lot: list[Layer] = []
    size = 0
    for layer in layers:
        if lot and size + layer.gram_bytes > _PASS_BYTES:
            yield lot
            lot, size = [], 0
        lot.append(layer)
        size += layer.gram_bytes
    if lot:
        yield lot


def gram_matrices(
    model: ir.Model,
    layers: Sequence[Layer],
    source: DataSource,
    *,
    limit: int | None = None,
    threads: int = 1,
) -> dict[str, Moments]:
    """H of every layer by node name, over the first `limit` samples.

    Raises:
        DataError, ModelError: what the source or ONNX Runtime raise.
    """
    inputs = {value.name for value in model.graph.inputs}
    computed = sorted({layer.source for layer in layers} - inputs)
    session = OrtSession(_showing(model, computed), threads=threads, optimize="all")
    sums = {
        layer.name: np.zeros((2, layer.groups, layer.row_length, layer.row_length), np.float32)
        for layer in layers
    }
    counts = {name: np.zeros(2) for name in sums}
    for index, sample in enumerate(islice(source, limit)):
        part = int(index % _HELD_OUT == _HELD_OUT - 1)
        values = {**sample.feeds, **(session.run(sample.feeds, computed) if computed else {})}
        for layer in layers:
            columns = _columns(layer, values[layer.source], index)
            sums[layer.name][part] += columns @ columns.transpose(0, 2, 1)
            counts[layer.name][part] += columns.shape[2]
    for name, total in sums.items():
        total /= np.maximum(counts[name], 1).astype(np.float32)[:, None, None, None]
    return {name: Moments(total[0], total[1]) for name, total in sums.items()}


def _showing(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """A copy with the named tensors among its outputs."""
    copy = ir.from_proto(ir.to_proto(model))
    wanted = set(names) - {value.name for value in copy.graph.outputs}
    copy.graph.outputs.extend(
        value for node in copy.graph for value in node.outputs if value.name in wanted
    )
    return copy


def _columns(layer: Layer, array: Floats, index: int) -> Floats:
    """(groups, K, n): what the weights of the layer meet, at some positions of a sample."""
    if layer.output_axis is None:
        return _windows(layer, array, index)
    flipped = layer.node.op_type == "Gemm" and attribute(layer.node, "transA", 0)
    vectors = array.T if flipped else array.reshape(-1, array.shape[-1])
    return vectors[_spread(len(vectors), index)].T[None]


def _windows(layer: Layer, array: Floats, index: int) -> Floats:
    node, shape = layer.node, layer.array.shape
    kernel, rank = shape[2:], len(shape) - 2
    strides = attribute(node, "strides") or [1] * rank
    dilations = attribute(node, "dilations") or [1] * rank
    begin, end = resolve_pads(node, array.shape[2:], kernel, strides, dilations)
    borders = [(0, 0), (0, 0), *zip(begin, end, strict=True)]
    padded = np.pad(array, borders) if any(begin) or any(end) else array
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    axes = tuple(range(2, 2 + rank))
    view = np.lib.stride_tricks.sliding_window_view(padded, reach, axes)
    view = view[(slice(None), slice(None), *(slice(None, None, step) for step in strides))]
    taps = (slice(None, None, step) for step in dilations)
    view = view[(slice(None),) * (2 + rank) + tuple(taps)]
    positions = view.shape[2 : 2 + rank]
    chosen = np.unravel_index(_spread(int(np.prod(positions)), index), positions)
    some = np.concatenate([sample[(slice(None), *chosen)] for sample in view], axis=1)
    moved = np.moveaxis(some, 1, -1)  # (C, kernel..., n)
    return np.ascontiguousarray(moved.reshape(layer.groups, layer.row_length, -1))


def _spread(count: int, index: int) -> npt.NDArray[np.intp]:
    """Some of `count` positions at equal distances, others for each sample."""
    some = min(count, _POSITIONS)
    start = int(index * count * (5**0.5 - 1) / 2)
    return (np.arange(some) * count // some + start) % count
