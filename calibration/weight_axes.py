"""Where an operator keeps its weight, and along which axes scales or tables may differ.

| operator | input | output channels | reduced |
|---|---|---|---|
| Conv | 1, (M, C/group, ...) | 0 | 1 |
| ConvTranspose | 1, (C, M/group, ...) | 1; with groups 0, for axis 1 mixes them | 0; then none |
| Gemm | 1 | the axis of N | the axis of K |
| MatMul | 1, of rank 2 | 1 | 0 |
| Gather | 0, the table | 0, the rows | 1 |
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from edgewise.graph import attribute, constant


@dataclass(frozen=True, slots=True)
class Weight:
    """The constant weight of a node; `reduced` is None where blocks make no sense."""

    value: ir.Value
    output: int
    reduced: int | None


def weight_of(node: ir.Node) -> Weight | None:
    """The weight of a node of the table above; None where it is computed, or of another form."""
    if node.domain not in ("", "ai.onnx"):
        return None
    position = 0 if node.op_type == "Gather" else 1
    value = node.inputs[position] if position < len(node.inputs) else None
    array = constant(value)
    if value is None or array is None or array.dtype != "float32" or array.ndim < 2:
        return None
    match node.op_type:
        case "Conv":
            return Weight(value, 0, 1)
        case "ConvTranspose":
            grouped = attribute(node, "group", 1) != 1
            return Weight(value, 0, None) if grouped else Weight(value, 1, 0)
        case "Gemm":
            output = 0 if attribute(node, "transB", 0) else 1
            return Weight(value, output, 1 - output)
        case "MatMul" if array.ndim == 2:
            return Weight(value, 1, 0)
        case "Gather" if attribute(node, "axis", 0) == 0:
            return Weight(value, 0, 1)
    return None
