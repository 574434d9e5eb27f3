"""How far a faithful layer of a package may be from the QDQ model, in steps of its output.

1. In fp32 both compute the same sums in another order: one step, where a value lies (almost) at the
   middle of two.
2. In fp16 each operand and each result is rounded to 11 bits, relative to itself by at most
   u = 2^-12 each; the error of one rounding is uniform, of variance (u |v|)^2 / 3. A layer with
   weights w and inputs up to q s_x in steps of s_y gives

       sigma = u sqrt(2 / 3) q s_x |w|_2 / s_y

   over the sum of its products, whose two operands are both rounded. Six sigma of its worst output
   channel are allowed beyond the one step of case 1. Other layers, which sum little, get one step.
3. A mean in fp16 is off by no more than its inputs are rounded, u q s_x / s_y steps: many where
   these cancel, and its own steps are small.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgewise.targets.apple.program_view import Operation, ProgramView
from edgewise.targets.apple.verify_program import WEIGHTS, stored_weight
from edgewise.targets.layerwise import LAYER_LSB

_HALF_ULP = 2.0**-12
_SIGMAS = 6.0
FP16_REASON = "fp16 rounds its operands and its result to 11 bits"
_LARGEST = 128.0
_MEANS = ("avg_pool", "reduce_mean")
_OUTPUT_CHANNELS = {"conv": 0, "conv_transpose": 1, "linear": 0, "matmul": -1}


def tolerance_of(
    program: ProgramView, operations: Sequence[Operation], *, fp16: bool
) -> tuple[float, str]:
    """The limit of a layer, and where it is more than one step, why.

    Args:
        operations: of the layer, in order of execution; the last one quantizes its output.
    """
    if not fp16:
        return LAYER_LSB, ""
    step = _scale(program, operations[-1])
    sigmas = [_sigma(program, o, step) for o in operations if o.kind in WEIGHTS] if step else []
    means = [_rounding(program, o, step) for o in operations if o.kind in _MEANS] if step else []
    extra = max([1.0, *means, *(_SIGMAS * sigma for sigma in sigmas)])
    return LAYER_LSB + extra, FP16_REASON


def _scale(program: ProgramView, operation: Operation) -> float:
    scale = program.constant(operation, "scale")
    return 0.0 if scale is None else float(np.max(scale))


def _sigma(program: ProgramView, operation: Operation, step: float) -> float:
    """Zero where the operands are not quantized."""
    weight = stored_weight(program, operation)
    source = program.producer(operation, "x")
    if weight is None or source is None or source.kind != "dequantize":
        return 0.0
    axis = _OUTPUT_CHANNELS[operation.kind]
    values = weight.data.astype(np.float64) * weight.scale
    norms = np.sqrt((np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1) ** 2).sum(1))
    largest = _LARGEST * _scale(program, source)
    return float(_HALF_ULP * np.sqrt(2 / 3) * largest * norms.max() / step)


def _rounding(program: ProgramView, operation: Operation, step: float) -> float:
    """Case 3. Zero where the operand is not quantized."""
    source = program.producer(operation, "x")
    if source is None or source.kind != "dequantize":
        return 0.0
    return _HALF_ULP * _LARGEST * _scale(program, source) / step
