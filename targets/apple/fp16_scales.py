"""Scales that fp16 cannot hold: a package that computes in fp16 stores them so.

Below 6.1e-5 the numbers of fp16 lie at equal distances, so that small scales lose more than the
half unit in the last place that others lose (IEEE 754, binary16).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgewise.findings import Finding
from edgewise.graph import node_label, quantization_of
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE

#: largest relative error of rounding to fp16 where the value is in fp16's normal range
_ROUNDING = 2.0**-11


def lossy_scales(model: ir.Model) -> list[Finding]:
    """A warning for each Q or DQ node whose scale loses more than rounding takes.

    Raises ModelError for a scale that is not constant.
    """
    nodes = [node for node in model.graph if node.op_type in (QUANTIZE, DEQUANTIZE)]
    return [finding for node in nodes if (finding := _finding(node)) is not None]


def _finding(node: ir.Node) -> Finding | None:
    quantization = quantization_of(node)
    stored = node.inputs[0]
    if stored is not None and stored.const_value is not None and stored.dtype == ir.DataType.INT32:
        return None  # biases become floats
    narrowed = quantization.scale.astype(np.float16).astype(np.float32)
    error = float(np.max(np.abs(narrowed - quantization.scale) / quantization.scale))
    if error <= 2 * _ROUNDING:
        return None
    return Finding(
        "apple/fp16-scale",
        "warning",
        f"a scale of {float(quantization.scale.min()):.3g} loses {error:.1%} in fp16",
        node=node_label(node),
        remedy='Emit with compute = "fp32", or rescale the layer.',
    )
