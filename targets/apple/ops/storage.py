"""Moving elements of types that Core ML stores, but moves with few operations only.

Booleans, and the 8-bit integers between `quantize` and `dequantize`, go through int32. That is
exact, and so is the way back for elements that came out of the same type.
"""

from __future__ import annotations

from typing import Any

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var, types

_STORED = (types.bool, types.int8, types.uint8)


def is_stored_only(dtype: Any) -> bool:
    return dtype in _STORED


def widened(var: Var) -> Var:
    return mb.cast(x=var, dtype="int32") if is_stored_only(var.dtype) else var


def narrowed(var: Var, dtype: Any) -> Var:
    """Back in `dtype`, which a value had before it was `widened`."""
    return mb.cast(x=var, dtype=types.builtin_to_string(dtype)) if is_stored_only(dtype) else var
