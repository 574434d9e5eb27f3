"""Arithmetic, comparison and selection, element by element with NumPy broadcasting."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import types
from edgewise.targets.apple.call import Call, Operand

_DIRECT_BINARY = {
    "Add": "add", "Sub": "sub", "Mul": "mul",
    "Equal": "equal", "Greater": "greater", "Less": "less",
    "GreaterOrEqual": "greater_equal", "LessOrEqual": "less_equal",
    "And": "logical_and", "Or": "logical_or", "Xor": "logical_xor",
}  # fmt: skip
_DIRECT_UNARY = {
    "Abs": "abs", "Floor": "floor", "Ceil": "ceil", "Round": "round", "Sign": "sign",
    "Exp": "exp", "Sqrt": "sqrt", "Erf": "erf", "Not": "logical_not",
    "Sin": "sin", "Cos": "cos", "Tan": "tan", "Asin": "asin", "Acos": "acos", "Atan": "atan",
    "Sinh": "sinh", "Cosh": "cosh", "Tanh": "tanh", "Atanh": "atanh",
}  # fmt: skip
_VARIADIC = {"Max": "maximum", "Min": "minimum", "Sum": "add", "Mean": "add"}
_CAST = {"float32": "fp32", "float16": "fp32", "float64": "fp32", "bool": "bool"}


def binary(call: Call) -> Operand:
    """Operators that MIL has under another name."""
    operation = getattr(mb, _DIRECT_BINARY[call.node.op_type])
    return operation(x=call.var(0), y=call.var(1), name=call.name)


def unary(call: Call) -> Operand:
    """Operators that MIL has under another name."""
    return getattr(mb, _DIRECT_UNARY[call.node.op_type])(x=call.var(0), name=call.name)


def div(call: Call) -> Operand:
    if not call.is_float(0):
        call.refuse(
            "Core ML's integer division rounds down where ONNX rounds to zero",
            "Divide in floating point, or precompute the value.",
        )
    return mb.real_div(x=call.var(0), y=call.var(1), name=call.name)


def mod(call: Call) -> Operand:
    if call.attribute("fmod", 0):
        call.refuse("Core ML has no C-style remainder (fmod=1)", "Use fmod=0.")
    return mb.mod(x=call.var(0), y=call.var(1), name=call.name)


def power(call: Call) -> Operand:
    """Squares and roots have operations of their own, exact and defined on the Neural Engine."""
    exponent = call.scalar(1, "exponent") if call.is_constant(1) and call.rank(1) == 0 else None
    if exponent == 2.0:
        x = call.var(0)
        return mb.mul(x=x, y=x, name=call.name)
    if exponent == 0.5:
        return mb.sqrt(x=call.var(0), name=call.name)
    exponent_var = call.var(1)
    if not call.is_float(1):
        exponent_var = mb.cast(x=exponent_var, dtype="fp32")
    return mb.pow(x=call.var(0), y=exponent_var, name=call.name)


def variadic(call: Call) -> Operand:
    """Max, Min, Sum and Mean of any number of inputs."""
    operation = getattr(mb, _VARIADIC[call.node.op_type])
    result = call.var(0)
    for index in range(1, call.input_count):
        result = operation(x=result, y=call.var(index))
    if call.node.op_type == "Mean":
        result = mb.mul(x=result, y=np.float32(1 / call.input_count))
    return result


def negate(call: Call) -> Operand:
    minus = np.float32(-1) if call.is_float(0) else np.int32(-1)
    return mb.mul(x=call.var(0), y=minus, name=call.name)


def reciprocal(call: Call) -> Operand:
    """Not MIL `inverse`, which adds 1e-4 to its argument."""
    return mb.real_div(x=np.float32(1), y=call.var(0), name=call.name)


def logarithm(call: Call) -> Operand:
    """MIL `log` adds an epsilon to its argument unless told not to."""
    return mb.log(x=call.var(0), epsilon=np.float32(0), name=call.name)


def where(call: Call) -> Operand:
    return mb.select(cond=call.var(0), a=call.var(1), b=call.var(2), name=call.name)


def cast(call: Call) -> Operand:
    wanted = ir.DataType(call.attribute("to")).numpy()
    if wanted.kind in "iu":
        wider = wanted.itemsize > 1
        dtype = "int32" if wider else wanted.name
    elif wanted.name in _CAST:
        dtype = _CAST[wanted.name]
    else:
        call.refuse(f"Core ML has no type {wanted}", "Cast to another type.")
    x = call.var(0)
    if types.builtin_to_string(x.dtype) == dtype:
        return x
    if dtype in ("int8", "uint8") and x.dtype != types.int32:
        x = mb.cast(x=x, dtype="int32")  # narrowing is defined from int32
    return mb.cast(x=x, dtype=dtype, name=call.name)


def alias(call: Call) -> Operand:
    """Identity, and Dropout at inference."""
    return call.operand(0)
