"""Results whose size depends on the data: NonZero, Compress, NonMaxSuppression and Unique.

Core ML sizes an output of the model by what each run finds, and MIL's `non_zero` gives such a size.
The lowerings of other operators need every size in advance, so these stand at the end of a graph.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgewise.graph import constant
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var, types
from edgewise.targets.apple.call import Call, Operand
from edgewise.targets.apple.ops.storage import narrowed, widened


def at_the_end(call: Call, why: str, output: int = 0) -> None:
    """Refuses a node of which others read that output."""
    if output < len(call.node.outputs) and call.node.outputs[output].uses():
        call.refuse(why, f"End the exported graph at {call.node.op_type}, or in front of it.")


def where_true(mask: Var) -> Var:
    """Positions in a vector of booleans."""
    return mb.squeeze(x=mb.non_zero(x=mask), axes=[1])


def non_zero(call: Call) -> Operand:
    """MIL lists one row per element, ONNX one column."""
    at_the_end(call, "how many elements are not zero is only known once the model runs")
    rows = mb.non_zero(x=widened(call.var(0)))
    return mb.transpose(x=rows, perm=[1, 0], name=call.name)


def is_computed(node: ir.Node) -> bool:
    """A Compress whose condition is not constant."""
    condition = node.inputs[1]
    return condition is not None and constant(condition) is None


def compress(call: Call) -> Operand:
    """With a computed condition; a constant one is a Gather (`edgewise.graph.expand`)."""
    at_the_end(call, "how many elements it keeps is only known once the model runs")
    given, axis = call.var(0), call.attribute("axis")
    x = widened(given)
    if axis is None:
        x, axis = mb.reshape(x=x, shape=[int(np.prod(call.shape(0)))]), 0
    condition = call.var(1)
    assert condition.dtype == types.bool
    y = mb.gather(x=x, indices=where_true(condition), axis=axis, name=call.name)
    return narrowed(y, given.dtype)
