"""Constants that nodes compute, computed once and for all.

1. onnxscript's folder knows shapes and sequences, and computes other nodes with the ONNX project's
   reference implementation. That is wrong for many an operator beside the tested cases (global
   pools of more than two axes, LRN, windows in padding, the dtype of ReduceSumSquare), so it gets
   only operators that are one call of numpy there.
2. ONNX Runtime computes what is left, which is what every result is compared with. A node that it
   cannot run stays as it is.
3. ConstantOfShape is folded where its result is small, as in the arithmetic on shapes that
   TorchScript's exporter writes around each padding. A large one stays, and takes no space.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
import onnx_ir as ir
from onnx import helper

from edgewise.errors import ModelError
from edgewise.graph.read import constant
from edgewise.graph.run import OrtSession

#: larger folded tensors would bloat the model more than the saved node is worth
_LIMIT_ELEMENTS = 64 * 1024 * 1024
#: case 3
_SMALL_ELEMENTS = 1024

#: case 1: operators whose reference implementation is plain numpy
_PLAIN = frozenset({
    "Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh",
    "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Cast", "Ceil", "Clip", "Concat", "Cos",
    "Cosh", "CumSum", "Div", "Equal", "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather",
    "GatherND", "Gemm", "Greater", "GreaterOrEqual", "Identity", "IsInf", "IsNaN", "Less",
    "LessOrEqual", "Log", "MatMul", "Max", "Min", "Mod", "Mul", "Neg", "NonZero", "Not", "OneHot",
    "Or", "Pow", "Range", "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "Relu", "Reshape", "Round", "ScatterElements", "ScatterND", "Sigmoid", "Sign",
    "Sin", "Sinh", "Slice", "Softmax", "Sqrt", "Squeeze", "Sub", "Tan", "Tanh", "Tile",
    "Transpose", "Trilu", "Unsqueeze", "Where", "Xor",
})  # fmt: skip
#: stay as they are, to tell how weights are stored, or to stay random
_KEPT = frozenset({
    "Bernoulli", "DequantizeLinear", "Dropout", "DynamicQuantizeLinear",
    "Multinomial", "QuantizeLinear", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
})  # fmt: skip
_STANDARD = ("", "ai.onnx")
_BODIES = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def fold(model: ir.Model) -> None:
    """Replace, in place, what only constants go into by the constant that comes out."""
    _fold_plain(model)
    while _fold_by_runtime(model):
        _fold_plain(model)


def _fold_plain(model: ir.Model) -> None:
    """Case 1."""
    from onnxscript.optimizer import fold_constants

    log = logging.getLogger("onnxscript.optimizer")
    level = log.level
    log.setLevel(logging.ERROR)  # it warns of operators that it leaves, which do not matter here
    try:
        fold_constants(
            model,
            input_size_limit=_LIMIT_ELEMENTS,
            output_size_limit=_LIMIT_ELEMENTS,
            should_fold=lambda node: None if node.op_type in _PLAIN else False,
        )
    finally:
        log.setLevel(level)


def _fold_by_runtime(model: ir.Model) -> bool:
    """Case 2; tells whether a node was replaced."""
    opset = int(model.opset_imports.get("", model.opset_imports.get("ai.onnx", 1)))
    found = False
    for node in list(model.graph.all_nodes()):
        results = _computed(node, opset) if is_foldable(node) else None
        if results is not None:
            _replace(node, results)
            found = True
    return found


def is_foldable(node: ir.Node) -> bool:
    """Whether only constants go into the node, and its result should be one too."""
    return (
        node.domain in _STANDARD
        and node.op_type not in _KEPT
        and any(node.inputs)
        and all(constant(value) is not None for value in node.inputs if value is not None)
        and not any(attr.type in _BODIES for attr in node.attributes.values())
        and (node.op_type != "ConstantOfShape" or _makes_little(node))
    )


def _makes_little(node: ir.Node) -> bool:
    """Case 3."""
    sizes = constant(node.inputs[0])
    return sizes is not None and int(sizes.astype(object).prod()) <= _SMALL_ELEMENTS


def _computed(node: ir.Node, opset: int) -> Sequence[npt.NDArray[Any] | None] | None:
    """The arrays of the outputs, None where one has no name; None where ONNX Runtime fails."""
    operands = [value for value in node.inputs if value is not None]
    feeds = {str(v.name): array for v in operands if (array := constant(v)) is not None}
    names = [value.name or "" for value in node.outputs]
    try:
        graph = helper.make_graph(
            [ir.to_proto(node)],
            "constant",
            [
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
                )
                for name, array in feeds.items()
            ],
            [helper.make_empty_tensor_value_info(name) for name in names if name],
        )
        proto = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10
        )
        results = OrtSession(proto.SerializeToString()).run(feeds)
    except (ModelError, KeyError, ValueError):  # of dtypes that numpy does not have, too
        return None
    if any(a.dtype == object or a.size > _LIMIT_ELEMENTS for a in results.values()):
        return None
    return [results.get(name) for name in names]


def _replace(node: ir.Node, results: Sequence[npt.NDArray[Any] | None]) -> None:
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    for old, array in zip(node.outputs, results, strict=True):
        if array is None:
            continue
        name, old.name = old.name, None
        tensor = ir.tensor(array, name=name)
        value = ir.Value(
            name=name,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(tensor.dtype),
            const_value=tensor,
        )
        graph.register_initializer(value)
        ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
    graph.remove(node, safe=True)
