"""What the QuantizeLinear and DequantizeLinear nodes of a graph mean for TFLite tensors.

A TFLite tensor carries its own scale, so Q and DQ are not operators of their own where
  1. DQ reads a quantized tensor: an integer kernel reads that tensor directly;
  2. every reader of a float value is a Q of the same parameters: the value is *realised* as the
     quantized tensor, and an integer kernel writes it directly;
  3. Relu or Clip is the only reader of a value: it is *absorbed* by the producer as bounds. In
     int8 this is exact, because rounding is monotonous: quantize(clip(x)) = clip(quantize(x)) with
     quantized bounds.
Anything else becomes a QUANTIZE or DEQUANTIZE. uint8 activations become int8 with zero_point - 128,
which stands for the same numbers, and so uint16 becomes int16. 16-bit kernels take zero point 0
only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from edgewise.errors import UnsupportedOperator
from edgewise.graph import TensorQuantization, constant, consumers, node_label, quantization_of
from edgewise.targets.android.builder import Bounds
from edgewise.targets.android.model import INT8, INT16, Array, Quantization

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
#: how an ONNX activation type is stored, and what its zero points lose on the way
_STORED = {"int8": (INT8, 0), "uint8": (INT8, 128), "int16": (INT16, 0), "uint16": (INT16, 32768)}


class QdqPlan:
    """Answers for one prepared model; built once before lowering.

    Attributes:
        stored: DQ output -> the quantized value that it reads.
        parameters: quantized value -> its int8 or int16 parameters.
        realised: float value -> parameters of the quantized tensor that takes its place.
        bounds: node -> bounds of the Relu and Clip nodes that it absorbs.
        absorbed: those Relu and Clip nodes.
        refusals: Q and DQ nodes that TFLite cannot express.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self.stored: dict[ir.Value, ir.Value] = {}
        self.parameters: dict[ir.Value, Quantization] = {}
        self.realised: dict[ir.Value, Quantization] = {}
        self.bounds: dict[ir.Node, Bounds] = {}
        self.absorbed: set[ir.Node] = set()
        self.refusals: list[UnsupportedOperator] = []
        self._results: dict[ir.Node, ir.Value] = {}
        self._owners: dict[ir.Value, ir.Node] = {}
        self._constants: dict[ir.Value, Array | None] = {}
        for node in graph:
            if node.op_type in (QUANTIZE, DEQUANTIZE):
                self._register(node)
        for node in graph:
            self._absorb(node)
        for value in _float_values(graph):
            self._realise(value)

    @property
    def weights_only(self) -> bool:
        """Whether constants may be quantized, but nothing that is computed."""
        return not self.parameters

    def result(self, node: ir.Node, index: int = 0) -> ir.Value:
        """The value that the node computes once what it absorbs is counted in."""
        return self._results.get(node, node.outputs[index]) if index == 0 else node.outputs[index]

    def constant(self, value: ir.Value | None) -> Array | None:
        """The array of a value known now, through Q and DQ; None for a computed or absent one."""
        if value is None:
            return None
        if value not in self._constants:
            self._constants[value] = self._evaluate(value)
        return self._constants[value]

    def quantized_constant(self, value: ir.Value | None) -> tuple[Array, TensorQuantization] | None:
        """Integers and parameters of a constant that reaches its reader through a DQ."""
        node = None if value is None else value.producer()
        if node is None or node.op_type != DEQUANTIZE:
            return None
        integers = self.constant(node.inputs[0])
        return None if integers is None else (integers, quantization_of(node))

    def _evaluate(self, value: ir.Value) -> Array | None:
        array = constant(value)
        node = value.producer()
        if array is not None or node is None:
            return array
        if node.op_type == "ConstantOfShape":
            shape = self.constant(node.inputs[0])
            fill = node.attributes.get("value")
            filling = np.zeros(1, np.float32) if fill is None else fill.as_tensor().numpy()
            return None if shape is None else np.full(shape, filling[0], filling.dtype)
        if node.op_type not in (QUANTIZE, DEQUANTIZE):
            return None
        source = self.constant(node.inputs[0])
        if source is None:
            return None
        quantization = quantization_of(node)
        if node.op_type == DEQUANTIZE:
            return quantization.dequantize(source)
        return _quantize_constant(source, quantization)

    def _register(self, node: ir.Node) -> None:
        data, result = node.inputs[0], node.outputs[0]
        if data is None or self.constant(data) is not None:
            return
        try:
            quantization = _activation_parameters(node)
        except UnsupportedOperator as refusal:
            self.refusals.append(refusal)
            return
        if node.op_type == QUANTIZE:
            self.parameters[result] = quantization
            return
        known = self.parameters.setdefault(data, quantization)
        if not known.same_as(quantization):
            self.refusals.append(
                _refuse(
                    node,
                    "it reads with another scale or zero point than the tensor was written with",
                    "Quantize the model again.",
                )
            )
        self.stored[result] = data

    def _absorb(self, node: ir.Node) -> None:
        bounds = self.bounds_of(node)
        source = node.inputs[0] if node.inputs else None
        producer = None if source is None else source.producer()
        if bounds is None or source is None or producer is None or source.is_graph_output():
            return
        if producer.op_type in (QUANTIZE, DEQUANTIZE) or len(producer.outputs) != 1:
            return
        if producer.graph is not node.graph:  # it runs whether this body does or not
            return
        if len(source.uses()) != 1 or node.outputs[0].dtype != ir.DataType.FLOAT:
            return
        root = self._owners.get(source, producer)
        self.bounds[root] = _compose(self.bounds.get(root, (-math.inf, math.inf)), bounds)
        self._results[root] = node.outputs[0]
        self._owners[node.outputs[0]] = root
        self.absorbed.add(node)

    def bounds_of(self, node: ir.Node) -> Bounds | None:
        """Low and high of a Relu, or of a Clip whose bounds are constants."""
        if node.op_type == "Relu":
            return 0.0, math.inf
        if node.op_type != "Clip":
            return None
        limits = [-math.inf, math.inf]
        for position, value in enumerate(node.inputs[1:3]):
            if value is None:
                continue
            known = self.constant(value)
            if known is None:
                return None
            limits[position] = _open_ended(float(known.reshape(())))
        return limits[0], limits[1]

    def _realise(self, value: ir.Value) -> None:
        readers = consumers(value)
        if not readers or value.is_graph_output():
            return
        if any(node.op_type != QUANTIZE or node.inputs[0] is not value for node in readers):
            return
        found = [self.parameters.get(node.outputs[0]) for node in readers]
        first = found[0]
        if first is not None and all(first.same_as(other) for other in found):
            self.realised[value] = first


def _float_values(graph: ir.Graph) -> Iterable[ir.Value]:
    yield from graph.inputs
    for node in graph:
        yield from node.outputs


def _activation_parameters(node: ir.Node) -> Quantization:
    quantization = quantization_of(node)
    name = quantization.zero_point.dtype.name
    if not quantization.per_tensor:
        raise _refuse(
            node,
            "an activation has one scale per channel or block",
            "Quantize activations per tensor.",
        )
    if name not in _STORED:
        raise _refuse(
            node,
            f"an activation is stored as {name}",
            "Quantize activations to int8 (scheme w8a8) or int16 (w8a16).",
        )
    dtype, shift = _STORED[name]
    zero_point = int(quantization.zero_point) - shift
    if dtype == INT16 and zero_point:
        raise _refuse(
            node,
            "a 16-bit activation has a zero point",
            "Quantize 16-bit activations symmetrically (scheme w8a16).",
        )
    if quantization.scale < np.finfo(np.float32).tiny:
        raise _refuse(
            node,
            f"an activation has the scale {quantization.scale}, less than a normal float32",
            "Quantize again with data for which the tensor is not always (almost) 0.",
        )
    return Quantization.per_tensor(float(quantization.scale), zero_point, dtype)


def _quantize_constant(real: Array, quantization: TensorQuantization) -> Array:
    limits = np.iinfo(quantization.zero_point.dtype)
    shape = [1] * real.ndim
    if quantization.axis is not None:
        shape[quantization.axis] = -1
    scale, zero = quantization.scale.reshape(shape), quantization.zero_point.reshape(shape)
    steps = np.rint(real / scale) + zero.astype(np.float32)
    clipped: Array = np.clip(steps, limits.min, limits.max).astype(limits.dtype)
    return clipped


def _compose(first: Bounds, second: Bounds) -> Bounds:
    """Clamping to `first`, then to `second`, is clamping to the clamped ends of `first`."""
    low, high = (min(max(end, second[0]), second[1]) for end in first)
    return low, high


def _open_ended(limit: float) -> float:
    """The largest float32, which exporters write for "no bound", as infinity."""
    return math.copysign(math.inf, limit) if abs(limit) >= 3.4e38 else limit


def _refuse(node: ir.Node, why: str, remedy: str) -> UnsupportedOperator:
    return UnsupportedOperator(
        node_label(node), node.op_type, target="android", why=why, remedy=remedy
    )
