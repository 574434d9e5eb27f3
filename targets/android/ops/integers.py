"""Arithmetic on integers, for which ONNX and TFLite differ: Div, Mod, Pow, Abs, Sign and the bits.

With `m = a - floor(a / b) * b`, which FLOOR_MOD gives:
  1. remainder of the quotient that is cut off (fmod=1): m, or m - b where m is not 0 and a and b
     have different signs; floats take the sign of a instead: `sign(a) * (|a| mod |b|)`
  2. int64 has no DIV. `n = a - remainder` is a multiple of b, so that q = n / b in float32,
     rounded, is close, and so is the quotient of what is left, n - q b: each round of three
     settles 22 of the 63 bits. The first quotient is held below 2^62, where float32 may round up
     to what int64 does not hold; that takes one round more
  3. Pow of integers with one constant exponent is repeated squaring. Where exponents are computed,
     int32 has a kernel, which fails on negative ones, and for int64 each bit of the exponent
     chooses whether to multiply. Negative exponents give 0 but for bases 1 and -1, which only see
     whether they are odd; so do exponents from 64 on, for whatever else overflows there
  4. a bit pattern: a | b = a + b - (a & b), a ^ b = a + b - 2 (a & b), ~a = -1 - a, all of them
     modulo 2^n
  5. BitShift to the left multiplies by a power of two out of a table, whose last entry is 0 for
     shifts by the width or more, or by a negative number. To the right, those count as 31, which
     leaves copies of the sign; int64 divides by the power, rounding down
"""

from __future__ import annotations

import numpy as np

from edgewise.targets.android.builder import FLOAT32
from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import Perm, Value
from edgewise.targets.android.model import INT32, INT64
from edgewise.targets.android.ops import int8_arithmetic
from edgewise.targets.android.ops.dtypes import BOOL, cast, compute, scalar
from edgewise.targets.android.ops.elementwise import operands

_ROUNDS = 4
_LARGEST_POWER = 64
_UNSIGNED = "u"


def lower_div(call: Call) -> None:
    """Case 2, and DIV for the rest."""
    if call.int8:
        int8_arithmetic.lower_div(call)
        return
    values, perm = operands(call, (0, 1))
    if values[0].dtype == FLOAT32:
        activation = call.fused_activation()
        call.finish(call.write("DIV", values, perm, fusedActivationFunction=activation))
        return
    if values[0].dtype != INT64:
        call.finish(compute(call, "DIV", values, perm))
        return
    a, b = values
    call.finish(_exact_quotient(call, _less(call, a, _cut_remainder(call, a, b, perm), perm), b))


def _less(call: Call, a: Value, b: Value, perm: Perm) -> Value:
    return compute(call, "SUB", [a, b], perm)


def _cut_remainder(call: Call, a: Value, b: Value, perm: Perm) -> Value:
    """Case 1 for integers."""
    m = compute(call, "FLOOR_MOD", [a, b], perm)
    zero = scalar(call, 0, a.dtype)
    if a.dtype.kind == _UNSIGNED:
        return m
    uneven = compute(call, "NOT_EQUAL", [m, zero], perm)
    negative = [compute(call, "LESS", [value, zero], perm) for value in (a, b)]
    differ = compute(call, "NOT_EQUAL", negative, perm)
    wrong = compute(call, "LOGICAL_AND", [uneven, differ], perm)
    return _select(call, wrong, _less(call, m, b, perm), m)


def _select(call: Call, condition: Value, yes: Value, no: Value) -> Value:
    shapes = (value.tensor.shape for value in (condition, yes, no))
    shape = np.broadcast_shapes(*shapes)
    out = call.builder.add("SELECT_V2", [condition, yes, no], shape, yes.dtype)
    return Value(out, condition.perm)


def _exact_quotient(call: Call, n: Value, b: Value) -> Value:
    """Case 2: n / b where b divides n, both int64."""
    perm = n.perm
    limit = scalar(call, 2.0**62, FLOAT32), scalar(call, -(2.0**62), FLOAT32)
    divisor = cast(call, b, FLOAT32)
    total: Value | None = None
    for _ in range(_ROUNDS):
        share = compute(call, "DIV", [cast(call, n, FLOAT32), divisor], perm)
        share = call.builder.like("ROUND", [share], share)
        share = compute(call, "MINIMUM", [share, limit[0]], perm)
        part = cast(call, compute(call, "MAXIMUM", [share, limit[1]], perm), INT64)
        total = part if total is None else compute(call, "ADD", [total, part], perm)
        n = _less(call, n, compute(call, "MUL", [part, b], perm), perm)
    assert total is not None
    return total


def lower_mod(call: Call) -> None:
    """FLOOR_MOD follows the divisor's sign, as fmod=0 does; case 1 otherwise."""
    values, perm = operands(call, (0, 1))
    a, b = values
    if not call.attribute("fmod", 0):
        call.finish(compute(call, "FLOOR_MOD", values, perm))
    elif a.dtype != FLOAT32:
        call.finish(_cut_remainder(call, a, b, perm))
    else:
        sizes = [absolute(call, value) for value in values]
        size = compute(call, "FLOOR_MOD", sizes, perm)
        call.finish(compute(call, "MUL", [size, compute(call, "SIGN", [a], a.perm)], perm))


def lower_abs(call: Call) -> None:
    x = call.numbers(0)
    call.finish(call.write("ABS", [x], x.perm) if call.int8 else absolute(call, x))


def absolute(call: Call, x: Value) -> Value:
    """|x| of floats or of integers that are not quantized."""
    if x.dtype.kind == _UNSIGNED:
        return x
    if x.dtype == INT64:
        return compute(call, "MAXIMUM", [x, compute(call, "NEG", [x], x.perm)], x.perm)
    return compute(call, "ABS", [x], x.perm)


def lower_neg(call: Call) -> None:
    if call.int8:
        int8_arithmetic.lower_neg(call)
        return
    x = call.numbers(0)
    call.finish(compute(call, "NEG", [x], x.perm))


def lower_sign(call: Call) -> None:
    x = call.numbers(0)
    if x.dtype != INT64:
        call.finish(compute(call, "SIGN", [x], x.perm))
        return
    zero = scalar(call, 0, INT64)
    above, below = (
        cast(call, compute(call, kind, [x, zero], x.perm), INT64) for kind in ("GREATER", "LESS")
    )
    call.finish(_less(call, above, below, x.perm))


def lower_pow(call: Call) -> None:
    """Case 3; the result has the type of the base."""
    if call.int8:
        int8_arithmetic.lower_pow(call)
        return
    dtype, exponent = call.numbers(0).dtype, call.constant(1)
    if exponent is not None and exponent.size == 1 and len(call.shape(1)) <= len(call.shape(0)):
        number = float(exponent.reshape(()))
        if number.is_integer() and 0 < number <= (_LARGEST_POWER if dtype != FLOAT32 else 3):
            call.finish(_repeated(call, call.numbers(0), int(number)))
            return
        if number == 0.5 and dtype == FLOAT32:
            x = call.numbers(0)
            call.finish(call.builder.like("SQRT", [x], x))
            return
    (base, power), perm = operands(call, (0, 1))
    if dtype != FLOAT32 and power.dtype != FLOAT32:
        call.finish(_integer_power(call, base, power, perm))
        return
    floats = [cast(call, value, FLOAT32) for value in (base, power)]
    call.finish(cast(call, compute(call, "POW", floats, perm), dtype))


def _integer_power(call: Call, base: Value, power: Value, perm: Perm) -> Value:
    one, none = scalar(call, 1, base.dtype), scalar(call, 0, power.dtype)
    odd = compute(call, "FLOOR_MOD", [power, scalar(call, 2, power.dtype)], power.perm)
    most = compute(call, "ADD", [odd, scalar(call, _LARGEST_POWER - 2, power.dtype)], odd.perm)
    negative = compute(call, "LESS", [power, none], power.perm)
    steps = compute(call, "MINIMUM", [_select(call, negative, odd, power), most], power.perm)
    steps = cast(call, steps, INT32)
    if base.dtype == INT64:
        result = _by_bits(call, base, steps, perm)
    else:
        result = compute(call, "POW", [base, cast(call, steps, base.dtype)], perm)
    large = compute(call, "NOT_EQUAL", [absolute(call, base), one], base.perm)
    lost = compute(call, "LOGICAL_AND", [negative, large], perm)
    return _select(call, lost, scalar(call, 0, base.dtype), result)


def _by_bits(call: Call, x: Value, steps: Value, perm: Perm) -> Value:
    """x to int32 powers from 0 to 63."""
    zero, one, two = (scalar(call, number, INT32) for number in (0, 1, 2))
    result = scalar(call, 1, x.dtype)
    for _ in range(_LARGEST_POWER.bit_length() - 1):
        bit = compute(call, "FLOOR_MOD", [steps, two], steps.perm)
        chosen = compute(call, "NOT_EQUAL", [bit, zero], bit.perm)
        factor = _select(call, chosen, x, scalar(call, 1, x.dtype))
        result = compute(call, "MUL", [result, Value(factor.tensor, perm)], perm)
        steps = compute(call, "RIGHT_SHIFT", [steps, one], steps.perm)
        x = compute(call, "MUL", [x, x], x.perm)
    return result


def _repeated(call: Call, x: Value, power: int) -> Value:
    """x to a positive power by squaring."""
    result: Value | None = None
    while True:
        if power & 1:
            result = x if result is None else compute(call, "MUL", [result, x], x.perm)
        power >>= 1
        if not power:
            assert result is not None
            return result
        x = compute(call, "MUL", [x, x], x.perm)


def lower_bitwise(call: Call) -> None:
    """Case 4 for two operands."""
    values, perm = operands(call, (0, 1))
    a, b = values
    if call.op_type == "BitwiseXor" and a.dtype != INT64:
        call.finish(compute(call, "BITWISE_XOR", values, perm))
        return
    common = _and(call, a, b, perm)
    if call.op_type == "BitwiseAnd":
        call.finish(common)
        return
    either = _less(call, compute(call, "ADD", values, perm), common, perm)
    call.finish(either if call.op_type == "BitwiseOr" else _less(call, either, common, perm))


def _and(call: Call, a: Value, b: Value, perm: Perm) -> Value:
    """The kernel wants operands of one shape."""
    shape = np.broadcast_shapes(a.tensor.shape, b.tensor.shape)
    spread = []
    for value in (a, b):
        tensor = value.tensor
        if tensor.shape != shape:
            dims = call.builder.ints(shape)
            tensor = call.builder.add("BROADCAST_TO", [tensor, dims], shape, tensor.dtype)
        spread.append(Value(tensor, perm))
    return compute(call, "STABLEHLO_AND", spread, perm)


def lower_bitwise_not(call: Call) -> None:
    x = call.numbers(0)
    ones = scalar(call, 255 if x.dtype.kind == _UNSIGNED else -1, x.dtype)
    if x.dtype == INT64:
        call.finish(_less(call, ones, x, x.perm))
        return
    call.finish(compute(call, "BITWISE_XOR", [x, ones], x.perm))


def lower_bit_shift(call: Call) -> None:
    """Case 5."""
    (x, shift), perm = operands(call, (0, 1))
    if call.attribute("direction") == "LEFT":
        width = INT64 if x.dtype == INT64 else INT32
        powers = _powers(call, shift, width)
        product = compute(call, "MUL", [cast(call, x, width), powers], perm)
        call.finish(cast(call, product, x.dtype))
    elif x.dtype == INT64:
        call.finish(_right_shift_int64(call, x, shift, perm))
    else:
        steps = cast(call, shift, INT32)
        negative = compute(call, "LESS", [steps, scalar(call, 0, INT32)], shift.perm)
        steps = _select(call, negative, scalar(call, 31, INT32), steps)
        shifted = compute(call, "RIGHT_SHIFT", [cast(call, x, INT32), steps], perm)
        call.finish(cast(call, shifted, x.dtype))


def _powers(call: Call, shift: Value, dtype: np.dtype[np.generic]) -> Value:
    """2 to the shift modulo the width, and 0 for shifts that push out every bit."""
    bits = dtype.itemsize * 8
    table = np.array([*(1 << np.arange(bits, dtype=np.uint64)), 0], np.uint64)
    numbers = call.builder.constant(table.astype(dtype))
    end = scalar(call, bits, shift.dtype)
    outside = [
        compute(call, "LESS", [shift, scalar(call, 0, shift.dtype)], shift.perm),
        compute(call, "GREATER_EQUAL", [shift, end], shift.perm),
    ]
    lost = compute(call, "LOGICAL_OR", outside, shift.perm)
    index = cast(call, _select(call, lost, end, shift), INT32)
    out = call.builder.add("GATHER", [numbers, index], shift.tensor.shape, dtype, axis=0)
    return Value(out, shift.perm)


def _right_shift_int64(call: Call, x: Value, shift: Value, perm: Perm) -> Value:
    powers = _powers(call, shift, INT64)
    zero = scalar(call, 0, INT64)
    sign = cast(call, compute(call, "LESS", [x, zero], perm), INT64)
    ends = compute(call, "LESS_EQUAL", [powers, zero], powers.perm)  # 2^63 wraps around
    safe = _select(call, ends, scalar(call, 1, INT64), powers)
    rest = compute(call, "FLOOR_MOD", [x, safe], perm)
    quotient = _exact_quotient(call, _less(call, x, rest, perm), safe)
    return _select(call, ends, compute(call, "NEG", [sign], perm), quotient)


def lower_bit_cast(call: Call) -> None:
    """The same bits read as another type of the same width."""
    x, dtype = call.numbers(0), call.output_dtype()
    known = (FLOAT32, INT32, INT64, BOOL, np.dtype(np.int8), np.dtype(np.uint8))
    if dtype not in known or dtype.itemsize != x.dtype.itemsize:
        raise call.refuse(f"TFLite has no {dtype}", "Keep to float32 and integers.")
    call.finish(x if dtype == x.dtype else call.write("BITCAST", [x], x.perm))
