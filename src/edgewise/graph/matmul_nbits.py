"""com.microsoft.MatMulNBits in the words of the standard: DequantizeLinear, MatMul and Add.

The operator computes A @ W.T + bias, where W (N rows, K columns) is stored as B: unsigned integers
of 4 or 8 bits, in blocks of `block_size` columns with a scale and a zero point each. Two 4-bit
integers share a byte, the first one in its low half; the last block of a row is padded. Zero points
are packed alike, row by row; without them they are the middle, 2**(bits - 1), and integers less the
middle need none.

A node stays as it is where its columns are permuted (`g_idx`), where it has other bits, or where
its weights are computed.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.graph.read import attribute, constant
from edgewise.graph.write import add_initializer

Array = npt.NDArray[Any]

_DOMAIN, _OPERATOR = "com.microsoft", "MatMulNBits"
#: bits -> the types of centred and of raw integers
_TYPES: dict[int, tuple[npt.DTypeLike, npt.DTypeLike]] = {
    4: (ml_dtypes.int4, ml_dtypes.uint4),
    8: (np.int8, np.uint8),
}


def unpack_matmul_nbits(model: ir.Model) -> bool:
    """Replace every such node in place; tells whether there was one. Shapes are left to infer."""
    nodes = [
        node
        for node in model.graph
        if (node.domain, node.op_type) == (_DOMAIN, _OPERATOR) and _is_plain(node)
    ]
    for node in nodes:
        _replace(model.graph, node)
    return bool(nodes)


def _is_plain(node: ir.Node) -> bool:
    given = [value is not None for value in node.inputs] + [False] * 6
    _, b, scales, zero_points, permuted, bias = given[:6]
    if permuted or not (b and scales) or int(attribute(node, "bits", 4)) not in _TYPES:
        return False
    source = node.inputs[0]
    if source is None or source.dtype is not ir.DataType.FLOAT:
        return False
    known = [1, 2, *([3] if zero_points else []), *([5] if bias else [])]
    arrays = [constant(node.inputs[index]) for index in known]
    return all(array is not None for array in arrays) and (
        not zero_points or arrays[2] is None or arrays[2].dtype == np.uint8
    )


def _replace(graph: ir.Graph, node: ir.Node) -> None:
    source, output, bias = node.inputs[0], node.outputs[0], None
    dequantize = _dequantize(graph, node)
    product = ir.node("MatMul", [source, dequantize.outputs[0]], name=node.name)
    made = [dequantize, product]
    if len(node.inputs) > 5 and node.inputs[5] is not None:
        bias = node.inputs[5]
        product.outputs[0].name = f"{output.name}_product"
        made.append(ir.node("Add", [product.outputs[0], bias], name=f"{node.name}_bias"))
    result = made[-1].outputs[0]
    result.name, result.type, result.shape = output.name, output.type, output.shape
    graph.insert_before(node, made)
    ir.convenience.replace_all_uses_with(output, result, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _dequantize(graph: ir.Graph, node: ir.Node) -> ir.Node:
    """The node that gives W.T, of shape (K, N), from new initializers."""
    bits, block = int(attribute(node, "bits", 4)), int(attribute(node, "block_size"))
    columns, rows = int(attribute(node, "K")), int(attribute(node, "N"))
    blocks = -(-columns // block)
    packed, scales = _known(node, 1), _known(node, 2)
    integers = _unpacked(packed.reshape(rows, -1), bits, blocks * block)[:, :columns]
    middle = 1 << (bits - 1)
    zero = np.full((rows, blocks), middle, np.uint8)
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        zero = _unpacked(_known(node, 3).reshape(rows, -1), bits, blocks)
    centred, raw = _TYPES[bits]
    inputs = [
        ("scales", scales.reshape(rows, blocks).T.astype(np.float32)),
    ]
    if (zero == middle).all():
        stored = (integers.astype(np.int16) - middle).astype(centred)
    else:
        stored = integers.astype(raw)
        inputs.append(("zero_points", zero.T.astype(raw)))
    name = node.inputs[1].name if node.inputs[1] is not None else node.name
    values = [add_initializer(graph, f"{name}_integers", np.ascontiguousarray(stored.T))]
    values += [
        add_initializer(graph, f"{name}_{part}", np.ascontiguousarray(array))
        for part, array in inputs
    ]
    made = ir.node(
        "DequantizeLinear",
        values,
        attributes={"axis": 0, "block_size": block},
        name=f"{name}_DequantizeLinear",
    )
    made.outputs[0].name = f"{name}_dequantized"
    return made


def _known(node: ir.Node, index: int) -> Array:
    array = constant(node.inputs[index])
    if array is None:
        raise ValueError(f"input {index} of '{node.name}' is computed")
    return array


def _unpacked(rows: Array, bits: int, count: int) -> Array:
    """The first `count` integers of each row of bytes."""
    if bits == 8:
        return rows[:, :count]
    halves = np.stack([rows & 15, rows >> 4], axis=2)
    return halves.reshape(rows.shape[0], -1)[:, :count]
