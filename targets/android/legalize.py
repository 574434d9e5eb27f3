"""A model in the operators that the lowering knows: prepared, expanded, and patterns fused."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from edgewise.graph import prepare
from edgewise.graph.expand import CannotExpand, expand
from edgewise.graph.expand.linear_quantization import needs_arithmetic
from edgewise.graph.joined_bias import join_biases
from edgewise.graph.matmul_nbits import unpack_matmul_nbits
from edgewise.graph.patterns import fuse_patterns
from edgewise.graph.prepare import settle
from edgewise.graph.swish import spell_out_silu
from edgewise.targets.android.ops.table import LOWERINGS
from edgewise.targets.android.qdq import DEQUANTIZE, QUANTIZE


def legalize(
    source: str | Path | ir.Model, *, batch: int = 1, owned: bool = False
) -> tuple[ir.Model, dict[ir.Node, CannotExpand]]:
    """A copy ready for `lower`, and why some of its nodes could not be expanded.

    `batch` takes the place of symbolic first dimensions; an `owned` model is changed instead of
    copied. Raises ModelError when the model cannot be prepared.
    """
    model = prepare(source, batch=batch, owned=owned)
    if unpack_matmul_nbits(model):
        settle(model)
    spell_out_silu(model)
    declined = expand(model, _lacks_lowering, loops=True)
    fuse_patterns(model)
    join_biases(model)
    return model, declined


def _lacks_lowering(node: ir.Node) -> bool:
    if node.op_type in (QUANTIZE, DEQUANTIZE):
        return needs_arithmetic(node)
    lowering = LOWERINGS.get(node.op_type)
    return lowering is None or (lowering.fits is not None and not lowering.fits(node))
