"""Where the 256 values of a pixel land on the int8 steps of a calibrated input.

The QDQ model has `round((pixel - mean) / std / scale) + offset`. A file that takes pixels gets
there by other arithmetic, which may fall to the other side where a value lies half-way between two
steps. Both are right to half a step; how many differ is told.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.findings import Finding
from edgewise.graph import consumers, quantization_of
from edgewise.graph.quantized import QUANTIZE

Floats = npt.NDArray[np.float64]
#: scale and int8 zero point
Step = tuple[float, int]

#: what stands for 1 in int8 weights
WEIGHT_STEPS = 127

_LEVELS = np.arange(256, dtype=np.float64)
_INT8 = (-128, 127)
#: what rounding to the nearest step costs, and the float32 error of the arithmetic before it
_HALF_STEP = 0.5 + 1e-3


def calibrated_step(source: ir.Value) -> Step | None:
    """Scale and zero point (as of int8) that the model quantizes its input with; None where some
    reader takes floats, or 16 bits, which a uint8 picture cannot fill."""
    found = set()
    for node in consumers(source):
        if node.op_type != QUANTIZE or node.inputs[0] is not source:
            return None
        parameters = quantization_of(node)
        if not parameters.per_tensor or parameters.zero_point.dtype.itemsize != 1:
            return None
        shift = 128 if parameters.zero_point.dtype == np.uint8 else 0
        found.add((float(parameters.scale), int(parameters.zero_point) - shift))
    return found.pop() if len(found) == 1 else None


def whole_zero_point(mean: float, std: float, step: Step | None) -> int | None:
    """The zero point of a uint8 input of scale `1 / std`; None where no whole one will do."""
    if step is None:
        return int(mean) if mean.is_integer() and 0 <= mean <= 255 else None
    real = np.clip((_LEVELS - mean) / (std * step[0]) + step[1], *_INT8)
    for zero_point in (int(np.floor(mean)), int(np.ceil(mean))):
        landed = np.clip(requantized(zero_point, std, step), *_INT8)
        if 0 <= zero_point <= 255 and (abs(landed - real) <= _HALF_STEP).all():
            return zero_point
    return None


def requantized(zero_point: int, std: float, step: Step) -> Floats:
    """What a QUANTIZE makes of every pixel value, before saturation; (1, 256)."""
    scale, offset = step
    landed = np.rint((_LEVELS - zero_point) / (std * scale)) + offset
    return np.asarray(landed).reshape(1, -1)


def convolved(mean: Floats, std: Floats, step: Step) -> Floats:
    """What an int8 convolution makes of every pixel value, before saturation; (channels, 256)."""
    scale, offset = step
    sums = WEIGHT_STEPS * _LEVELS - np.rint(mean * WEIGHT_STEPS).reshape(-1, 1)
    return np.asarray(np.rint(sums / (WEIGHT_STEPS * std.reshape(-1, 1) * scale)) + offset)


def rounding_remarks(
    pixels: ir.Value, mean: Floats, std: Floats, step: Step, landed: Floats
) -> list[Finding]:
    """How many pixel values the file rounds otherwise than the model does, if any.

    `landed`: the file's numbers, before saturation, for every channel and pixel value.
    """
    scale, offset = step
    means, stds = (n.astype(np.float32).reshape(-1, 1) for n in (mean, std))
    quotients = (_LEVELS.astype(np.float32) - means) / stds / np.float32(scale)
    expected = np.clip(np.rint(quotients) + offset, *_INT8)
    apart = abs(np.clip(landed, *_INT8) - expected)
    if not apart.any():
        return []
    return [
        Finding(
            "android/preprocessing-rounding",
            "info",
            f"{(apart > 0).any(axis=0).sum()} of 256 pixel values become an int8 number "
            f"{apart.max():.0f} step beside the QDQ model's, both half a step from the real value",
            str(pixels.name),
        )
    ]
