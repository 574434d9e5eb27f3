"""Division, remainder and powers of integers, for which ONNX and MIL differ.

MIL `floor_div` rounds down and `mod` follows the sign of the divisor. With q = floor_div(a, b) and
r = a - q b:
  1. the quotient rounded towards zero: q + 1 where r is not 0 and a and b differ in sign, else q
  2. the remainder of that quotient (fmod=1): a - b * (case 1); of floats, sign(a) * (|a| mod |b|)
  3. a power with one known whole exponent is repeated multiplication, of a float base as well:
     computed by a logarithm, `pow` would know no negative bases. A negative exponent of a float
     takes the power of 1 / x, which overflows only where the result does
  4. a computed integer exponent: each of its bits chooses whether to multiply. Negative ones give 0
     but for the bases 1 and -1, which only see whether the exponent is odd; so do exponents from 64
     on, since whatever else has overflowed there
  5. an integer base with a computed float exponent: case 4 where the exponent is whole, else the
     float power cut off
"""

from __future__ import annotations

import numpy as np

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var
from edgewise.targets.apple.call import Call, Operand, named
from edgewise.targets.apple.ops.numbers import (
    constant_like,
    element_type,
    is_integer,
    number,
    wrapped,
)

_LARGEST_POWER = 64
#: more multiplications than that, and `pow` is as exact
_LARGEST_FLOAT_POWER = 8
_ZERO, _ONE, _TWO = np.int32(0), np.int32(1), np.int32(2)


def div(call: Call) -> Operand:
    """Case 1 for integers."""
    dtype = element_type(call, 0)
    a, b = number(call, 0), number(call, 1)
    if not is_integer(dtype):
        return mb.real_div(x=a, y=b, name=call.name)
    if dtype.kind == "u":
        return mb.floor_div(x=a, y=b, name=call.name)
    return wrapped(truncated_quotient(a, b), dtype)


def truncated_quotient(a: Var, b: Var | np.int32) -> Var:
    """Case 1."""
    quotient = mb.floor_div(x=a, y=b)
    rest = mb.sub(x=a, y=mb.mul(x=quotient, y=b))
    differ = mb.logical_xor(x=mb.less(x=a, y=_ZERO), y=mb.less(x=b, y=_ZERO))
    uneven = mb.logical_and(x=mb.not_equal(x=rest, y=_ZERO), y=differ)
    return mb.add(x=quotient, y=mb.cast(x=uneven, dtype="int32"))


def mod(call: Call) -> Operand:
    """Case 2, and `mod` for fmod=0."""
    a, b = number(call, 0), number(call, 1)
    if not call.attribute("fmod", 0) or element_type(call, 0).kind == "u":
        return mb.mod(x=a, y=b, name=call.name)
    if is_integer(element_type(call, 0)):
        return mb.sub(x=a, y=mb.mul(x=truncated_quotient(a, b), y=b), name=call.name)
    size = mb.mod(x=mb.abs(x=a), y=mb.abs(x=b))
    return mb.mul(x=size, y=mb.sign(x=a), name=call.name)


def power(call: Call) -> Operand:
    """Cases 3 to 5; the result has the type of the base."""
    base, dtype = number(call, 0), element_type(call, 0)
    exponent = _known_exponent(call)
    if not is_integer(dtype):
        return _float_power(call, base, exponent)
    if exponent is not None and exponent.is_integer() and 0 <= exponent <= _LARGEST_POWER:
        return wrapped(_repeated(base, int(exponent)), dtype)
    index = number(call, 1)
    if is_integer(element_type(call, 1)):
        return wrapped(_by_bits(base, index), dtype)
    whole = mb.equal(x=mb.floor(x=index), y=index)
    cut = mb.cast(x=mb.pow(x=mb.cast(x=base, dtype="fp32"), y=index), dtype="int32")
    steps = _by_bits(base, mb.cast(x=index, dtype="int32"))
    return wrapped(mb.select(cond=whole, a=steps, b=cut), dtype)


def _known_exponent(call: Call) -> float | None:
    """The exponent where one constant is all of them, and does not shape the result."""
    if not call.is_constant(1) or call.rank(1) > call.rank(0):
        return None
    exponents = call.array(1, "exponent")
    same = exponents.size == 1
    return float(exponents.reshape(-1)[0]) if same else None


def _float_power(call: Call, base: Var, exponent: float | None) -> Operand:
    """Case 3, and square roots by their own operations."""
    if exponent == 0.5:
        return mb.sqrt(x=base, name=call.name)
    if exponent == -0.5:
        return mb.real_div(x=np.float32(1), y=mb.sqrt(x=base), name=call.name)
    if exponent is not None and exponent.is_integer() and abs(exponent) <= _LARGEST_FLOAT_POWER:
        start = base if exponent >= 0 else mb.real_div(x=np.float32(1), y=base)
        return _repeated(start, abs(int(exponent)), call.name)
    index = number(call, 1)
    if is_integer(element_type(call, 1)):
        index = mb.cast(x=index, dtype="fp32")
    return mb.pow(x=base, y=index, name=call.name)


def _repeated(x: Var, exponent: int, name: str | None = None) -> Var:
    """Case 3: x to a power from 0 up, by squaring."""
    if exponent == 0:  # 1 wherever, also for NaN, as C's pow has it
        return mb.fill(shape=list(x.shape), value=constant_like(x, 1), **named(name))
    result: Var | None = None
    while True:
        if exponent & 1:
            result = x if result is None else mb.mul(x=result, y=x)
        exponent >>= 1
        if not exponent:
            assert result is not None
            return result
        x = mb.mul(x=x, y=x)


def _by_bits(base: Var, exponent: Var) -> Var:
    """Case 4."""
    odd = mb.mod(x=exponent, y=_TWO)
    negative = mb.less(x=exponent, y=_ZERO)
    most = mb.add(x=odd, y=np.int32(_LARGEST_POWER - 2))
    steps = mb.minimum(x=mb.select(cond=negative, a=odd, b=exponent), y=most)
    result, factor = None, base
    for _ in range(_LARGEST_POWER.bit_length() - 1):
        bit = mb.equal(x=mb.mod(x=steps, y=_TWO), y=_ONE)
        chosen = mb.select(cond=bit, a=factor, b=_ONE)
        result = chosen if result is None else mb.mul(x=result, y=chosen)
        steps = mb.floor_div(x=steps, y=_TWO)
        factor = mb.mul(x=factor, y=factor)
    lost = mb.logical_and(x=negative, y=mb.not_equal(x=mb.abs(x=base), y=_ONE))
    return mb.select(cond=lost, a=_ZERO, b=result)
