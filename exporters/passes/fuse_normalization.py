"""Normalizations that are spelled out become one node: see `graph.normalization`.

Spelled out, they would be quantized in pieces, and 8 bits hold neither squares nor their means.
"""

from __future__ import annotations

import onnx_ir as ir

from edgewise.exporters.passes.base import Declined, PassOutcome
from edgewise.graph import node_label
from edgewise.graph.normalization import fuse_normalizations, match_normalization

_RMS_OPSET = 23


def fuse_normalization(model: ir.Model) -> PassOutcome:
    """Fuse every LayerNormalization, and every RMSNormalization where the opset has it."""
    opset = int(model.opset_imports.get("", model.opset_imports.get("ai.onnx", 0)))
    modified = fuse_normalizations(model, centred_only=opset < _RMS_OPSET)
    reason = f"RMSNormalization is an operator of opset {_RMS_OPSET}, and the model has {opset}"
    left = [root for root in model.graph if match_normalization(root) is not None]
    return PassOutcome(model, modified, tuple(Declined(node_label(root), reason) for root in left))
