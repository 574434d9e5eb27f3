"""How the element types of ONNX are computed with in Core ML.

MIL computes in fp32 (narrowed to fp16 by a pass), int32 and bool. So an integer of any width is
held as int32, int64 as far as it fits; only what stands between `quantize` and `dequantize` is int8
or uint8. A result that leaves the range of its 8 or 16 bits is brought back by what ONNX says of
it, arithmetic modulo 2^n:
    unsigned  x mod 2^n
    signed    (x + 2^(n-1)) mod 2^n - 2^(n-1)
with the `mod` of MIL, which takes the sign of the divisor. Whole numbers never go through floating
point on the way: fp16 holds them only up to 2048.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var, types
from edgewise.targets.apple.call import Call, named

#: what MIL does not compute with
_STORED_ONLY = (types.int8, types.uint8, types.int16, types.uint16)
_WORD_BITS = 32


def number(call: Call, index: int) -> Var:
    """An input as `as_number` makes it."""
    return as_number(call.var(index))


def as_number(x: Var) -> Var:
    """A value in a type that MIL computes with."""
    return mb.cast(x=x, dtype="int32") if x.dtype in _STORED_ONLY else x


def element_type(call: Call, index: int) -> np.dtype[Any]:
    """The ONNX element type of an input, which tells int8 from int32 where the program does not."""
    value = call.node.inputs[index] if index < call.input_count else None
    if value is None or value.dtype is None:
        call.refuse(f"the type of input {index} is unknown", "Export the model again.")
    return value.dtype.numpy()


def is_integer(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iu"


def bits_of(dtype: np.dtype[Any]) -> int:
    """How many bits are held: of 64, the lower 32, whose highest is the sign."""
    return min(dtype.itemsize * 8, _WORD_BITS)


def wrapped(x: Var, dtype: np.dtype[Any], name: str | None = None) -> Var:
    """An int32 result of arithmetic in `dtype`, modulo 2^n."""
    bits = bits_of(dtype)
    if bits == _WORD_BITS:
        return x
    modulus, half = np.int32(1 << bits), np.int32(1 << (bits - 1))
    if dtype.kind == "u":
        return mb.mod(x=x, y=modulus, **named(name))
    return mb.sub(x=mb.mod(x=mb.add(x=x, y=half), y=modulus), y=half, **named(name))


def constant_like(x: Var, number: float) -> Any:
    """A scalar of the type that the value is computed in."""
    return np.int32(number) if x.dtype == types.int32 else np.float32(number)
