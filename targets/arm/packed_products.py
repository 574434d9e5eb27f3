"""Products with integer weights as ONNX Runtime's operators whose kernels read them packed.

1. int8 with one scale per output channel, or one for all, and zero point 0:
       MatMul(A, DequantizeLinear(Q, s)) = DynamicQuantizeMatMul(A, Q, s)
   which rounds A to uint8 as it comes, with one scale, and multiplies integers on every core.
2. int4, and whatever else of 4 or 8 bits is in blocks or has zero points:
       MatMul(A, DequantizeLinear(Q, s, z)) = MatMulNBits(A, B, s[, z])
   where B holds a row for each output, without sign, in blocks with a scale each. One scale per
   channel is that scale in every block.

A Gemm hands its bias on to either. Instructions for three products of 512 x 512 under emulation,
over those of float32, with 1 and with 16 rows:

| | Cortex-A53 | Neoverse-N1 | Neoverse-V1 |
|---|---|---|---|
| 8 bits, case 1 | 1.06, 0.88 | 0.78, 0.38 | 0.67, 0.23 |
| 8 bits, case 2 | 31, 3.9 | 0.52, 0.47 | 0.50, 0.44 |
| 4 bits, case 2 | 5.9, 1.4 | 0.77, 0.44 | 0.80, 0.35 |
| 8 bits, left to ONNX Runtime | 45, - | 34, - | 34, - |

Without dot products, case 2 widens all of its weights in every run: hence case 1 for 8 bits. Left
to itself, ONNX Runtime computes the DequantizeLinear in every run.

Cases left alone: a weight that is no constant matrix of 4 or 8 bits, with several readers, a scale
per channel of the reduced axis, or blocks without kernels; a Gemm that scales its sides, transposes
its input, or adds more than a vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.graph import (
    TensorQuantization,
    add_initializer,
    attribute,
    constant,
    consumers,
    quantization_of,
)
from edgewise.graph.quantized import DEQUANTIZE
from edgewise.targets.arm.schemes import BLOCK_SIZES

Array = npt.NDArray[Any]

_DOMAIN = "com.microsoft"
DYNAMIC, IN_BLOCKS = "DynamicQuantizeMatMul", "MatMulNBits"
_BITS = {"int4": 4, "uint4": 4, "int8": 8, "uint8": 8}
#: for one scale per channel, in which any block will do
_PREFERRED = (128, 64, 32, 16)


@dataclass(frozen=True, slots=True)
class _Found:
    """A product, and the integers that it reads as (K, N) or turned around."""

    node: ir.Node
    name: str
    stored: Array
    quantization: TensorQuantization
    turned: bool

    @property
    def outputs(self) -> int:
        """The axis of the output channels."""
        return 0 if self.turned else 1


@dataclass(frozen=True, slots=True)
class _Weight:
    """Rows are outputs; integers have no sign. Scales and zero points per row and block."""

    name: str
    bits: int
    block: int
    integers: Array  # (N, K), uint8
    scales: Array  # (N, blocks), float32
    zero_points: Array  # (N, blocks), uint8


def pack_products(model: ir.Model, accuracy_level: int) -> bool:
    """Rewrite every such product of the main graph; gives whether the model changed."""
    graph, changed = model.graph, False
    for node in list(graph):
        found = _product(node)
        made = None if found is None else _packed(graph, found, accuracy_level)
        if made is None:
            continue
        _replace(graph, node, made)
        changed = True
    if changed:
        model.opset_imports.setdefault(_DOMAIN, 1)
    return changed


def _product(node: ir.Node) -> _Found | None:
    if node.op_type not in ("Gemm", "MatMul") or node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "Gemm" and not _is_plain(node):
        return None
    source, value = node.inputs[:2]
    dequantize = None if value is None else value.producer()
    if value is None or dequantize is None or dequantize.op_type != DEQUANTIZE:
        return None
    if len(consumers(value)) != 1 or value.is_graph_output():
        return None
    if source is None or source.dtype is not ir.DataType.FLOAT:
        return None
    stored = constant(dequantize.inputs[0])
    if stored is None or stored.ndim != 2 or stored.dtype.name not in _BITS:
        return None
    turned = node.op_type == "Gemm" and bool(attribute(node, "transB", 0))
    return _Found(node, str(value.name), stored, quantization_of(dequantize), turned)


def _is_plain(node: ir.Node) -> bool:
    if attribute(node, "alpha", 1.0) != 1.0 or attribute(node, "transA", 0):
        return False
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None:
        return True
    vector = constant(bias)
    return attribute(node, "beta", 1.0) == 1.0 and vector is not None and vector.ndim == 1


def _packed(graph: ir.Graph, found: _Found, accuracy_level: int) -> ir.Node | None:
    """The operator that takes the product's place; None where it has no kernel."""
    quantization = found.quantization
    whole = quantization.per_tensor or (
        quantization.axis == found.outputs and not quantization.block_size
    )
    if whole and found.stored.dtype == np.int8 and not quantization.zero_point.any():
        return _dynamic(graph, found)
    weight = _as_rows(found, whole)
    return None if weight is None else _in_blocks(graph, found.node, weight, accuracy_level)


def _dynamic(graph: ir.Graph, found: _Found) -> ir.Node:
    """Case 1."""
    integers = np.ascontiguousarray(found.stored.T if found.turned else found.stored)
    inputs: list[ir.Value | None] = [
        found.node.inputs[0],
        add_initializer(graph, f"{found.name}_packed", integers),
        add_initializer(graph, f"{found.name}_scales", np.asarray(found.quantization.scale)),
    ]
    bias = _bias(found.node)
    if bias is not None:
        inputs += [None, bias]
    return ir.node(DYNAMIC, inputs, domain=_DOMAIN, name=found.node.name)


def _bias(node: ir.Node) -> ir.Value | None:
    return node.inputs[2] if len(node.inputs) > 2 else None


def _as_rows(found: _Found, whole: bool) -> _Weight | None:
    reduced, quantization = 1 - found.outputs, found.quantization
    bits = _BITS[found.stored.dtype.name]
    offset = 1 << (bits - 1) if found.stored.dtype.name.startswith("int") else 0
    rows = (found.stored.astype(np.int16) + offset).astype(np.uint8)
    integers = rows if found.turned else np.ascontiguousarray(rows.T)
    count, width = integers.shape
    scale: Array = np.asarray(quantization.scale)
    zero: Array = np.asarray(quantization.zero_point.astype(np.int16) + offset)
    if whole:
        block = _block_for(width, bits)
        shape = (count, -(-width // block))
        scale, zero = (np.broadcast_to(p.reshape(-1, 1), shape) for p in (scale, zero))
    elif quantization.axis == reduced and quantization.block_size in BLOCK_SIZES:
        block = quantization.block_size
        scale, zero = (p if found.turned else p.T for p in (scale, zero))
    else:
        return None
    return _Weight(found.name, bits, block, integers, scale, zero.astype(np.uint8))


def _block_for(width: int, bits: int) -> int:
    """The block that stores a row in the fewest bytes; the largest of those."""
    return min(_PREFERRED, key=lambda block: -(-width // block) * (block * bits // 8 + 4))


def _in_blocks(graph: ir.Graph, node: ir.Node, weight: _Weight, accuracy_level: int) -> ir.Node:
    """Case 2."""
    count, width = weight.integers.shape
    inputs: list[ir.Value | None] = [
        node.inputs[0],
        add_initializer(graph, f"{weight.name}_packed", _bytes_of(weight)),
        add_initializer(graph, f"{weight.name}_scales", np.ascontiguousarray(weight.scales)),
    ]
    if (weight.zero_points != 1 << (weight.bits - 1)).any():
        points = _in_bytes(weight.zero_points, weight.bits)
        inputs.append(add_initializer(graph, f"{weight.name}_zero_points", points))
    bias = _bias(node)
    if bias is not None:
        inputs += [None] * (5 - len(inputs)) + [bias]
    attributes = {
        "K": width,
        "N": count,
        "bits": weight.bits,
        "block_size": weight.block,
        "accuracy_level": accuracy_level,
    }
    return ir.node(IN_BLOCKS, inputs, attributes=attributes, domain=_DOMAIN, name=node.name)


def _replace(graph: ir.Graph, node: ir.Node, made: ir.Node) -> None:
    old, new = node.outputs[0], made.outputs[0]
    new.name, new.type, new.shape = old.name, old.type, old.shape
    weight = node.inputs[1]
    dequantize = None if weight is None else weight.producer()
    ir.convenience.replace_nodes_and_values(graph, node, [node], [made], [old], [new])
    if dequantize is not None:
        graph.remove(dequantize, safe=True)


def _bytes_of(weight: _Weight) -> Array:
    """Shape (N, blocks, bytes of a block); what fills the last block up stands for 0."""
    count, width = weight.integers.shape
    blocks = weight.scales.shape[1]
    padded = np.repeat(weight.zero_points, weight.block, axis=1)
    padded[:, :width] = weight.integers
    return _in_bytes(padded, weight.bits).reshape(count, blocks, -1)


def _in_bytes(rows: Array, bits: int) -> Array:
    """Each row packed: of 4 bits two in a byte, the first one in its low half."""
    if bits == 8:
        return rows
    even = rows if rows.shape[1] % 2 == 0 else np.pad(rows, ((0, 0), (0, 1)))
    return np.asarray(even[:, 0::2] | (even[:, 1::2] << 4), np.uint8)
