"""Functions of one element that XNNPACK runs as tables of 256 entries, in place of int8 kernels.

1. XNNPACK takes no int8 operator of these kinds. LiteRT's own kernels work element by element: on
   x86-64, one thread, 1x56x56x64 elements, HARD_SWISH takes 1.73 ms, RELU 1.82, PRELU 1.70, ABS
   0.57, GELU and EXP 0.06. And each splits the graph that XNNPACK could run as one.
2. It does take DEQUANTIZE, the float operator, and QUANTIZE. A chain of functions of one element
   with 8 bits at both ends is run once, over all 256 values, and becomes a table
   (`xnn_subgraph_fuse_unary_quantized_into_lut` in its src/subgraph.c; the pass and the table
   kernels exist for every architecture): 0.02 ms for any of the above. PRELU with slopes per
   channel is no such chain; its float kernel takes 0.04 ms. An XNNPACK from before that pass runs
   three vectorized float kernels.
3. The result is f(x) in float32, rounded once: what the QDQ model says.

    x int8 -> HARD_SWISH -> y int8    becomes    x -> DEQUANTIZE -> HARD_SWISH -> QUANTIZE -> y

LOGISTIC, TANH, ELU and LEAKY_RELU stay: XNNPACK has them in int8. So do MAXIMUM and MINIMUM, whose
kernels are as fast, and LOG, of which the model does not say what it is below zero. NPUs want int8
operators: for a file that is meant for one, all stay.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgewise.targets.android.kinds import KINDS, version_for
from edgewise.targets.android.model import INT8, Graph, Operator, Tensor

TABLE_KINDS = frozenset({"ABS", "EXP", "GELU", "HARD_SWISH", "PRELU", "RELU", "RELU6"})
_FLOAT32 = np.dtype(np.float32)


def use_tables(graph: Graph) -> None:
    """Rewrite the graph and its bodies in place; tensors that are there stay."""
    for part in graph.all_graphs():
        part.operators = [new for operator in part.operators for new in _rewritten(operator)]


def _rewritten(operator: Operator) -> list[Operator]:
    if operator.kind not in TABLE_KINDS or not _is_int8_function(operator):
        return [operator]
    source, target = operator.inputs[0], operator.outputs[0]
    real, result = _float_like(source), _float_like(target)
    parameters = tuple(_dequantized(tensor) for tensor in operator.inputs[1:])
    origin = operator.origin
    return [
        Operator("DEQUANTIZE", (source,), (real,), {}, version_for("DEQUANTIZE", INT8), origin),
        Operator(
            operator.kind,
            (real, *parameters),
            (result,),
            operator.options,
            KINDS[operator.kind].version,
            origin,
        ),
        Operator("QUANTIZE", (result,), (target,), {}, version_for("QUANTIZE", INT8), origin),
    ]


def _is_int8_function(operator: Operator) -> bool:
    """Whether one int8 tensor comes in, one goes out, and everything else is constant."""
    computed = [tensor for tensor in operator.inputs if tensor.data is None]
    ends = (*operator.inputs[:1], *operator.outputs)
    return (
        computed == list(operator.inputs[:1])
        and len(operator.outputs) == 1
        and all(tensor.dtype == INT8 and tensor.quantization is not None for tensor in ends)
    )


def _float_like(tensor: Tensor) -> Tensor:
    return Tensor(tensor.shape, _FLOAT32, shape_signature=tensor.shape_signature)


def _dequantized(tensor: Tensor) -> Tensor:
    """A constant with its real values: (q - zero point) * scale in float32, as ONNX has it."""
    parameters = tensor.quantization
    if parameters is None or tensor.data is None:
        return tensor
    scale, zero = parameters.scale, parameters.zero_point
    if parameters.is_per_tensor:
        scale, zero = scale.reshape(()), zero.reshape(())  # a scalar stays one
    else:
        along = [-1 if axis == parameters.axis else 1 for axis in range(tensor.data.ndim)]
        scale, zero = scale.reshape(along), zero.reshape(along)
    real = (tensor.data.astype(np.int32) - zero).astype(np.float32) * scale
    return Tensor(tensor.shape, _FLOAT32, None, np.asarray(real, np.float32))


def is_table(region: Sequence[Operator]) -> bool:
    """Whether an island of float is one function between int8 tensors."""
    kinds = [operator.kind for operator in region]
    if len(kinds) != 3 or (kinds[0], kinds[2]) != ("DEQUANTIZE", "QUANTIZE"):
        return False
    ends = (region[0].inputs[0], region[2].outputs[0])
    return kinds[1] in TABLE_KINDS and all(tensor.dtype == INT8 for tensor in ends)
