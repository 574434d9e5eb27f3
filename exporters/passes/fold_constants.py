"""What only constants go into is computed now: see `graph.fold`.

`graph.prepare` has folded what it found; other passes make more, above all `settle_shapes`.
"""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as common

from edgewise.exporters.passes.base import PassOutcome
from edgewise.graph.fold import fold, is_foldable


def fold_constants(model: ir.Model) -> PassOutcome:
    """Fold where there is something to fold; large results of small constants stay computed."""
    before = sum(map(is_foldable, model.graph))
    if not before:
        return PassOutcome(model, False)
    fold(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    return PassOutcome(model, sum(map(is_foldable, model.graph)) < before)
