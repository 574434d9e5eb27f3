"""How far a faithful layer of TFLite may be from the QDQ model, in steps of its output.

1. A kernel of LiteRT multiplies and adds integers exactly and rounds once, where ONNX rounds the
   quotient of two float32 numbers. The two differ by one step at most, where a value lies (almost)
   at the middle of two steps. This holds for every int8 kernel that the target writes, measured on
   random networks with all of them: convolutions, products, elementwise operators, pools, means,
   bilinear resizing, softmax and the functions that are tables of 256 entries.
2. Where the kernel prescribes the scale of its output (TANH, LOG_SOFTMAX, ...) or shares that of
   its input (pools), and the model wants another one, a QUANTIZE follows and rounds again. What the
   kernel rounds to its own scale s' may be off by one step of s', which are s' / s of the output:

       limit = 1 + s' / s

   The android scheme makes QDQ models without such pairs; others may have them.
3. The int16 kernels of TANH and SOFTMAX interpolate in tables, which is off by up to 3 of 65536
   steps, and for SOFTMAX by more where its exp is cut (see `ops.int16_limits`). Case 2 takes these
   in place of its one step s'.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgewise.targets.android.kinds import SAME_SCALE_KINDS
from edgewise.targets.android.model import INT16, Operator
from edgewise.targets.android.ops.int16_limits import softmax_steps
from edgewise.targets.layerwise import LAYER_LSB

#: kinds that move integers without rounding; the other kinds of `SAME_SCALE_KINDS` compute
_ROUNDING_AT_ONE_SCALE = frozenset({"AVERAGE_POOL_2D", "RESIZE_BILINEAR"})
_TABLE_STEPS = 3.0
_EXACT = SAME_SCALE_KINDS - _ROUNDING_AT_ONE_SCALE


def tolerance_of(operators: Sequence[Operator]) -> tuple[float, str]:
    """The limit of a layer, and where it is more than one step, why.

    Args:
        operators: of the layer, in order of execution; the last one writes its output.
    """
    last = operators[-1]
    own, reason = _own_steps(last)
    between = last.inputs[0].quantization
    wanted = last.outputs[0].quantization
    writer = next((o for o in operators[:-1] if last.inputs[0] in o.outputs), None)
    while writer is not None and writer.kind in _EXACT:
        source = writer.inputs[0]
        writer = next((o for o in operators if source in o.outputs), None)
    if last.kind != "QUANTIZE" or between is None or wanted is None or writer is None:
        return own, reason
    coarse, fine = float(between.scale[0]), float(wanted.scale[0])
    steps, _ = _own_steps(writer)
    return (
        LAYER_LSB + steps * coarse / fine,
        f"{writer.kind} rounds to steps of {coarse:.3g} before a QUANTIZE to {fine:.3g}",
    )


def _own_steps(operator: Operator) -> tuple[float, str]:
    """Case 3: how far a single kernel may be off, in steps of its own output, and why."""
    source = operator.inputs[0].quantization if operator.inputs else None
    if operator.stored_dtype != INT16 or source is None:
        return LAYER_LSB, ""
    reason = f"the int16 kernel of {operator.kind} interpolates in a table"
    if operator.kind == "TANH":
        return _TABLE_STEPS, reason
    if operator.kind == "SOFTMAX":
        return softmax_steps(source, operator.inputs[0].shape[-1]), reason
    return LAYER_LSB, ""
