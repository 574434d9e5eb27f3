"""Which function lowers which operator: the one list of what the Core ML backend takes.

A key that stands here twice is an error that ruff (F601) and a test find.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from edgewise.targets.apple.call import Lower
from edgewise.targets.apple.ops import (
    activation,
    convolution,
    elementwise,
    linear,
    movement,
    normalization,
    pooling,
    quantization,
    reduction,
    resize,
    shape,
)


@dataclass(frozen=True, slots=True)
class Lowering:
    """A node that does not fit is written in simpler operators (`edgewise.graph.expand`)."""

    lower: Lower
    fits: Callable[[ir.Node], bool] | None = None


LOWERINGS: dict[str, Lowering] = {
    "QuantizeLinear": Lowering(quantization.quantize_linear),
    "DequantizeLinear": Lowering(quantization.dequantize_linear),
    "Conv": Lowering(convolution.conv),
    "ConvTranspose": Lowering(convolution.conv_transpose),
    "Gemm": Lowering(linear.gemm),
    "MatMul": Lowering(linear.matmul),
    "MaxPool": Lowering(pooling.max_pool),
    "AveragePool": Lowering(pooling.average_pool),
    "GlobalAveragePool": Lowering(pooling.global_average_pool),
    "GlobalMaxPool": Lowering(pooling.global_max_pool),
    "Add": Lowering(elementwise.binary),
    "Sub": Lowering(elementwise.binary),
    "Mul": Lowering(elementwise.binary),
    "Div": Lowering(elementwise.div),
    "Mod": Lowering(elementwise.mod),
    "Pow": Lowering(elementwise.power),
    "Max": Lowering(elementwise.variadic),
    "Min": Lowering(elementwise.variadic),
    "Sum": Lowering(elementwise.variadic),
    "Mean": Lowering(elementwise.variadic),
    "Equal": Lowering(elementwise.binary),
    "Greater": Lowering(elementwise.binary),
    "GreaterOrEqual": Lowering(elementwise.binary),
    "Less": Lowering(elementwise.binary),
    "LessOrEqual": Lowering(elementwise.binary),
    "And": Lowering(elementwise.binary),
    "Or": Lowering(elementwise.binary),
    "Xor": Lowering(elementwise.binary),
    "Not": Lowering(elementwise.unary),
    "Where": Lowering(elementwise.where),
    "Cast": Lowering(elementwise.cast),
    "Abs": Lowering(elementwise.unary),
    "Neg": Lowering(elementwise.negate),
    "Sign": Lowering(elementwise.unary),
    "Floor": Lowering(elementwise.unary),
    "Ceil": Lowering(elementwise.unary),
    "Round": Lowering(elementwise.unary),
    "Exp": Lowering(elementwise.unary),
    "Log": Lowering(elementwise.logarithm),
    "Sqrt": Lowering(elementwise.unary),
    "Reciprocal": Lowering(elementwise.reciprocal),
    "Erf": Lowering(elementwise.unary),
    "Sin": Lowering(elementwise.unary),
    "Cos": Lowering(elementwise.unary),
    "Tan": Lowering(elementwise.unary),
    "Asin": Lowering(elementwise.unary),
    "Acos": Lowering(elementwise.unary),
    "Atan": Lowering(elementwise.unary),
    "Sinh": Lowering(elementwise.unary),
    "Cosh": Lowering(elementwise.unary),
    "Atanh": Lowering(elementwise.unary),
    "Identity": Lowering(elementwise.alias),
    "Dropout": Lowering(elementwise.alias),
    "Relu": Lowering(activation.relu),
    "Clip": Lowering(activation.clip),
    "LeakyRelu": Lowering(activation.leaky_relu),
    "PRelu": Lowering(activation.prelu),
    "ThresholdedRelu": Lowering(activation.thresholded_relu),
    "Sigmoid": Lowering(activation.sigmoid),
    "Tanh": Lowering(elementwise.unary),
    "HardSigmoid": Lowering(activation.hard_sigmoid),
    "HardSwish": Lowering(activation.hard_swish),
    "Swish": Lowering(activation.swish),
    "Elu": Lowering(activation.elu),
    "Selu": Lowering(activation.selu),
    "Celu": Lowering(activation.celu),
    "Gelu": Lowering(activation.gelu),
    "Mish": Lowering(activation.mish),
    "Softplus": Lowering(activation.softplus),
    "Softsign": Lowering(activation.softsign),
    "Softmax": Lowering(activation.softmax),
    "LogSoftmax": Lowering(activation.log_softmax),
    "BatchNormalization": Lowering(normalization.batch_normalization),
    "InstanceNormalization": Lowering(normalization.instance_normalization),
    "LayerNormalization": Lowering(normalization.layer_normalization),
    "GroupNormalization": Lowering(normalization.group_normalization),
    "LRN": Lowering(normalization.local_response_normalization),
    "LpNormalization": Lowering(normalization.lp_normalization),
    "ReduceMean": Lowering(reduction.reduce),
    "ReduceSum": Lowering(reduction.reduce),
    "ReduceMax": Lowering(reduction.reduce),
    "ReduceMin": Lowering(reduction.reduce),
    "ReduceProd": Lowering(reduction.reduce),
    "ReduceL1": Lowering(reduction.reduce),
    "ReduceL2": Lowering(reduction.reduce),
    "ReduceSumSquare": Lowering(reduction.reduce),
    "ReduceLogSum": Lowering(reduction.reduce),
    "ReduceLogSumExp": Lowering(reduction.reduce),
    "ArgMax": Lowering(reduction.arg_extremum),
    "ArgMin": Lowering(reduction.arg_extremum),
    "TopK": Lowering(reduction.top_k),
    "Reshape": Lowering(shape.reshape),
    "Flatten": Lowering(shape.flatten),
    "Squeeze": Lowering(shape.squeeze),
    "Unsqueeze": Lowering(shape.unsqueeze),
    "Transpose": Lowering(shape.transpose),
    "Concat": Lowering(movement.concat),
    "Split": Lowering(movement.split),
    "Slice": Lowering(movement.slice_),
    "Pad": Lowering(movement.pad),
    "Gather": Lowering(movement.gather),
    "Tile": Lowering(movement.tile),
    "Expand": Lowering(movement.expand),
    "DepthToSpace": Lowering(movement.depth_to_space),
    "SpaceToDepth": Lowering(movement.space_to_depth),
    "Resize": Lowering(resize.resize),
}


def is_known(node: ir.Node) -> bool:
    """Whether the node has a lowering that it fits."""
    lowering = LOWERINGS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    return lowering is not None and (lowering.fits is None or lowering.fits(node))
