"""A model in the operators that the lowering knows: prepared, expanded, and patterns fused."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from edgewise.graph import prepare
from edgewise.graph.expand import CannotExpand, expand
from edgewise.targets.android.ops.table import LOWERINGS
from edgewise.targets.android.patterns import fuse_patterns
from edgewise.targets.android.qdq import DEQUANTIZE, QUANTIZE


def legalize(source: str | Path | ir.Model) -> tuple[ir.Model, dict[ir.Node, CannotExpand]]:
    """A copy ready for `lower`, and why some of its nodes could not be expanded.

    Raises ModelError when the model cannot be prepared.
    """
    model = prepare(source, batch=1)
    declined = expand(model, _lacks_lowering)
    fuse_patterns(model)
    return model, declined


def _lacks_lowering(node: ir.Node) -> bool:
    return node.op_type not in LOWERINGS and node.op_type not in (QUANTIZE, DEQUANTIZE)
