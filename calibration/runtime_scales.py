"""A QDQ model whose activations are quantized as its inputs say.

Scale and zero point of QuantizeLinear and DequantizeLinear become inputs of the graph, one pair for
each group of tensors that share them, so that one session evaluates any ranges; quantized constants
become the floats that they stand for. With the parameters of the QDQ model it computes what that
does, bit for bit, in a session that does not optimize: ONNX Runtime's optimizer takes a float
weight between DequantizeLinear and QuantizeLinear for one to be quantized, and gives it a scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration.placement import moves_data
from edgewise.calibration.scheme import QuantParams, Scheme
from edgewise.calibration.union_find import UnionFind
from edgewise.graph import add_initializer, constant, quantization_of
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE
from edgewise.graph.write import names_of_values

Feeds = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Group:
    """Tensors that carry one scale and zero point, which are inputs of the model."""

    tensors: tuple[str, ...]
    parameters: QuantParams
    dtype: str

    @property
    def inputs(self) -> tuple[str, str]:
        """Names of the model's inputs for scale and zero point."""
        return f"scale:{self.tensors[0]}", f"zero_point:{self.tensors[0]}"

    def feeds(self, parameters: QuantParams) -> Feeds:
        """Those inputs."""
        scale, zero = self.inputs
        return {
            scale: np.array(parameters.scale, np.float32),
            zero: np.array(parameters.zero_point, self.dtype),
        }


@dataclass(frozen=True, slots=True)
class AdjustableModel:
    """The model and its groups; `values` leads from a quantized tensor to what its readers see.

    Pairs that are tied to a constant, or that differ from what they are tied to, keep their
    parameters and are in no group.
    """

    model: ir.Model
    groups: tuple[Group, ...]
    values: Mapping[str, str]

    def feeds(self) -> Feeds:
        """The inputs with which it is the QDQ model."""
        return {
            name: array
            for group in self.groups
            for name, array in group.feeds(group.parameters).items()
        }


def with_runtime_scales(qdq: ir.Model, scheme: Scheme) -> AdjustableModel:
    """The adjustable model of a QDQ model, which is never changed."""
    model = ir.from_proto(ir.to_proto(qdq))
    pairs = {name: node for node in model.graph if (name := _quantized_tensor(node))}
    ties = _ties(model, pairs, scheme)
    _constants_to_float(model.graph)
    groups = []
    for tensors in ties.groups().values():
        if _CONSTANT not in tensors and (group := _group(tensors, pairs)):
            quantizes = [pairs[name] for name in tensors]
            _connect(model.graph, group, [*quantizes, *_readers(quantizes)])
            groups.append(group)
    values = {
        name: reader.outputs[0].name or ""
        for name, node in pairs.items()
        for reader in _readers([node])[:1]
    }
    return AdjustableModel(model, tuple(groups), values)


#: stands for all constants among the tensors
_CONSTANT = ""


def _quantized_tensor(node: ir.Node) -> str | None:
    """The name that the hub model has for what a QuantizeLinear reads, for computed tensors: an
    output's own name belongs to the end of its DequantizeLinear."""
    source = node.inputs[0] if node.op_type == QUANTIZE else None
    if source is None or constant(source) is not None:
        return None
    for reader in _readers([node]):
        if reader.outputs[0].is_graph_output():
            return reader.outputs[0].name
    return source.name


def _readers(quantizes: list[ir.Node]) -> list[ir.Node]:
    return [use.node for node in quantizes for use in node.outputs[0].uses()]


def _ties(model: ir.Model, pairs: Mapping[str, ir.Node], scheme: Scheme) -> UnionFind:
    """Data movers tie what they read and write together."""
    ties = UnionFind()
    for name in pairs:
        ties.find(name)
    for node in model.graph:
        if node.op_type in (QUANTIZE, DEQUANTIZE) or not moves_data(node, scheme):
            continue
        read = [_read(value) for value in node.inputs]
        tied = [name for name in read if name is not None]
        readers = [use.node for value in node.outputs for use in value.uses()]
        written = [_quantized_tensor(reader) for reader in readers]
        tied += [name for name in written if name is not None]
        ties.unite(tied)
    return ties


def _read(value: ir.Value | None) -> str | None:
    """The tensor behind the DequantizeLinear that gives the value."""
    producer = None if value is None else value.producer()
    if producer is None or producer.op_type != DEQUANTIZE or producer.inputs[0] is None:
        return None
    quantize = producer.inputs[0].producer()
    return _CONSTANT if quantize is None else _quantized_tensor(quantize) or _CONSTANT


def _group(tensors: list[str], pairs: Mapping[str, ir.Node]) -> Group | None:
    nodes = [pairs[name] for name in tensors]
    found = [quantization_of(node) for node in nodes]
    first = found[0]
    if not first.per_tensor or not all(first.same_as(other) for other in found):
        return None
    readers = _readers(nodes)
    if any(node.op_type != DEQUANTIZE for node in readers):
        return None  # an output of the graph that stays quantized
    parameters = QuantParams(float(first.scale), int(first.zero_point))
    return Group(tuple(tensors), parameters, first.zero_point.dtype.name)


def _connect(graph: ir.Graph, group: Group, nodes: list[ir.Node]) -> None:
    """Let the nodes read scale and zero point from new inputs of the graph."""
    for index, (name, array) in enumerate(group.feeds(group.parameters).items(), start=1):
        kind = ir.TensorType(ir.tensor(array).dtype)
        value = ir.Value(name=name, type=kind, shape=ir.Shape([]))
        graph.inputs.append(value)
        for node in nodes:
            node.replace_input_with(index, value)


def _constants_to_float(graph: ir.Graph) -> None:
    taken = names_of_values(graph)
    for node in list(graph):
        stored = constant(node.inputs[0]) if node.op_type == DEQUANTIZE else None
        if stored is None:
            continue
        array = quantization_of(node).dequantize(stored)
        real = add_initializer(graph, f"{node.outputs[0].name}/float", array, taken)
        ir.convenience.replace_all_uses_with(node.outputs[0], real, replace_graph_outputs=True)
        graph.remove(node, safe=True)
