"""Reshapes that leave a free dimension as it is, said so that inference sees it.

`Flatten` and `Reshape` of other frameworks become a Reshape to (-1, ...). Where the first dimension
is free and the sizes behind it have one product before and behind, -1 is that very dimension. In
ONNX, 0 says so (Reshape, allowzero = 0), and the dimension keeps its name; from -1 nothing follows.
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx_ir as ir

from edgewise.exporters.passes.base import PassOutcome, is_op
from edgewise.graph import add_initializer, attribute, constant, node_label


def keep_free_sizes(model: ir.Model) -> PassOutcome:
    """Write 0 for such a -1."""
    modified = False
    for node in model.graph:
        if not is_op(node, "Reshape") or attribute(node, "allowzero", 0):
            continue
        data, target = node.inputs[0], constant(node.inputs[1])
        if data is None or data.shape is None or target is None:
            continue
        first, *sizes = [*data.shape] or [1]
        known = [size for size in sizes if isinstance(size, int)]
        wanted = [int(size) for size in target]
        if (
            not isinstance(first, int)
            and len(known) == len(sizes)
            and wanted[:1] == [-1]
            and 0 not in wanted
            and prod(known) == prod(wanted[1:])
        ):
            shape = np.array([0, *wanted[1:]], np.int64)
            value = add_initializer(model.graph, f"{node_label(node)}_shape", shape)
            node.replace_input_with(1, value)
            modified = True
    return PassOutcome(model, modified)
