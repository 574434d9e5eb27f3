"""Weights that are not finite: training that diverged, or a file that is damaged.

Frameworks differ in what they make of NaN (a ReLU may pass it on, or give 0), so such models cannot
be compared, and a quantized one has no ranges. Infinities that are meant are let pass:

1. bounds, which are tensors of one value
2. masks, whose finite values are all the same
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from edgewise.findings import Finding

_FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE})


def not_finite_weights(model: ir.Model) -> dict[str, str]:
    """By name of a constant what it holds, such as "2 NaN of 36 values"."""
    found = {name: _told(tensor) for name, tensor in _constants(model)}
    return {name: told for name, told in found.items() if told}


def not_finite_findings(model: ir.Model) -> tuple[Finding, ...]:
    """One for all such weights, which names the first; none where there is none."""
    found = not_finite_weights(model)
    if not found:
        return ()
    first, told = next(iter(found.items()))
    more = f", and so do {len(found) - 1} others" if len(found) > 1 else ""
    return (
        Finding(
            "export/not-finite",
            "warning",
            f"weights are not finite: '{first}' holds {told}{more}",
            remedy="Look at how the model was trained and saved.",
        ),
    )


def _constants(model: ir.Model) -> Iterator[tuple[str, ir.TensorProtocol]]:
    for graph in model.graphs():
        for name, value in graph.initializers.items():
            if value.const_value is not None:
                yield name, value.const_value
        for node in graph:
            held = node.attributes.get("value") if node.op_type == "Constant" else None
            if held is not None and held.type == ir.AttributeType.TENSOR and not held.is_ref():
                yield str(node.outputs[0].name), held.as_tensor()


def _told(tensor: ir.TensorProtocol) -> str:
    if tensor.dtype not in _FLOATS:
        return ""
    array = tensor.numpy()
    finite = np.isfinite(array)
    if finite.all():
        return ""
    if count := int(np.isnan(array).sum()):
        return f"{count} NaN of {array.size} values"
    meant = array.size == 1 or (finite.any() and np.unique(array[finite]).size == 1)
    return "" if meant else f"{array.size - int(finite.sum())} infinite of {array.size} values"
