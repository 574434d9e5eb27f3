"""Multiply-accumulates (MACs) of ONNX operators, as the field counts them.

One multiplication with its addition is one MAC, as in the tables of MobileNet (arXiv 1704.04861,
"Mult-Adds") and EfficientNet; other tools print twice the number as FLOPs. Only products with
weights and of matrices count: activations, normalization, pooling and additions are free.

| operator | MACs |
|---|---|
| Conv | elements of the output x channels of a group x kernel |
| ConvTranspose | elements of the input x outputs of a group x kernel |
| Gemm, MatMul | elements of the output x the dimension that is summed over |
| Einsum | product of the sizes of all letters, for each operand but one |
| Attention | scores and weighted values: for each query and key, both head sizes |
| LSTM, GRU, RNN | steps x batch x elements of W and R |
| Loop, Scan, If | runs x those of the body; the larger branch |

Padding counts, as it does in the papers: kernels multiply by it, too. A convolution of constants
is computed before the model runs, and costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import onnx_ir as ir

from edgewise.graph import attribute

Shape = tuple[int, ...]
STANDARD = frozenset({"", "ai.onnx"})
_CONTRIB = "com.microsoft"


class UnknownShape(Exception):
    """A shape that the count needs is not known; the text is the tensor's name."""


def macs_of(node: ir.Node) -> int:
    """MACs of one run of a node, without those of its bodies. Raises UnknownShape."""
    rules = _RULES if node.domain in STANDARD else _CONTRIB_RULES
    rule = rules.get(node.op_type)
    return 0 if rule is None or node.domain not in (*STANDARD, _CONTRIB) else rule(node)


def is_known(node: ir.Node) -> bool:
    """Whether it is known what a node of its domain computes."""
    return node.domain in (*STANDARD, _CONTRIB, "ai.onnx.ml", "com.ms.internal.nhwc")


def _shape(value: ir.Value | None) -> Shape:
    shape = None if value is None else value.shape
    if value is None or shape is None or not all(isinstance(size, int) for size in shape):
        raise UnknownShape("" if value is None else str(value.name))
    return tuple(int(size) for size in shape)  # type: ignore[arg-type]  # all ints


def _in(node: ir.Node, index: int) -> Shape:
    return _shape(node.inputs[index] if index < len(node.inputs) else None)


def _out(node: ir.Node) -> int:
    return prod(_shape(node.outputs[0]))


def _given(node: ir.Node, index: int) -> bool:
    return index < len(node.inputs) and node.inputs[index] is not None


def _conv(weight: int) -> Callable[[ir.Node], int]:
    return lambda node: _out(node) * prod(_in(node, weight)[1:])


def _conv_transpose(node: ir.Node) -> int:
    return prod(_in(node, 0)) * prod(_in(node, 1)[1:])


def _gemm(a: int) -> Callable[[ir.Node], int]:
    return lambda node: _out(node) * _in(node, a)[0 if attribute(node, "transA", 0) else 1]


def _matmul(node: ir.Node) -> int:
    return _out(node) * _in(node, 0)[-1]


def _fused_matmul(node: ir.Node) -> int:
    return _out(node) * _in(node, 0)[-2 if attribute(node, "transA", 0) else -1]


def _matmul_nbits(node: ir.Node) -> int:
    return prod(_in(node, 0)) * int(attribute(node, "N"))


def _einsum(node: ir.Node) -> int:
    """Letters of an ellipsis are counted from the end, where they are aligned."""
    terms = str(attribute(node, "equation")).replace(" ", "").partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for index, term in enumerate(terms):
        before, dots, after = term.partition("...")
        shape = _in(node, index)
        spread = len(shape) - len(before) - len(after) if dots else 0
        letters = [*before, *(f"...{spread - i}" for i in range(spread)), *after]
        for letter, size in zip(letters, shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    return prod(sizes.values()) * (len(terms) - 1)


def _attention(node: ir.Node) -> int:
    """Q, K, V of (batch, heads, length, size) or (batch, length, heads x size); past keys are read
    as well."""
    query, key, value = _in(node, 0), _in(node, 1), _in(node, 2)
    past = _in(node, 4)[2] if _given(node, 4) else 0
    if len(query) == 4:
        batch, heads, queries, size = query
        value_size, keys = value[3], key[2] + past
    else:
        batch, queries = query[:2]
        heads = int(attribute(node, "q_num_heads"))
        size = query[2] // heads
        value_size = value[2] // int(attribute(node, "kv_num_heads"))
        keys = key[1] + past
    return batch * heads * queries * keys * (size + value_size)


def _joined_attention(node: ir.Node) -> int:
    """com.microsoft.Attention and QAttention: projections to Q, K and V, and attention."""
    batch, length, _ = _in(node, 0)
    weights = _in(node, 1)
    hidden = weights[1] // 3
    return batch * length * prod(weights) + 2 * batch * length * length * hidden


def _split_attention(node: ir.Node) -> int:
    """com.microsoft.MultiHeadAttention with Q, K and V of (batch, length, hidden)."""
    batch, queries, hidden = _in(node, 0)
    return 2 * batch * queries * _in(node, 1)[1] * hidden


def _recurrent(node: ir.Node) -> int:
    x = _in(node, 0)  # the first two axes are steps and batch, or batch and steps
    return x[0] * x[1] * (prod(_in(node, 1)) + prod(_in(node, 2)))


_RULES: Mapping[str, Callable[[ir.Node], int]] = {
    "Attention": _attention,
    "Conv": _conv(1),
    "ConvInteger": _conv(1),
    "ConvTranspose": _conv_transpose,
    "DeformConv": _conv(1),
    "Einsum": _einsum,
    "GRU": _recurrent,
    "Gemm": _gemm(0),
    "LSTM": _recurrent,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearConv": _conv(3),
    "QLinearMatMul": _matmul,
    "RNN": _recurrent,
}
#: what ONNX Runtime fuses, of domain com.microsoft
_CONTRIB_RULES: Mapping[str, Callable[[ir.Node], int]] = {
    "Attention": _joined_attention,
    "DynamicQuantizeLSTM": _recurrent,
    "DynamicQuantizeMatMul": _matmul,
    "FusedConv": _conv(1),
    "FusedGemm": _gemm(0),
    "FusedMatMul": _fused_matmul,
    "MatMulInteger16": _matmul,
    "MatMulIntegerToFloat": _matmul,
    "MatMulNBits": _matmul_nbits,
    "MultiHeadAttention": _split_attention,
    "NhwcMaxPool": lambda node: 0,
    "QAttention": _joined_attention,
    "QGemm": _gemm(0),
    "QLinearConv": _conv(3),
    "QLinearConvTranspose": _conv_transpose,
    "TransposeMatMul": _fused_matmul,
}
