"""Which function expands which ONNX operator.

Each gets an `Expansion`, appends nodes to it, and gives the values that take the place of the
node's outputs, None for one that nothing reads. It raises CannotExpand when it does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from edgewise.graph.expand import activation
from edgewise.graph.expand.expansion import Expansion

Expand = Callable[[Expansion], Sequence[ir.Value | None]]

EXPANSIONS: dict[str, Expand] = {
    # activations
    "Swish": activation.expand_swish,
}
