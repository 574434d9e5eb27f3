"""Relu and Clip after a quantized operator: what becomes of each.

Let y = act(x), where x comes from a quantized operator, has no other reader and is no graph output.

1. Folded, where the scheme folds: Q(act(x)) = Q(x) when every integer of y stands for a value that
   act leaves alone, because QuantizeLinear saturates. The node vanishes and x is not quantized.
   Half a step of slack covers the rounding of the zero point.
2. Fused: the node stays, and the tensor x is not quantized, so that the kernel before it computes
   both. For every operator in `scheme.fused_activations` behind one of `_FUSING`, or behind a
   product with constant weights; a scheme that folds takes only the bounds that its kernels know,
   [0, inf), [0, 6] and [-1, 1].
3. Standing alone otherwise: x and y are both quantized. So it is behind operators that only move
   data or have prescribed outputs, whose output parameters are not free.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from edgewise.calibration.operands import inputs_of_role
from edgewise.calibration.parameters import representable
from edgewise.calibration.placement import Placement, moves_data
from edgewise.calibration.scheme import NumberFormat, QuantParams, Scheme
from edgewise.graph import constant

Bounds = tuple[float, float]

_FOLDABLE = frozenset({"Relu", "Clip"})
#: operators whose kernels can apply an activation before they quantize their output
_FUSING = frozenset({"Add", "Conv", "ConvTranspose", "Gemm", "Mul", "Sub"})
_KERNEL_BOUNDS = frozenset({(0.0, math.inf), (0.0, 6.0), (-1.0, 1.0)})


@dataclass(slots=True)
class ActivationPlan:
    """`folded`: node name -> the bounds that the quantized output must stay in. `vanished` and
    `fused`: names of the tensors before folded and before fused nodes."""

    folded: dict[str, Bounds] = field(default_factory=dict)
    vanished: set[str] = field(default_factory=set)
    fused: set[str] = field(default_factory=set)


def plan_activations(
    model: ir.Model, placement: Placement, parameters: Mapping[str, QuantParams], scheme: Scheme
) -> ActivationPlan:
    """Decide for each placed activation, in graph order."""
    plan = ActivationPlan()
    for node in model.graph:
        if node not in placement or node.op_type not in _FOLDABLE | scheme.fused_activations:
            continue
        producer = _absorbing_producer(node, placement, scheme)
        source, bounds = node.inputs[0], bounds_of(node)
        if producer is None or source is None or source.name is None:
            continue
        carried = plan.folded.get(producer.name or "", (-math.inf, math.inf))
        if scheme.fold_activations and bounds is not None and scheme.activation is not None:
            both = max(bounds[0], carried[0]), min(bounds[1], carried[1])
            output = parameters[node.outputs[0].name or ""]
            if enforces(output, scheme.activation, both):
                plan.folded[node.name or ""] = both
                plan.vanished.add(source.name)
                continue
        if _can_fuse(node, producer, bounds, scheme):
            plan.fused.add(source.name)
    return plan


def bounds_of(node: ir.Node) -> Bounds | None:
    """The interval that Relu or Clip clamps to; None for other nodes and computed bounds."""
    if node.op_type == "Relu":
        return 0.0, math.inf
    if node.op_type != "Clip":
        return None
    limits = [-math.inf, math.inf]
    for index, value in enumerate(node.inputs[1:3]):
        if value is not None:
            array = constant(value)
            if array is None:
                return None
            limits[index] = float(array.reshape(()))
    return limits[0], limits[1]


def enforces(parameters: QuantParams, number: NumberFormat, bounds: Bounds) -> bool:
    """Whether all integers stand for values inside the bounds, to within half a step."""
    whole = representable(parameters, number)
    slack = parameters.scale * 0.501  # scale and product are rounded themselves
    return whole.low >= bounds[0] - slack and whole.high <= bounds[1] + slack


def _absorbing_producer(node: ir.Node, placement: Placement, scheme: Scheme) -> ir.Node | None:
    """The quantized operator before the node, where it is free to choose its output parameters."""
    source = node.inputs[0]
    producer = None if source is None else source.producer()
    if source is None or producer is None or producer not in placement:
        return None
    if len(source.uses()) != 1 or source.is_graph_output():
        return None
    if moves_data(producer, scheme) or producer.op_type in scheme.fixed_outputs:
        return None
    return producer


def _can_fuse(
    node: ir.Node,
    producer: ir.Node,
    bounds: Bounds | None,
    scheme: Scheme,
) -> bool:
    if node.op_type not in scheme.fused_activations:
        return False
    if producer.op_type not in _FUSING and not inputs_of_role(producer, "weight"):
        return False
    return not scheme.fold_activations or bounds is None or bounds in _KERNEL_BOUNDS
