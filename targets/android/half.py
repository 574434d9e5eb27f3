"""fp16: float constants kept as float16, each behind a DEQUANTIZE that gives it back as float32.

This is the form that TFLiteConverter writes. XNNPACK folds the DEQUANTIZE when it reads the weights
of a product or convolution, and the built-in kernel runs it once, since its input is constant.
Arithmetic stays float32.

A constant becomes float16 when it has at least `min_elements` values, so that small ones such as
the epsilon of a normalization keep all their digits, and when float16 holds it: its largest
magnitude lies within 2**-14 and 65504, whence rounding changes no value by more than 2**-11 of the
largest.
"""

from __future__ import annotations

import numpy as np

from edgewise.findings import Finding
from edgewise.targets.android.model import Array, Graph, Operator, Tensor

#: elements from which on a constant is worth it, unless the user says otherwise
MIN_ELEMENTS = 32
#: of DEQUANTIZE from float16
_VERSION = 3
_SMALLEST = float(np.finfo(np.float16).smallest_normal)
_LARGEST = float(np.finfo(np.float16).max)
_FLOAT16 = np.dtype(np.float16)


def store_as_half(graph: Graph, min_elements: int = MIN_ELEMENTS) -> list[Finding]:
    """Change the graph in place; gives one finding for each large constant that stays float32."""
    findings: list[Finding] = []
    seen: set[Tensor] = set()
    widened: dict[Tensor, Tensor] = {}
    operators: list[Operator] = []
    for operator in graph.operators:
        for tensor in dict.fromkeys(operator.inputs):
            if tensor in seen or not _is_large(tensor, min_elements):
                continue
            seen.add(tensor)
            if not _fits(np.asarray(tensor.data)):
                findings.append(_left(tensor, operator))
                continue
            widened[tensor] = Tensor(tensor.shape, tensor.dtype, name=tensor.name)
            operators.append(_dequantize(tensor, widened[tensor], operator.origin))
        operator.inputs = tuple(widened.get(tensor, tensor) for tensor in operator.inputs)
        operators.append(operator)
    graph.operators = operators
    return findings


def _is_large(tensor: Tensor, min_elements: int) -> bool:
    data = tensor.data
    return data is not None and data.dtype == np.float32 and data.size >= max(min_elements, 1)


def _fits(data: Array) -> bool:
    largest = float(np.abs(data).max())
    return largest == 0.0 or _SMALLEST <= largest <= _LARGEST  # false where it is not a number


def _dequantize(tensor: Tensor, widened: Tensor, origin: str) -> Operator:
    data = np.asarray(tensor.data).astype(_FLOAT16)
    half = Tensor(tensor.shape, _FLOAT16, data=data, name=tensor.name and f"{tensor.name}/float16")
    return Operator("DEQUANTIZE", (half,), (widened,), version=_VERSION, origin=origin)


def _left(tensor: Tensor, operator: Operator) -> Finding:
    return Finding(
        "android/float32-constant",
        "info",
        f"constant '{tensor.name}' stays float32: float16 does not hold its magnitude",
        operator.origin,
        "Scale the layer if its size matters.",
    )
