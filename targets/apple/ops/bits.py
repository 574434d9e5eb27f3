"""Operators on the bits of integers, of which MIL has none.

A number of n bits is spread out along a new axis, bit i being floor(x / 2^i) mod 2; floor makes
that the bits of the two's complement. 2^31 is no int32, so the last of 32 bits is divided twice.
  1. a & b is the smaller of two bits, a | b the greater, a ^ b whether they differ; the result is
     the sum of bit i times 2^i, of the sign bit of a signed type times -2^(n-1)
  2. a & (2^k - 1) = a mod 2^k
  3. ~a = -1 - a, or 2^n - 1 - a without a sign
  4. a << s = a 2^s modulo 2^n, and 0 from s = n on; a >> s = floor(a / 2^s), where shifts from n on
     leave what the sign is extended by; negative shifts are as large as they are as unsigned ones
  5. BitCast between types of 8 or of 16 bits: the range moves by 2^n; a bool is 0 or 1
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var
from edgewise.targets.apple.call import Array, Call, Operand
from edgewise.targets.apple.ops.numbers import bits_of, element_type, number, wrapped

_WORD_BITS = 32
#: the largest power of two that is an int32
_TOP = 30
_BITWISE = {"BitwiseAnd": mb.minimum, "BitwiseOr": mb.maximum, "BitwiseXor": mb.not_equal}


def bitwise(call: Call) -> Operand:
    """Cases 1 and 2."""
    dtype = element_type(call, 0)
    if call.node.op_type == "BitwiseAnd":
        for index in (0, 1):
            if (modulus := _modulus(call, index)) is not None:
                return mb.mod(x=number(call, 1 - index), y=modulus, name=call.name)
    shape = np.broadcast_shapes(call.shape(0), call.shape(1))
    rank = len(shape)
    # the new axis must not be the sixth: operands of rank 5 are of one shape, or go flat
    operands = [number(call, 0), number(call, 1)]
    if rank + 1 > 5:
        operands = [_spread_flat(x, shape) for x in operands]
        rank = 1
    bits = [_bits(x, rank, bits_of(dtype)) for x in operands]
    combined = _BITWISE[call.node.op_type](x=bits[0], y=bits[1])
    if call.node.op_type == "BitwiseXor":
        combined = mb.cast(x=combined, dtype="int32")
    total = mb.reduce_sum(x=mb.mul(x=combined, y=_weights(dtype)), axes=[-1], keep_dims=False)
    return total if rank == len(shape) else mb.reshape(x=total, shape=shape, name=call.name)


def _modulus(call: Call, index: int) -> Any:
    """2^k where the input is the constant 2^k - 1."""
    if not call.is_constant(index) or call.rank(index) > call.rank(1 - index):
        return None
    mask = call.array(index, "mask")
    if mask.size != 1:
        return None
    modulus = int(mask.reshape(())) + 1
    return np.int32(modulus) if 1 < modulus <= 1 << _TOP and modulus.bit_count() == 1 else None


def _spread_flat(x: Var, shape: tuple[int, ...]) -> Var:
    reps = [size // have for size, have in zip(shape, _aligned(x, len(shape)), strict=True)]
    x = mb.reshape(x=x, shape=_aligned(x, len(shape)))
    full = mb.tile(x=x, reps=reps) if max(reps) > 1 else x
    return mb.reshape(x=full, shape=[int(np.prod(shape))])


def _aligned(x: Var, rank: int) -> list[int]:
    return [1] * (rank - len(x.shape)) + [int(size) for size in x.shape]


def _bits(x: Var, rank: int, count: int) -> Var:
    """0 or 1 along a new last axis, the lowest bit first."""
    places = np.arange(count)
    spread = mb.reshape(x=x, shape=[*_aligned(x, rank), 1])
    shifted = mb.floor_div(x=spread, y=_power(np.minimum(places, _TOP)))
    if count == _WORD_BITS:
        shifted = mb.floor_div(x=shifted, y=_power(np.maximum(places - _TOP, 0)))
    return mb.mod(x=shifted, y=np.int32(2))


def _power(exponents: Array) -> Array:
    return np.left_shift(np.int64(1), exponents).astype(np.int32)


def _weights(dtype: np.dtype[Any]) -> Array:
    """What each bit counts in the number."""
    count = bits_of(dtype)
    weights = np.left_shift(np.int64(1), np.arange(count))
    if dtype.kind == "i" or count == _WORD_BITS:
        weights[-1] = -weights[-1]
    return weights.astype(np.int32)


def bitwise_not(call: Call) -> Operand:
    """Case 3."""
    dtype = element_type(call, 0)
    ones = (1 << bits_of(dtype)) - 1 if dtype.kind == "u" else -1
    return mb.sub(x=np.int32(ones), y=number(call, 0), name=call.name)


def bit_shift(call: Call) -> Operand:
    """Case 4."""
    dtype = element_type(call, 0)
    x, count = number(call, 0), bits_of(dtype)
    steps = np.arange(count + 1)
    given = number(call, 1)
    inside = mb.logical_and(
        x=mb.greater_equal(x=given, y=np.int32(0)), y=mb.less(x=given, y=np.int32(count))
    )
    places = mb.select(cond=inside, a=given, b=np.int32(count))
    if call.attribute("direction") == "LEFT":
        factors = np.left_shift(np.int64(1), steps)
        factors[-1] = 0
        factor = _looked_up(factors.astype(np.uint32).view(np.int32), places)
        return wrapped(mb.mul(x=x, y=factor), dtype)
    if count < _WORD_BITS:
        return mb.floor_div(x=x, y=_looked_up(_power(steps), places), name=call.name)
    first = mb.floor_div(x=x, y=_looked_up(_power(np.minimum(steps, _TOP)), places))
    rest = _looked_up(_power(np.maximum(steps - _TOP, 0)), places)
    return mb.floor_div(x=first, y=rest, name=call.name)


def _looked_up(table: Array, places: Var) -> Var:
    return mb.gather(x=table, indices=places, axis=0)


def bit_cast(call: Call) -> Operand:
    """Case 5."""
    given = element_type(call, 0)
    wanted = ir.DataType(call.attribute("to")).numpy()
    if given == wanted:
        return call.operand(0)
    if given.kind == "b" and wanted.itemsize == 1:
        return mb.cast(x=call.var(0), dtype="int32", name=call.name)
    narrow = given.itemsize == wanted.itemsize and bits_of(given) < _WORD_BITS
    if narrow and given.kind in "iu" and wanted.kind in "iu":
        return wrapped(number(call, 0), wanted, call.name)
    call.refuse(
        f"Core ML cannot read the bits of {given} as {wanted}", "Compute with the numbers instead."
    )
