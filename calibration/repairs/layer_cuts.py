"""The layers of a QDQ model side by side, each with inputs of its own.

What a quantized layer does to the float model's activations can then be seen for all layers at
once, without what the layers before it do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir
import onnx_ir.passes.common as common

from edgewise.calibration.repairs.layers import Layer
from edgewise.graph.quantized import DEQUANTIZE


@dataclass(frozen=True, slots=True)
class LayerCuts:
    """`model` has the layers of `layers` alone. `inputs` and `outputs` have its names of tensors
    that the float model knows by the keys."""

    model: ir.Model
    layers: tuple[Layer, ...]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


def cut_layers(quantized: ir.Model, layers: Sequence[Layer], hub: ir.Model) -> LayerCuts:
    """Cut the layers of the hub model out of the QDQ model that was made of it.

    A layer goes back to the tensors of the hub model that it reads, through all that lies between:
    Q and DQ, and what brings an operand to the form that a kernel wants. It ends at the tensor that
    has the name of what it gives; where an activation behind it has taken that in, or the model
    ends there, at what its node gives.
    """
    known = {value.name for value in hub.graph.inputs}
    known |= {value.name for node in hub.graph for value in node.outputs}
    model = ir.from_proto(ir.to_proto(quantized))
    nodes = {node.name: node for node in model.graph}
    made = {value.name: node for node in model.graph for value in node.outputs}
    heads: dict[str, ir.Value] = {}
    kept: list[Layer] = []
    ends: dict[str, ir.Value] = {}
    for layer in layers:
        end = made.get(layer.output.name)
        if end is None or end.op_type == DEQUANTIZE:
            end = nodes.get(layer.holder.name) or nodes.get(layer.node.name)
        if end is None:
            continue
        kept.append(layer)
        ends[layer.output.name or ""] = end.outputs[0]
        _cut(end, layer.node.name, known, heads)
    for number, value in enumerate(ends.values()):
        value.name = f"layer_{number}_gives"
        value.shape = None
    model.graph.inputs[:] = list(heads.values())
    model.graph.outputs[:] = list(ends.values())
    common.RemoveUnusedNodesPass()(model)
    return LayerCuts(
        model,
        tuple(kept),
        {name: value.name or "" for name, value in heads.items()},
        {name: value.name or "" for name, value in ends.items()},
    )


def _cut(
    end: ir.Node, own: str | None, known: Collection[str | None], heads: dict[str, ir.Value]
) -> None:
    """Let everything before `end` read `heads` where it reads tensors of the hub model, but for
    what the layer's `own` node gives."""
    queue, seen = [end], {end}
    while queue:
        node = queue.pop()
        for index, value in enumerate(node.inputs):
            if value is None or value.const_value is not None or value in heads.values():
                continue
            producer = value.producer()
            if value.name in known and (producer is None or producer.name != own):
                name = value.name or ""
                if name not in heads:
                    heads[name] = ir.Value(
                        name=f"layers_read_{len(heads)}", type=value.type, shape=value.shape
                    )
                node.replace_input_with(index, heads[name])
            elif producer is not None and producer not in seen:
                seen.add(producer)
                queue.append(producer)
