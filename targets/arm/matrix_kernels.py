"""Which of ONNX Runtime's two int8 matrix products a convolution runs as on ARM64.

QLinearConv with weights of zero point 0 takes a *symmetric* kernel, which reads the activations in
place and multiplies with SDOT, or with SMULL where there are no dot products; with any other zero
point the *general* kernel, which first packs the activations, and multiplies with SMMLA where there
is i8mm (`TryConvSymPrepack` in onnxruntime's qlinearconv.cc). Which one is shorter depends on the
shape, so large products are moved to the general kernel: with every stored integer one less,

    w = (q - 0) * s = ((q - 1) - (-1)) * s

is the same weight, bit for bit, and -1 is a zero point other than 0.

Counted under emulation on 1x1 convolutions with k = input channels times kernel size, n output
channels and h = k n / (k + n), general over symmetric:

| | Cortex-A53 | Cortex-A76 | Neoverse-V1 |
|---|---|---|---|
| h below 20 | 0.94 .. 1.03 | 1.03 .. 1.18 | 0.92 .. 1.12 |
| 1. h >= 75, k >= 128 | 0.82 .. 0.88 | 1.01 .. 1.06 | 0.48 .. 0.77 |
| 2. k >= 96, n no multiple of 16 | 0.84 .. 0.94 | 0.94 .. 1.00 | 0.55 .. 0.87 |
| 3. h >= 20, k no multiple of 16, n >= 64 | | 0.99 .. 1.07 | 0.57 .. 1.06 |

The three kinds with numbers are moved. Cases left alone: weights that are no int8 constant with
zero point 0 or that another operator reads, too; groups; unsigned activations, which have no
symmetric kernel; and weights of -127 where the general kernel of cores without dot products would
add two of them in 16 bits: stored as -128 they make 2 * 128 * 128 with activations of -128, which
does not fit. It adds the products k and k + 8 of every 16, counted over the kernel's positions and
then channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.graph import add_initializer, attribute, constant, quantization_of
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE

_COLUMNS = 16
_LOWEST = -127
_BLOCK = 16


def choose_matrix_kernels(model: ir.Model) -> bool:
    """Move every convolution that the rules above name; gives whether the model changed."""
    changed = False
    for node in list(model.graph):
        if node.op_type == "Conv" and _is_integer(node) and attribute(node, "group", 1) == 1:
            weight = node.inputs[1]
            stored = None if weight is None else weight.producer()
            if stored is not None and _is_movable(stored):
                _move(model.graph, stored)
                changed = True
    return changed


def prefers_general_kernel(inputs: int, outputs: int) -> bool:
    """`inputs` numbers make each of `outputs` sums, in the docstring k and n."""
    harmonic = inputs * outputs / (inputs + outputs)
    return (
        (harmonic >= 75 and inputs >= 128)
        or (inputs >= 96 and outputs % _COLUMNS != 0)
        or (harmonic >= 20 and inputs % _COLUMNS != 0 and outputs >= 64)
    )


def _is_integer(conv: ir.Node) -> bool:
    """Whether it lies between int8 activations, so that it becomes a QLinearConv."""
    source = None if conv.inputs[0] is None else conv.inputs[0].producer()
    users = [use.node for use in conv.outputs[0].uses()]
    if source is None or source.op_type != DEQUANTIZE or len(users) != 1:
        return False
    stored = source.inputs[0]
    return (
        stored is not None
        and stored.dtype is ir.DataType.INT8
        and users[0].op_type == QUANTIZE
        and users[0].outputs[0].dtype is ir.DataType.INT8
    )


def _is_movable(dequantize: ir.Node) -> bool:
    if dequantize.op_type != DEQUANTIZE or len(dequantize.outputs[0].uses()) != 1:
        return False
    integers = constant(dequantize.inputs[0])
    if integers is None or integers.dtype != np.int8 or not integers.size:
        return False
    found = quantization_of(dequantize)
    if found.zero_point.any() or found.block_size or found.axis not in (None, 0):
        return False
    rows = np.moveaxis(integers, 1, -1).reshape(len(integers), -1)
    if integers.min() < _LOWEST or _overflows(rows):
        return False
    return prefers_general_kernel(rows.shape[1], len(rows))


def _overflows(rows: npt.NDArray[Any]) -> bool:
    """Whether two products that are added in 16 bits may both be the largest there is."""
    lowest = np.pad(rows == _LOWEST, ((0, 0), (0, -rows.shape[1] % _BLOCK)))
    halves = lowest.reshape(len(rows), -1, 2, _BLOCK // 2)
    return bool(halves.all(2).any())


def _move(graph: ir.Graph, dequantize: ir.Node) -> None:
    integers, found = constant(dequantize.inputs[0]), quantization_of(dequantize)
    assert integers is not None  # _is_movable
    name = dequantize.inputs[0].name if dequantize.inputs[0] is not None else ""
    lower = add_initializer(graph, f"{name}_lowered", (integers - 1).astype(np.int8))
    zero = add_initializer(
        graph, f"{name}_lowered_zero_point", np.full(found.zero_point.shape, -1, np.int8)
    )
    dequantize.resize_inputs(3)
    dequantize.replace_input_with(0, lower)
    dequantize.replace_input_with(2, zero)
