"""Operators that only rename axes or elements: Reshape, Flatten, Squeeze, Unsqueeze, Transpose,
Identity, Dropout, Expand, Tile, Cast.

  1. Transpose            nothing is written: the value gets another permutation
  2. Reshape and kin      RESHAPE in memory, after a TRANSPOSE only where axes that are merged
                          do not lie next to each other
  3. flattening an image before Gemm or MatMul: RESHAPE in NHWC order; the constant weights take
     the permutation of their columns instead of the activations
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from edgewise.graph import consumers
from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import Value, identity, reshape_orders
from edgewise.targets.android.qdq import DEQUANTIZE, QUANTIZE

_CAST_KINDS = "fiub"


def lower_reshape(call: Call) -> None:
    """Cases 2 and 3."""
    x = call.operand(0)
    shape = call.output_shape()
    if x.is_linear() or not shape:
        tensor = call.builder.reshape(x.tensor, shape)
        call.finish(Value(tensor, identity(len(shape))))
        return
    if not _feeds_products_only(call, shape):
        before, after = reshape_orders(x, shape)
        memory = call.builder.reorder(x, before).tensor
        tensor = call.builder.reshape(memory, [shape[axis] for axis in after])
        call.finish(Value(tensor, after))
        return
    columns = np.arange(int(np.prod(x.shape[1:]))).reshape(1, *x.shape[1:])
    order = np.transpose(columns, x.perm).reshape(-1)
    call.finish(Value(call.builder.reshape(x.tensor, shape), identity(len(shape))))
    result = call.context.plan.result(call.node)
    call.context.column_orders.update(dict.fromkeys(_same_columns(result), order))


def _feeds_products_only(call: Call, shape: tuple[int, ...]) -> bool:
    """Case 3 holds when (N, ...) becomes (N, columns) and only constant matrices read it."""
    x = call.operand(0)
    if len(shape) != 2 or x.perm[0] != 0 or shape[0] != x.shape[0]:
        return False
    readers = _readers(call.context.plan.result(call.node))
    return bool(readers) and all(_is_product(call, node, value) for node, value in readers)


def _same_columns(value: ir.Value) -> Iterator[ir.Value]:
    """The value, and what Q and DQ make of it."""
    yield value
    for node in consumers(value):
        if node.op_type in (QUANTIZE, DEQUANTIZE) and node.inputs[0] is value:
            yield from _same_columns(node.outputs[0])


def _readers(value: ir.Value) -> list[tuple[ir.Node, ir.Value]]:
    """Nodes that read the value, seen through one Q and DQ; none when it is an output."""
    if value.is_graph_output():
        return []
    found = []
    for node in consumers(value):
        if node.op_type in (QUANTIZE, DEQUANTIZE) and node.inputs[0] is value:
            inner = _readers(node.outputs[0])
            if not inner:
                return []
            found += inner
        else:
            found.append((node, value))
    return found


def _is_product(call: Call, node: ir.Node, value: ir.Value) -> bool:
    if node.op_type not in ("Gemm", "MatMul") or node.inputs[0] is not value:
        return False
    transposed = node.attributes.get("transA")
    plan = call.context.plan
    weights, integers = plan.constant(node.inputs[1]), plan.quantized_constant(node.inputs[1])
    plain = transposed is None or not transposed.as_int()
    blocks = integers is not None and integers[1].block_size  # of neighbouring ONNX columns
    return plain and not blocks and weights is not None and weights.ndim == 2


def lower_transpose(call: Call) -> None:
    """Case 1."""
    x = call.operand(0)
    perm = call.attribute("perm") or list(range(x.rank))[::-1]
    call.finish(x.transposed(perm))


def lower_identity(call: Call) -> None:
    if len(call.node.outputs) > 1 and call.node.outputs[1].uses():
        raise call.refuse("its mask is used", "Export the model for inference.")
    call.finish(call.operand(0))


def lower_expand(call: Call) -> None:
    shape = call.output_shape()
    x = call.builder.with_rank(call.operand(0), len(shape))
    dims = x.physical(shape)
    if tuple(dims) == x.tensor.shape:
        call.finish(x)
        return
    call.finish(call.write_like("BROADCAST_TO", [x, call.builder.ints(dims)], x, x.perm))


def lower_tile(call: Call) -> None:
    x = call.operand(0)
    repeats = x.physical(call.known(1, "repeats").tolist())
    call.finish(call.write_like("TILE", [x, call.builder.ints(repeats)], x, x.perm))


def lower_cast(call: Call) -> None:
    x = call.numbers(0)
    dtype = call.output_dtype()
    if dtype == x.dtype:
        call.finish(x)
        return
    if dtype.kind not in _CAST_KINDS or (dtype.itemsize == 8 and dtype.kind == "f"):
        raise call.refuse(f"TFLite cannot cast to {dtype}", "Keep to float32 and integers.")
    call.finish(call.write("CAST", [x], x.perm))
