"""Arithmetic, comparison, selection and casts, element by element with NumPy broadcasting.

Integers are computed as `numbers` tells; their division, remainder and powers stand in `integers`,
what concerns their bits in `bits`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var, types
from edgewise.targets.apple.call import Call, Operand
from edgewise.targets.apple.ops.numbers import (
    constant_like,
    element_type,
    is_integer,
    number,
    wrapped,
)

_ARITHMETIC = {"Add": "add", "Sub": "sub", "Mul": "mul"}
_DIRECT_BINARY = {
    "Equal": "equal", "Greater": "greater", "Less": "less",
    "GreaterOrEqual": "greater_equal", "LessOrEqual": "less_equal",
    "And": "logical_and", "Or": "logical_or", "Xor": "logical_xor",
}  # fmt: skip
_DIRECT_UNARY = {
    "Floor": "floor", "Ceil": "ceil", "Round": "round", "Sign": "sign",
    "Exp": "exp", "Sqrt": "sqrt", "Erf": "erf", "Not": "logical_not",
    "Sin": "sin", "Cos": "cos", "Tan": "tan", "Asin": "asin", "Acos": "acos", "Atan": "atan",
    "Sinh": "sinh", "Cosh": "cosh", "Tanh": "tanh", "Atanh": "atanh",
}  # fmt: skip
_VARIADIC = {"Max": "maximum", "Min": "minimum", "Sum": "add", "Mean": "add"}
#: what is held as int32. Of int64 that is what models use for sizes and indices; unsigned types of
#: 32 bits and more are there for the numbers that int32 has not
_INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "int64")
_FLOATS = ("float16", "float32", "float64")
_WORD_BYTES = 4


def arithmetic(call: Call) -> Operand:
    """Add, Sub and Mul."""
    dtype = element_type(call, 0)
    operation = getattr(mb, _ARITHMETIC[call.node.op_type])
    result: Var = operation(x=number(call, 0), y=number(call, 1), name=call.name)
    return wrapped(result, dtype) if is_integer(dtype) else result


def binary(call: Call) -> Operand:
    """Comparison and logic; booleans are equal where they do not differ."""
    x, y = number(call, 0), number(call, 1)
    if call.node.op_type == "Equal" and x.dtype == types.bool:
        return mb.logical_not(x=mb.logical_xor(x=x, y=y), name=call.name)
    return getattr(mb, _DIRECT_BINARY[call.node.op_type])(x=x, y=y, name=call.name)


def unary(call: Call) -> Operand:
    """Operators that MIL has under another name."""
    return getattr(mb, _DIRECT_UNARY[call.node.op_type])(x=number(call, 0), name=call.name)


def absolute(call: Call) -> Operand:
    """The smallest number of a signed type is its own absolute value."""
    dtype = element_type(call, 0)
    if dtype.kind == "u":
        return call.operand(0)
    result = mb.abs(x=number(call, 0), name=call.name)
    return wrapped(result, dtype) if is_integer(dtype) else result


def variadic(call: Call) -> Operand:
    """Max, Min, Sum and Mean of any number of inputs."""
    operation = getattr(mb, _VARIADIC[call.node.op_type])
    result = number(call, 0)
    for index in range(1, call.input_count):
        result = operation(x=result, y=number(call, index))
    if call.node.op_type == "Mean":
        result = mb.real_div(x=result, y=np.float32(call.input_count))
    return result


def negate(call: Call) -> Operand:
    dtype, x = element_type(call, 0), number(call, 0)
    result = mb.mul(x=x, y=constant_like(x, -1), name=call.name)
    return wrapped(result, dtype) if is_integer(dtype) else result


def reciprocal(call: Call) -> Operand:
    """Not MIL `inverse`, which adds 1e-4 to its argument."""
    return mb.real_div(x=np.float32(1), y=call.var(0), name=call.name)


def logarithm(call: Call) -> Operand:
    """MIL `log` adds an epsilon to its argument unless told not to."""
    return mb.log(x=call.var(0), epsilon=np.float32(0), name=call.name)


def where(call: Call) -> Operand:
    """coremltools takes the shape of a `select` from its choices alone: where the condition has
    more elements, one choice is brought to the shape of all."""
    a, b = number(call, 1), number(call, 2)
    wanted = np.broadcast_shapes(*(call.shape(index) for index in range(3)))
    if np.broadcast_shapes(call.shape(1), call.shape(2)) != wanted:
        a = _repeated(a, wanted)
    return mb.select(cond=call.var(0), a=a, b=b, name=call.name)


def _repeated(x: Var, shape: tuple[int, ...]) -> Var:
    """`x` broadcast to a shape; MIL cannot tile booleans, but a conjunction broadcasts them."""
    if x.dtype == types.bool:
        return mb.logical_and(x=x, y=np.ones(shape, bool))
    if x.val is not None:
        return mb.const(val=np.array(np.broadcast_to(x.val, shape)))
    aligned = [1] * (len(shape) - len(x.shape)) + [int(size) for size in x.shape]
    reps = [1 if size == have else size for size, have in zip(shape, aligned, strict=True)]
    return mb.tile(x=mb.reshape(x=x, shape=aligned), reps=reps)


def cast(call: Call) -> Operand:
    """1. To bool: whether it is not 0, also for numbers below 1. 2. From floating point to
    integers: towards zero; beyond the range ONNX leaves it open. 3. Between integers: modulo 2^n.
    4. Types of 16 and 64 bits of floating point are computed as float32."""
    given = element_type(call, 0)
    wanted: np.dtype[Any] = ir.DataType(call.attribute("to")).numpy()
    x = number(call, 0)
    if wanted.kind == "b":
        return x if given.kind == "b" else mb.not_equal(x=x, y=constant_like(x, 0), name=call.name)
    if wanted.name in _FLOATS:
        return x if x.dtype == types.fp32 else mb.cast(x=x, dtype="fp32", name=call.name)
    if wanted.name not in _INTEGERS:
        call.refuse(f"Core ML does not compute with {wanted}", "Cast to int32 or float32.")
    if not is_integer(given):
        return mb.cast(x=x, dtype="int32", name=call.name)
    holds = np.can_cast(given, wanted) or wanted.itemsize >= _WORD_BYTES
    return x if holds else wrapped(x, wanted)


def alias(call: Call) -> Operand:
    """Identity."""
    return call.operand(0)
