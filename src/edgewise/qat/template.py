"""What a QDQ model says of its quantizers: which share a scale, which scales are prescribed, and
which constants are weights and biases.

The QDQ model is the one that calibration makes for the target, so that every rule of its scheme
holds: where Q and DQ stand, what is tied together, which activations are fused or folded. Training
changes numbers only, so that the rules hold afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration import Scheme
from edgewise.calibration.runtime_scales import with_runtime_scales
from edgewise.graph import TensorQuantization, constant, quantization_of
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE

Floats = npt.NDArray[np.float32]
#: operators whose input 1 is trained, and input 2 where they have a bias
_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_SUFFIX = "_quantized"


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Activations with one scale; `learned` unless the target prescribes it.

    `ceiling` is the scale with which the integers end where a Clip does: beyond, the Clip would
    have to be computed by itself where the target folds it into the range.
    """

    quantization: TensorQuantization
    learned: bool
    ceiling: float = math.inf


@dataclass(frozen=True, slots=True, eq=False)
class Weight:
    """A stored weight: its float values and how it is stored."""

    values: Floats
    quantization: TensorQuantization


@dataclass(frozen=True, slots=True, eq=False)
class Bias:
    """A bias stored with the product of two scales: the group of the layer's input, and the node
    that dequantizes its weight."""

    values: Floats
    group: str
    weight: str


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """A QDQ model and its quantizers. Nodes are known by the name of their first output.

    Attributes:
        groups: by key.
        pairs: the group of each QuantizeLinear of an activation.
        weights, biases: by the DequantizeLinear that gives them.
        vectors: float constants that layers in float train, by name.
    """

    model: ir.Model
    scheme: Scheme
    groups: Mapping[str, Group]
    pairs: Mapping[str, str]
    weights: Mapping[str, Weight]
    biases: Mapping[str, Bias]
    vectors: Mapping[str, Floats]


def read_template(qdq: ir.Model, hub: ir.Model, scheme: Scheme) -> Template:
    """The quantizers of the QDQ model that calibration made of a hub model, whose weights have
    not been rounded yet."""
    pairs, groups = _activations(qdq, scheme)
    weights: dict[str, Weight] = {}
    biases: dict[str, Bias] = {}
    for node in qdq.graph:
        stored = constant(node.inputs[0]) if node.op_type == DEQUANTIZE else None
        if stored is None:
            continue
        found = quantization_of(node)
        layer, slot = _reader(node)
        key = node.outputs[0].name or ""
        if layer is None or found.block_size:
            continue
        if slot == 2 and stored.dtype == np.int32:
            source, weight = (_name_of_producer(layer.inputs[i]) for i in (0, 1))
            if source in pairs:
                values = _unrounded(hub, node, stored, found)
                biases[key] = Bias(values, pairs[source], weight)
        elif stored.dtype.itemsize == 1 and slot in (0, 1):
            weights[key] = Weight(_unrounded(hub, node, stored, found), found)
    biases = {key: bias for key, bias in biases.items() if bias.weight in weights}
    return Template(qdq, scheme, groups, pairs, weights, biases, _vectors(qdq))


def _activations(qdq: ir.Model, scheme: Scheme) -> tuple[dict[str, str], dict[str, Group]]:
    """Group by QuantizeLinear, and the groups. What is tied to a constant keeps its scale."""
    adjustable = with_runtime_scales(qdq, scheme).model
    inputs = {value.name for value in adjustable.graph.inputs}
    tied = {
        node.outputs[0].name: scale
        for node in adjustable.graph
        if node.op_type == QUANTIZE and (scale := _scale_name(node)) in inputs
    }
    pairs: dict[str, str] = {}
    groups: dict[str, Group] = {}
    for node in qdq.graph:
        if node.op_type != QUANTIZE:
            continue
        name = node.outputs[0].name or ""
        key = tied.get(name, name)
        pairs[name] = key
        source = node.inputs[0]
        maker = None if source is None else source.producer()
        fixed = maker is not None and maker.op_type in scheme.fixed_outputs
        learned = name in tied and not fixed and (key not in groups or groups[key].learned)
        found = quantization_of(node)
        ceiling = min(_ceiling(maker, found), groups[key].ceiling if key in groups else math.inf)
        groups[key] = Group(found, learned, ceiling)
    return pairs, groups


def _ceiling(maker: ir.Node | None, found: TensorQuantization) -> float:
    """Infinite without a Clip, or where the integers go on below zero."""
    limits = np.iinfo(found.zero_point.dtype)
    if maker is None or maker.op_type != "Clip" or int(found.zero_point) != limits.min:
        return math.inf
    high = constant(maker.inputs[2]) if len(maker.inputs) > 2 else None
    return math.inf if high is None else float(high.reshape(())) / (limits.max - limits.min)


def _scale_name(node: ir.Node) -> str:
    scale = node.inputs[1]
    return "" if scale is None else scale.name or ""


def _reader(node: ir.Node) -> tuple[ir.Node | None, int]:
    """The layer that reads a constant, and in which place."""
    for use in node.outputs[0].uses():
        if use.node.op_type in _LAYERS:
            return use.node, use.idx
    return None, 0


def _name_of_producer(value: ir.Value | None) -> str:
    """Of the QuantizeLinear behind an activation; of the DequantizeLinear of a weight."""
    producer = None if value is None else value.producer()
    if producer is None or producer.op_type != DEQUANTIZE or producer.inputs[0] is None:
        return ""
    quantize = producer.inputs[0].producer()
    return (producer if quantize is None else quantize).outputs[0].name or ""


def _unrounded(
    hub: ir.Model, node: ir.Node, stored: npt.NDArray[Any], found: TensorQuantization
) -> Floats:
    """The float values that were rounded to these integers; what the integers stand for where the
    hub model has none of that name, or others."""
    rounded = found.dequantize(stored)
    name = (node.inputs[0].name or "").removesuffix(_SUFFIX) if node.inputs[0] else ""
    array = constant(hub.graph.initializers.get(name))
    if array is None or array.shape != rounded.shape or array.dtype != np.float32:
        return rounded
    apart = found.quantize(array).astype(np.int64) - stored.astype(np.int64)
    return array if np.abs(apart).max(initial=0) <= 1 else rounded


def _vectors(qdq: ir.Model) -> dict[str, Floats]:
    """Weights and biases of layers in float, and of normalizations."""
    found: dict[str, Floats] = {}
    for node in qdq.graph:
        if node.op_type not in _LAYERS | {"LayerNormalization"}:
            continue
        for value in node.inputs[1:]:
            array = constant(value)
            if value is not None and array is not None and array.dtype == np.float32:
                found[value.name or ""] = array
    return found
