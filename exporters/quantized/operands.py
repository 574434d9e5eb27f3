"""Where the operators of quantized graphs say what their integers stand for.

The operators are those of ONNX (QLinearConv, QLinearMatMul, DequantizeLinear) and of ONNX Runtime's
`com.microsoft` domain (its document ContribOperators.md). Data, scale and zero point are inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgewise.exporters.quantized.lifting import unsupported
from edgewise.graph import TensorQuantization, attribute, constant, quantization_of

_DOMAINS = ("", "ai.onnx", "com.microsoft")


@dataclass(frozen=True, slots=True)
class Places:
    """Positions of scales of the inputs, by position of the data, and of the scale of the output;
    each zero point follows its scale."""

    inputs: Mapping[int, int]
    output: int


_BINARY = Places({0: 1, 3: 4}, 6)
_UNARY = Places({0: 1}, 3)
#: operator -> the float operator that it is on the stored integers
FLOAT_OPERATORS: Mapping[str, str] = {
    "QGemm": "Gemm",
    "QLinearAdd": "Add",
    "QLinearAveragePool": "AveragePool",
    "QLinearConcat": "Concat",
    "QLinearConv": "Conv",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearMatMul": "MatMul",
    "QLinearMul": "Mul",
    "QLinearReduceMean": "ReduceMean",
    "QLinearSigmoid": "Sigmoid",
    "QLinearSoftmax": "Softmax",
    "QLinearWhere": "Where",
}
_PLACES: Mapping[str, Places] = {
    "QGemm": Places({0: 1, 3: 4}, 7),
    "QLinearAdd": _BINARY,
    "QLinearAveragePool": _UNARY,
    "QLinearConv": _BINARY,
    "QLinearGlobalAveragePool": _UNARY,
    "QLinearLeakyRelu": _UNARY,
    "QLinearMatMul": _BINARY,
    "QLinearMul": _BINARY,
    "QLinearReduceMean": _UNARY,
    "QLinearSigmoid": _UNARY,
    "QLinearSoftmax": _UNARY,
    "QLinearWhere": Places({1: 2, 4: 5}, 7),
}
#: operators that give back elements of their input -> positions of data; the rest configures
_ALL = tuple(range(1024))
MOVERS: Mapping[str, tuple[int, ...]] = {
    "ArgMax": (0,),
    "ArgMin": (0,),
    "Clip": (0, 1, 2),
    "Compress": (0,),
    "Concat": _ALL,
    "DepthToSpace": (0,),
    "Dropout": (0,),
    "Expand": (0,),
    "Flatten": (0,),
    "Gather": (0,),
    "GatherElements": (0,),
    "GatherND": (0,),
    "Identity": (0,),
    "Max": _ALL,
    "MaxPool": (0,),
    "Min": _ALL,
    "Pad": (0, 2),
    "ReduceMax": (0,),
    "ReduceMin": (0,),
    "Reshape": (0,),
    "Resize": (0,),
    "ReverseSequence": (0,),
    "ScatterElements": (0, 2),
    "ScatterND": (0, 2),
    "Slice": (0,),
    "SpaceToDepth": (0,),
    "Split": (0,),
    "Squeeze": (0,),
    "Tile": (0,),
    "TopK": (0,),
    "Transpose": (0,),
    "Unsqueeze": (0,),
    "Where": (1, 2),
}


def is_op(node: ir.Node, *op_types: str) -> bool:
    return node.domain in _DOMAINS and node.op_type in op_types


def places(node: ir.Node) -> Places:
    """Of an operator of `FLOAT_OPERATORS`."""
    if node.op_type == "QLinearConcat":
        return Places({index: index + 1 for index in range(2, len(node.inputs), 3)}, 0)
    return _PLACES[node.op_type]


def parameters_at(node: ir.Node, index: int, data: ir.Value | None = None) -> TensorQuantization:
    """Those whose scale is input `index`; per channel along the axis of output channels of `data`.

    Raises ModelError: they are computed.
    """
    scale = constant(node.inputs[index])
    zero_input = node.inputs[index + 1] if index + 1 < len(node.inputs) else None
    zero = constant(zero_input)
    if scale is None or (zero_input is not None and zero is None):
        raise unsupported(node, "its scales and zero points are computed")
    if zero is None:
        zero = np.zeros(scale.shape, np.uint8)
    if scale.size == 1:
        return TensorQuantization(scale.astype(np.float32).reshape(()), zero.reshape(-1)[0])
    rank = 0 if data is None or data.shape is None else len(data.shape)
    if scale.ndim != 1 or not rank:
        raise unsupported(node, f"its scale has {scale.ndim} axes")
    zero = np.broadcast_to(zero.reshape(-1), scale.shape)
    return TensorQuantization(scale.astype(np.float32), zero, _channel_axis(node, rank))


def _channel_axis(node: ir.Node, rank: int) -> int:
    if node.op_type == "QGemm":
        return 0 if attribute(node, "transB", 0) else 1
    return 0 if node.op_type in ("QLinearConv", "ConvInteger") else rank - 1


def is_mover(node: ir.Node) -> bool:
    return node.domain in ("", "ai.onnx") and node.op_type in MOVERS


def data_slots(node: ir.Node) -> list[int]:
    """The inputs of a mover that hold data."""
    wanted = MOVERS[node.op_type]
    return [i for i, value in enumerate(node.inputs) if value is not None and i in wanted]


def parameters_ahead(value: ir.Value) -> TensorQuantization | None:
    """What the readers of integers say that these stand for; movers hand the question on."""
    waiting, seen = [value], {value}
    while waiting:
        for use in waiting.pop().uses():
            if (found := _told(use.node, use.idx)) is not None:
                return found
            if is_mover(use.node) and use.idx in data_slots(use.node):
                new = [out for out in use.node.outputs if out not in seen]
                seen.update(new)
                waiting.extend(new)
    return None


def is_quantized_input(value: ir.Value) -> bool:
    """Whether a value is an input of the model that every reader takes for quantized integers."""
    return value.is_graph_input() and all(
        _told(use.node, use.idx) is not None
        or (is_mover(use.node) and parameters_ahead(use.node.outputs[0]) is not None)
        for use in value.uses()
    )


def _told(node: ir.Node, index: int) -> TensorQuantization | None:
    if is_op(node, "DequantizeLinear") and index == 0 and constant(node.inputs[1]) is not None:
        return quantization_of(node)
    if is_op(node, *FLOAT_OPERATORS) and index in (found := places(node).inputs):
        return parameters_at(node, found[index], node.inputs[index])
    return None
