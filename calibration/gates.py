"""One model that computes any part of a QDQ model in integers, and the rest in float.

Every pair of Q and DQ, and the quantized constants of every node, get a gate: a boolean input.

    pair:       If(g) { DQ(Q(x)) } else { x }            x clamped where an activation was folded
    constants:  If(g) { node(x, DQ(w), DQ(b)) } else { node(x, w, b) }

so that one session of ONNX Runtime evaluates any subset of layers. `If` computes one side only,
and constants on both sides stay constants, which the runtime packs once; `Where` would compute and
copy both. With all gates closed it is the hub model, with all gates open the QDQ model: bit for bit
where the session neither optimizes nor packs weights, which changes the order of sums.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration.float_side import (
    Folded,
    float_constant,
    folded_activations,
    nodes_by_name,
)
from edgewise.calibration.layers import Layer, constant_pairs, named_copy, quantized_layers
from edgewise.calibration.operands import BIASED_OPS
from edgewise.calibration.scheme import Scheme
from edgewise.errors import ModelError
from edgewise.graph import TensorQuantization, add_initializer, constant, quantization_of
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE
from edgewise.graph.write import names_of_values

_WEIGHTED_OPS = BIASED_OPS | {"MatMul"}
Feeds = dict[str, npt.NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class GatedModel:
    """A model with one more boolean scalar input per gate, and what the gates are.

    `pairs` and `constants` lead from the name of a tensor (what QuantizeLinear reads) and of a node
    with quantized constants to the gate's input; `values` from the tensor to the value behind its
    gate, `quantizations` to its scale and zero point. `stuck` names nodes with quantized constants
    that the hub model does not have, and that have no gate therefore.
    """

    model: ir.Model
    layers: tuple[Layer, ...]
    pairs: Mapping[str, str]
    constants: Mapping[str, str]
    values: Mapping[str, str]
    quantizations: Mapping[str, TensorQuantization]
    stuck: tuple[str, ...]

    def feeds(self, layers: Collection[str]) -> Feeds:
        """The gates' inputs for these layers in integers, all others in float."""
        wanted = [layer for layer in self.layers if layer.name in layers]
        return self.gates(
            {name for layer in wanted for name in layer.pairs},
            {name for layer in wanted for name in layer.constants},
        )

    def gates(self, pairs: Collection[str], constants: Collection[str]) -> Feeds:
        """The gates' inputs for these tensors and the constants of these nodes in integers."""
        opened = {gate: np.array(name in pairs) for name, gate in self.pairs.items()}
        return opened | {gate: np.array(name in constants) for name, gate in self.constants.items()}

    def all_open(self) -> Feeds:
        """The gates' inputs for the whole QDQ model."""
        return self.gates(self.pairs, self.constants)


def with_gates(
    hub: ir.Model, qdq: ir.Model, scheme: Scheme, exclude: Collection[str] = ()
) -> GatedModel:
    """The gated model of a QDQ model.

    Args:
        hub: the float model that `qdq` was made from, repairs included; never changed.
        qdq: of `quantize_for` with this scheme; never changed.
        exclude: the hub model's nodes that were left in float.

    Raises:
        ModelError: parameters of a pair are not constants, or the weights are not those of `hub`.
    """
    hub, model = named_copy(hub), named_copy(qdq)
    layers = quantized_layers(hub, model, scheme, exclude)
    gating = _Gating(hub, model)
    # constants first: which they are is seen by what follows their node
    for node in list(model.graph):
        if node.op_type not in (QUANTIZE, DEQUANTIZE) and any(constant_pairs(node)):
            gating.constants_of(node)
    for node in list(model.graph):
        if node.op_type == QUANTIZE:
            gating.pair(node)
    gating.remove_unused()
    folded = gating.folded
    return GatedModel(
        model,
        tuple(_with_folded(layer, folded) for layer in layers),
        gating.pairs,
        gating.constants,
        {tensor: value.name or "" for tensor, value in gating.values.items()},
        gating.quantizations,
        tuple(gating.stuck),
    )


def _with_folded(layer: Layer, folded: Mapping[str, Folded]) -> Layer:
    """The layer, with the hub model's nodes that were folded into it."""
    more = [name for node in layer.nodes if node in folded for name in folded[node].nodes]
    nodes = tuple(dict.fromkeys((*layer.nodes, *more)))
    return Layer(layer.name, layer.op_type, nodes, layer.pairs, layer.constants)


class _Gating:
    """Puts gates into a model in place."""

    def __init__(self, hub: ir.Model, model: ir.Model) -> None:
        self.graph = model.graph
        self.folded = folded_activations(hub, model)
        self.pairs: dict[str, str] = {}
        self.constants: dict[str, str] = {}
        self.values: dict[str, ir.Value] = {}
        self.quantizations: dict[str, TensorQuantization] = {}
        self.stuck: list[str] = []
        self._hub = nodes_by_name(hub)
        self._taken = names_of_values(model.graph)

    def pair(self, quantize: ir.Node) -> None:
        source = quantize.inputs[0]
        dequantizes = [use.node for use in quantize.outputs[0].uses()]
        if source is None or any(node.op_type != DEQUANTIZE for node in dequantizes):
            return
        gate = self._gate(f"gate:{source.name}")
        self.pairs[source.name or ""] = gate.name or ""
        for dequantize in dequantizes:
            result = dequantize.outputs[0]
            stored = _node(QUANTIZE, quantize, quantize.inputs, self._name(f"{gate.name}/q"))
            parameters = [stored.outputs[0], *dequantize.inputs[1:]]
            real = _node(DEQUANTIZE, dequantize, parameters, self._name(f"{gate.name}/dq"))
            other = self._float_side(source, gate)
            chosen = self._choose(dequantize, gate, [stored, real], other, result)
            self.values[source.name or ""] = chosen
            self.quantizations[source.name or ""] = quantization_of(quantize)

    def _float_side(self, source: ir.Value, gate: ir.Value) -> list[ir.Node]:
        producer = source.producer()
        folded = None if producer is None else self.folded.get(producer.name or "")
        if folded is None:
            return [_new("Identity", [source], self._name(f"{gate.name}/float"))]
        limits = [
            None if np.isinf(bound) else self._initializer(f"{gate.name}/{end}", np.float32(bound))
            for bound, end in zip(folded.bounds, ("low", "high"), strict=True)
        ]
        return [_new("Clip", [source, *limits], self._name(f"{gate.name}/float"))]

    def constants_of(self, node: ir.Node) -> None:
        sides: list[list[ir.Value | None]] = [list(node.inputs), list(node.inputs)]
        for index, dequantize in constant_pairs(node):
            stored, quantization = constant(dequantize.inputs[0]), quantization_of(dequantize)
            if stored is None:
                continue
            array = float_constant(self._hub, node, index, stored, quantization)
            if array is None:
                self.stuck.append(node.name or "")
                return
            restored = quantization.dequantize(stored)
            if node.op_type in _WEIGHTED_OPS and index == 1:
                _check_same(node, array, restored, quantization)
            name = f"{node.name}/{index}"
            sides[0][index] = self._initializer(f"{name}/dq", restored)
            sides[1][index] = self._initializer(f"{name}/float", array)
        gate = self._gate(f"gate:{node.name}/constants")
        self.constants[node.name or ""] = gate.name or ""
        integer, real = (
            _node(node.op_type, node, inputs, self._name(f"{gate.name}/{end}"))
            for inputs, end in zip(sides, ("dq", "float"), strict=True)
        )
        self._choose(node, gate, [integer], [real], node.outputs[0])

    def _choose(
        self,
        old: ir.Node,
        gate: ir.Value,
        then: list[ir.Node],
        otherwise: list[ir.Node],
        result: ir.Value,
    ) -> ir.Value:
        """`If` in the place of a node; what the last node of each side gives is its result."""
        sides = {
            name: ir.AttrGraph(
                name, ir.Graph([], [_typed(nodes[-1].outputs[0], result)], nodes=nodes, name=name)
            )
            for name, nodes in (("then_branch", then), ("else_branch", otherwise))
        }
        choice = ir.Node("", "If", [gate], list(sides.values()), name=old.name)
        output = _typed(choice.outputs[0], result)
        self.graph.insert_before(old, choice)
        ir.convenience.replace_all_uses_with(result, output, replace_graph_outputs=True)
        output.name, result.name = result.name, None
        self.graph.remove(old, safe=True)
        return output

    def remove_unused(self) -> None:
        """The integer side of the constants, and what the pairs were before."""
        for node in reversed(list(self.graph)):
            result = node.outputs[0]
            if node.op_type in (QUANTIZE, DEQUANTIZE) and not (
                result.uses() or result.is_graph_output()
            ):
                self.graph.remove(node, safe=True)

    def _gate(self, name: str) -> ir.Value:
        gate = ir.Value(
            name=self._name(name), shape=ir.Shape([]), type=ir.TensorType(ir.DataType.BOOL)
        )
        self.graph.inputs.append(gate)
        return gate

    def _initializer(self, name: str, array: Any) -> ir.Value:
        return add_initializer(self.graph, name, array, self._taken)

    def _name(self, name: str) -> str:
        unique, count = name, 1
        while unique in self._taken:
            unique, count = f"{name}_{count}", count + 1
        self._taken.add(unique)
        return unique


def _check_same(
    node: ir.Node,
    real: npt.NDArray[Any],
    restored: npt.NDArray[Any],
    quantization: TensorQuantization,
) -> None:
    """Raises ModelError where most weights are more than the largest step off: rounding, in
    whatever way, leaves them within one."""
    if np.median(np.abs(real - restored)) > float(quantization.scale.max()):
        raise ModelError(
            "the quantized model was made from another model",
            where=f"node '{node.name}'",
            why="its weights are not those of the hub model",
            remedy="Quantize the hub model again.",
        )


def _node(op_type: str, like: ir.Node, inputs: Any, output: str) -> ir.Node:
    node = ir.Node(like.domain, op_type, list(inputs), list(like.attributes.values()))
    node.outputs[0].name = output
    return node


def _new(op_type: str, inputs: list[ir.Value | None], output: str) -> ir.Node:
    node = ir.node(op_type, inputs)
    node.outputs[0].name = output
    return node


def _typed(value: ir.Value, like: ir.Value) -> ir.Value:
    value.type, value.shape = like.type, like.shape
    return value
