"""Where the int16 kernels of LiteRT compute what the operator does not mean; found by trying them.

1. Softmax    exp(x - max) is looked up in a table that ends at -10 with 2 steps of 1/32768, which
              all below take too. Each class may add these to the sum that all are divided by: 6 %
              for 1000 classes. Right where the range of the input is below 10, or classes are few.
2. means      sums are kept in 32 bits: 2**16 elements of -2**15 leave them.
3. Resize     interpolates with weights of 10 bits: up to 1 % of the range off, unless the weights
              are fractions of a small power of two, as they are for scales 2, 4 and 8.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgewise.targets.android.call import Call
from edgewise.targets.android.model import Quantization

_TABLE_END, _STEPS_AT_END, _TABLE_STEPS = 10.0, 2.0, 3.0
#: a thousandth of the range, half of what an int8 step leaves open
_MOST_STEPS = 32.0
_LARGEST_MEAN = 2**16
_EXACT_SCALES = (1.0, 2.0, 4.0, 8.0)
_EXACT_TRANSFORMS = ("half_pixel", "asymmetric")


def softmax_steps(source: Quantization, classes: int) -> float:
    """How many steps of 1/32768 SOFTMAX may be off by: for its tables, and for the sum."""
    low, high = source.real_range
    return _TABLE_STEPS + (classes * _STEPS_AT_END if high - low > _TABLE_END else 0.0)


def _softmax(call: Call) -> str | None:
    source = call.operand(0).quantization
    classes = call.shape()[int(call.attribute("axis", -1))]
    if source is None or softmax_steps(source, classes) <= _MOST_STEPS:
        return None
    return f"TFLite's int16 kernel cuts exp at -{_TABLE_END:g}, which {classes} classes add up"


def _mean(call: Call) -> str | None:
    elements = int(np.prod(call.shape())) // max(int(np.prod(call.output_shape())), 1)
    if elements < _LARGEST_MEAN:
        return None
    return f"TFLite's int16 kernel sums in 32 bits, and {elements} elements may leave them"


def _average_pool(call: Call) -> str | None:
    elements = int(np.prod(call.attribute("kernel_shape")))
    if elements < _LARGEST_MEAN:
        return None
    return f"TFLite's int16 kernel sums in 32 bits, and {elements} elements may leave them"


def _resize(call: Call) -> str | None:
    if call.attribute("mode", "nearest") not in ("linear", b"linear"):
        return None
    transform = call.attribute("coordinate_transformation_mode", "half_pixel")
    scales = {
        after / before for before, after in zip(call.shape(), call.output_shape(), strict=True)
    }
    if transform in _EXACT_TRANSFORMS and scales <= set(_EXACT_SCALES):
        return None
    return "TFLite's int16 kernel interpolates with weights of 10 bits"


INT16_LIMITS: dict[str, Callable[[Call], str | None]] = {
    "AveragePool": _average_pool,
    "GlobalAveragePool": _mean,
    "ReduceMean": _mean,
    "Resize": _resize,
    "Softmax": _softmax,
    "Upsample": _resize,
}
