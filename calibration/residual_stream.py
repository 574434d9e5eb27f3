"""The residual stream of transformers: its sums stay in float, and what joins them keeps its bits.

A transformer block computes `h + f(norm(h))` or `norm(h + f(h))`: the sums run beside
normalizations, which have no integer form, and a few channels of them are tens of times wider than
the others ("LLM.int8()", Dettmers et al. 2022, arXiv:2208.07339, section 4; Bondarenko et al. 2021,
arXiv:2109.12948, section 3). One scale for all channels would leave the others a few integers, and
the normalization then divides by what the wide channels weigh.

1. A residual sum is an Add of two tensors, none of which is the bias of a layer, that is read by
   normalizations and other residual sums alone. Integers would gain nothing there: what it reads
   from and what it hands on is float.
2. A linear layer y = x W + b that only residual sums read is still computed in integers. Where one
   scale would leave the middle channel less than `_LEAST_STEPS` integers, the layer computes each
   channel in its own unit, and a multiplication in float undoes it:

       y = s * y',   y' = x (W / s) + b / s,   s_c = 2^ceil(log2(range(y_c) / range(y)))

   Powers of two are exact, so that float results stay, bit for bit but for denormals; weights with
   a scale per output channel keep their integers. All channels of y' are of like width.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration.operands import UNQUANTIZABLE_OPS, is_float
from edgewise.calibration.ranges import Range
from edgewise.calibration.scheme import QMAX, QMIN, Scheme
from edgewise.calibration.statistics import Statistics
from edgewise.calibration.tensor_statistics import TensorStatistics
from edgewise.findings import Finding
from edgewise.graph import add_initializer, attribute, constant, consumers, node_label
from edgewise.graph.joined_bias import linear_layer

Array = npt.NDArray[np.float32]

_NORMALIZATIONS = frozenset(op for op in UNQUANTIZABLE_OPS if op.endswith("Normalization"))
#: of 256: below, rounding is the better part of what a channel holds
_LEAST_STEPS = 32.0
#: channels narrower than this share of the widest are not widened further
_SMALLEST_EXPONENT = -14


def residual_sums(model: ir.Model) -> frozenset[str]:
    """Case 1: the names of the Adds, all nodes having unique names."""
    sums = {node: consumers(node.outputs[0]) for node in model.graph if _adds_two(node)}
    while True:
        kept = {
            node: readers
            for node, readers in sums.items()
            if readers and all(r in sums or r.op_type in _NORMALIZATIONS for r in readers)
        }
        if len(kept) == len(sums):
            return frozenset(node.name or "" for node in kept)
        sums = kept


def _adds_two(node: ir.Node) -> bool:
    if node.op_type != "Add" or node.domain not in ("", "ai.onnx"):
        return False
    return all(is_float(value) and not _is_vector(value) for value in node.inputs)


def _is_vector(value: ir.Value | None) -> bool:
    """Whether it is a constant with at most one axis: the bias of a layer."""
    array = constant(value)
    return array is not None and array.size == (array.shape[-1] if array.ndim else 1)


@dataclass(frozen=True, slots=True)
class Scaled:
    """Ranges of the tensors y', by name; the names of the multiplications that give y, which stay
    in float; a finding for each layer."""

    ranges: dict[str, Range]
    undone: frozenset[str]
    findings: tuple[Finding, ...]


def scale_stretched_outputs(
    model: ir.Model,
    statistics: Statistics,
    scheme: Scheme,
    sums: Collection[str],
    exclude: Collection[str],
) -> Scaled:
    """Case 2, in place; layers with a node in `exclude` stay."""
    ranges: dict[str, Range] = {}
    undone: set[str] = set()
    findings: list[Finding] = []
    number, weight = scheme.activation, scheme.weight
    if number is None or weight is None or weight.granularity != "per_channel":
        return Scaled(ranges, frozenset(), ())
    steps = QMAX[number.dtype] - QMIN[number.dtype]
    for node in list(model.graph):
        layer = _layer(node, sums)
        if layer is None or {layer.product.name, layer.last.name} & set(exclude):
            continue
        output = layer.last.outputs[0].name or ""
        observed = statistics.tensors.get(output)
        widths = None if observed is None else _widths(observed)
        if observed is None or widths is None or widths.size != layer.channels:
            continue
        middle = steps * float(np.median(widths)) / float(widths.max())
        if middle >= _LEAST_STEPS:
            continue
        scales = _powers_of_two(widths)
        product = statistics.tensors.get(layer.product.outputs[0].name or "")
        undone.add(_rewrite(model.graph, layer, scales))
        ranges[layer.last.outputs[0].name or ""] = _range(observed, scales)
        if layer.last is not layer.product and product is not None:
            ranges[layer.product.outputs[0].name or ""] = _range(product, scales)
        findings.append(_finding(layer.last, middle, steps + 1))
    return Scaled(ranges, frozenset(undone), tuple(findings))


@dataclass(frozen=True, slots=True)
class _Layer:
    """`last` is the node that gives y: the product, or the addition of the bias behind it."""

    product: ir.Node
    last: ir.Node
    matrix: Array
    #: of `matrix`, where the output channels lie
    axis: int
    bias: Array | None

    @property
    def channels(self) -> int:
        return int(self.matrix.shape[self.axis])


def _layer(node: ir.Node, sums: Collection[str]) -> _Layer | None:
    """The layer of a product that only residual sums read."""
    last, bias = node, None
    if (joined := linear_layer(node)) is not None:
        last, bias = joined.add, joined.bias
    elif node.op_type not in ("Gemm", "MatMul") or node.domain not in ("", "ai.onnx"):
        return None
    matrix = constant(node.inputs[1])
    if matrix is None or matrix.ndim != 2 or not is_float(node.inputs[1]):
        return None
    readers = consumers(last.outputs[0])
    if last.outputs[0].is_graph_output() or not readers:
        return None
    if any(reader.name not in sums for reader in readers):
        return None
    axis = 0 if node.op_type == "Gemm" and attribute(node, "transB", 0) else 1
    if node.op_type == "Gemm" and len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = constant(node.inputs[2])
        if bias is None or bias.size not in (1, matrix.shape[axis]):
            return None
    return _Layer(node, last, matrix, axis, bias)


def _widths(observed: TensorStatistics) -> npt.NDArray[np.float64] | None:
    """Of each channel's range, which holds zero; None where channels or values are missing."""
    low, high = observed.channel_minimum, observed.channel_maximum
    if low is None or high is None:
        return None
    widths = np.maximum(high, 0.0).astype(np.float64) - np.minimum(low, 0.0)
    return widths if widths.max(initial=0.0) > 0.0 else None


def _powers_of_two(widths: npt.NDArray[np.float64]) -> Array:
    """Case 2's s; 1 for a channel of only zeros, of which nothing is known."""
    shares = np.where(widths > 0.0, widths, widths.max()) / widths.max()
    exponents = np.clip(np.ceil(np.log2(shares)), _SMALLEST_EXPONENT, 0)
    return np.asarray(np.exp2(exponents), np.float32)


def _range(observed: TensorStatistics, scales: Array) -> Range:
    low, high = observed.channel_minimum, observed.channel_maximum
    if low is None or high is None:
        raise ValueError("the tensor has no channels")
    return Range.around_zero(float((low / scales).min()), float((high / scales).max()))


def _rewrite(graph: ir.Graph, layer: _Layer, scales: Array) -> str:
    """Give the layer its units, and the name of the multiplication that gives y."""
    y = layer.last.outputs[0]
    product, name = layer.product, y.name or ""
    spread = scales[:, None] if layer.axis == 0 else scales
    units = add_initializer(graph, f"{name}_units", scales)
    weight = add_initializer(graph, f"{name}_weight_in_units", layer.matrix / spread)
    product.replace_input_with(1, weight)
    if layer.bias is not None:
        bias = np.broadcast_to(layer.bias.reshape(-1), scales.shape) / scales
        stored = add_initializer(graph, f"{name}_bias_in_units", bias.astype(np.float32))
        if layer.last is product:
            product.replace_input_with(2, stored)
        else:
            slot = 1 if layer.last.inputs[0] is product.outputs[0] else 0
            layer.last.replace_input_with(slot, stored)
    undo = ir.node("Mul", [y, units], name=f"{layer.last.name}_from_units")
    undo.outputs[0].type, undo.outputs[0].shape = y.type, y.shape
    graph.insert_after(layer.last, undo)
    for reader in consumers(y):
        for slot, value in enumerate(reader.inputs):
            if value is y and reader is not undo:
                reader.replace_input_with(slot, undo.outputs[0])
    y.name, undo.outputs[0].name = f"{name}_in_units", name
    if layer.last is not product:  # observed in other units
        product.outputs[0].name = f"{product.outputs[0].name}_in_units"
    return undo.name or ""


def _finding(node: ir.Node, middle: float, count: int) -> Finding:
    return Finding(
        rule="calibration/stretched-range",
        severity="info",
        message=f"a few wide channels would leave the middle one {middle:.0f} of {count} integers: "
        "each channel is computed in its own unit, which a multiplication in float undoes",
        node=node_label(node),
    )
