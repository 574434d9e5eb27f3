"""int32 biases beside int16 activations, where sums are proven to fit.

The kernels of CONV_2D and FULLY_CONNECTED add up int16 x int8 products in 64 bits beside an int64
bias, one product at a time, and in 32 bits beside an int32 bias, with the fast product of matrices:
four times as fast on the digits network. With int32 bias a sum that leaves 32 bits wraps silently.
It cannot, for output channel c with weights w and bias b, when

    sum(|w[c]|) * 2**15 + |b[c]| < 2**31

The option `quantizedBiasType` must say int32, or the kernel reads the bias as int64.
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgewise.targets.android.model import (
    INT16,
    INT32,
    INT64,
    Graph,
    Operator,
    Quantization,
    Tensor,
)

#: kinds with a 32-bit kernel, and the version that knows the option
NARROW_VERSIONS = {"CONV_2D": 8, "FULLY_CONNECTED": 11}
OPTION = "quantizedBiasType"
_LARGEST_INPUT = 2**15


def narrow_biases(graph: Graph) -> None:
    """Change the biases for which the proof holds, in place."""
    narrowed: dict[Tensor, Tensor] = {}
    for operator in graph.operators:
        if operator.kind not in NARROW_VERSIONS or operator.stored_dtype != INT16:
            continue
        data, weights, bias = operator.inputs[:3]
        if bias.dtype != INT64 or is_grouped(operator) or not sums_fit(weights, bias):
            continue
        if bias not in narrowed:
            narrowed[bias] = _narrowed(bias)
        operator.inputs = (data, weights, narrowed[bias], *operator.inputs[3:])
        operator.options[OPTION] = schema.TensorType.INT32
        operator.version = max(operator.version, NARROW_VERSIONS[operator.kind])


def sums_fit(weights: Tensor, bias: Tensor) -> bool:
    """Whether no sum of a channel (axis 0 of the weights) can leave 32 bits."""
    if weights.data is None or bias.data is None:
        return False
    magnitudes = np.abs(weights.data.astype(np.int64)).reshape(weights.shape[0], -1).sum(axis=1)
    largest = magnitudes * _LARGEST_INPUT + np.abs(bias.data.astype(np.int64))
    return bool(largest.max(initial=0) < 2**31)


def is_grouped(operator: Operator) -> bool:
    """Grouped convolutions have no fast kernel."""
    data, weights = operator.inputs[:2]
    return operator.kind == "CONV_2D" and data.shape[-1] != weights.shape[-1]


def _narrowed(bias: Tensor) -> Tensor:
    if bias.data is None or bias.quantization is None:
        raise AssertionError("the bias of an integer kernel is a quantized constant")
    scale = bias.quantization.scale
    quantization = Quantization.symmetric(scale, bias.quantization.axis, INT32)
    return Tensor(bias.shape, INT32, quantization, bias.data.astype(np.int32), bias.name)
