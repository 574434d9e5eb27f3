"""Tensors of more than five axes, which Core ML has not, removed from a model.

Each node that reads or makes one is written with fewer axes between two reshapes (`collapse`); then
every such tensor stands between two reshapes, which are joined to one. Inputs and outputs of the
model are held in the file with their last axes merged into the fifth.

A node for which there is no rule stays, and is refused where it is lowered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from edgewise.graph import constant, consumers, static_shape
from edgewise.graph.expand import CannotExpand, expand
from edgewise.graph.prepare import settle
from edgewise.targets.apple.collapse import (
    MAX_RANK,
    Rule,
    along_axis,
    concat,
    elementwise,
    expand_to,
    flattened,
    from_axis,
    gather,
    matmul,
    one_hot,
    pad,
    per_channel,
    quantization,
    reduction,
    reshape,
    running,
    slices,
    tile,
    transpose,
)
from edgewise.targets.apple.collapse_indices import (
    gather_elements,
    gather_nd,
    scatter_elements,
    scatter_nd,
)

_ELEMENTWISE = (
    "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BitCast", "BitShift",
    "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Cast", "Ceil", "Celu", "Cos", "Cosh",
    "Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual",
    "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Less", "LessOrEqual",
    "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow",
    "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus",
    "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Where", "Xor",
)  # fmt: skip
_REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
_RULES: dict[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE, elementwise),
    **dict.fromkeys(_REDUCTIONS, reduction),
    **dict.fromkeys(("Clip", "Dropout"), flattened),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), reshape),
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization", "LRN"), per_channel),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "ReverseSequence"), per_channel),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), from_axis),
    **dict.fromkeys(("ArgMax", "ArgMin", "Split"), along_axis(0)),
    **dict.fromkeys(("Hardmax", "LogSoftmax", "LpNormalization", "Softmax"), along_axis(-1)),
    **dict.fromkeys(("CumProd", "CumSum"), running),
    **dict.fromkeys(("DequantizeLinear", "QuantizeLinear"), quantization),
    "Concat": concat,
    "Expand": expand_to,
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "MatMul": matmul,
    "OneHot": one_hot,
    "Pad": pad,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "Slice": slices,
    "Tile": tile,
    "TopK": along_axis(-1),
    "Transpose": transpose,
}
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Limited:
    """Whether anything was changed; the shapes that inputs and outputs of the model had, by name,
    of those whose shape was; and the nodes that are left as they were, with the reason."""

    changed: bool
    shapes: Mapping[str, Shape]
    declined: Mapping[ir.Node, CannotExpand]


def limit_rank(model: ir.Model) -> Limited:
    """Rewrite the model in place."""
    inner = (value for node in model.graph.all_nodes() for value in _values(node))
    if not any(map(_is_deep, (*model.graph.inputs, *inner))):
        return Limited(False, {}, {})
    declined = expand(model, _is_unfinished, by_body=False, table=_RULES)
    _join_reshapes(model.graph)
    shapes = _merge_ports(model.graph)
    settle(model)
    return Limited(True, shapes, declined)


def _values(node: ir.Node) -> list[ir.Value]:
    return [value for value in (*node.inputs, *node.outputs) if value is not None]


def _is_deep(value: ir.Value) -> bool:
    return value.shape is not None and len(value.shape) > MAX_RANK


def _is_unfinished(node: ir.Node) -> bool:
    return any(_is_deep(value) for value in _values(node)) and not _is_written_out(node)


def _is_written_out(node: ir.Node) -> bool:
    """A reshape to sizes that do not depend on the shape before it."""
    sizes = constant(node.inputs[1]) if node.op_type == "Reshape" else None
    return sizes is not None and bool((sizes > 0).all())


def _join_reshapes(graph: ir.Graph) -> None:
    """`Reshape(Reshape(x, any), sizes) = Reshape(x, sizes)`"""
    for node in graph.all_nodes():
        before = node.inputs[0].producer() if node.inputs and node.inputs[0] else None
        if before is None or before.op_type != "Reshape" or not _is_written_out(node):
            continue
        if _is_deep(before.outputs[0]):
            node.replace_input_with(0, before.inputs[0])


def _merge_ports(graph: ir.Graph) -> dict[str, Shape]:
    """The shapes, by name, that those inputs and outputs had whose every reader is a reshape."""
    shapes: dict[str, Shape] = {}
    for value in dict.fromkeys((*graph.inputs, *graph.outputs)):
        producer = value.producer()
        made = value.is_graph_input() or (producer is not None and _is_written_out(producer))
        if not _is_deep(value) or not made or not all(map(_is_written_out, consumers(value))):
            continue
        shape = static_shape(value)
        merged = [*shape[: MAX_RANK - 1], prod(shape[MAX_RANK - 1 :])]
        if producer is not None:
            sizes = _sizes(f"{value.name}/merged", merged)
            graph.register_initializer(sizes)
            producer.replace_input_with(1, sizes)
        value.shape = ir.Shape(merged)
        shapes[str(value.name)] = shape
    return shapes


def _sizes(name: str, sizes: list[int]) -> ir.Value:
    tensor = ir.tensor(sizes, dtype=ir.DataType.INT64)
    return ir.Value(
        name=name,
        shape=ir.Shape([len(sizes)]),
        type=ir.TensorType(ir.DataType.INT64),
        const_value=tensor,
    )
