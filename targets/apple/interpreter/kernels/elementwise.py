"""Arithmetic, comparison, logic, selection and casts, element by element.

coremltools MIL ops: iOS15/elementwise_unary.py, iOS15/elementwise_binary.py, control_flow.py.
"""

from __future__ import annotations

import numpy as np

from edgewise.targets.apple.interpreter.kernels.base import (
    Array,
    Inputs,
    Kernel,
    Node,
    Result,
    Run,
    binary,
    unary,
)
from edgewise.targets.apple.interpreter.numbers import HELD_AS

#: defaults of `epsilon`, added before the function is applied
_LOG_EPSILON, _RSQRT_EPSILON, _INVERSE_EPSILON = 1e-45, 1e-12, 1e-4


def _real_div(x: Array, y: Array) -> Result:
    quotient = np.true_divide(x, y)
    return np.trunc(quotient) if x.dtype.kind in "iu" else quotient  # int32 in, int32 out


def _log(node: Node) -> Run:
    epsilon = node.number("epsilon", _LOG_EPSILON)
    return lambda inputs: np.log(inputs["x"] + epsilon)


def _rsqrt(node: Node) -> Run:
    epsilon = node.number("epsilon", _RSQRT_EPSILON)
    return lambda inputs: 1 / np.sqrt(inputs["x"] + epsilon)


def _inverse(node: Node) -> Run:
    epsilon = node.number("epsilon", _INVERSE_EPSILON)
    return lambda inputs: 1 / (inputs["x"] + epsilon)


def _select(node: Node) -> Run:
    return lambda inputs: np.where(inputs["cond"], inputs["a"], inputs["b"])


def cast(x: Array, dtype: str) -> Result:
    """Towards zero from floating point to integers, saturating; non-zero is true."""
    target = np.dtype(HELD_AS[dtype])
    if target.kind == "b":
        return x != 0
    if x.dtype.kind == "f" and target.kind in "iu":
        bounds = np.iinfo(target)
        return np.clip(np.trunc(x.astype(np.float64)), bounds.min, bounds.max).astype(target)
    return x.astype(target)


def _cast(node: Node) -> Run:
    dtype = node.text("dtype", "fp32")

    def run(inputs: Inputs) -> Result:
        return cast(inputs["x"], dtype)

    return run


KERNELS: dict[str, Kernel] = {
    "abs": unary(np.abs),
    "acos": unary(np.arccos),
    "add": binary(np.add),
    "asin": unary(np.arcsin),
    "atan": unary(np.arctan),
    "atanh": unary(np.arctanh),
    "cast": _cast,
    "ceil": unary(np.ceil),
    "cos": unary(np.cos),
    "cosh": unary(np.cosh),
    "equal": binary(np.equal),
    "exp": unary(np.exp),
    "exp2": unary(np.exp2),
    "floor": unary(np.floor),
    "floor_div": binary(np.floor_divide),
    "greater": binary(np.greater),
    "greater_equal": binary(np.greater_equal),
    "identity": unary(lambda x: x),
    "inverse": _inverse,
    "less": binary(np.less),
    "less_equal": binary(np.less_equal),
    "log": _log,
    "logical_and": binary(np.logical_and),
    "logical_not": unary(np.logical_not),
    "logical_or": binary(np.logical_or),
    "logical_xor": binary(np.logical_xor),
    "maximum": binary(np.maximum),
    "minimum": binary(np.minimum),
    "mod": binary(np.mod),
    "mul": binary(np.multiply),
    "not_equal": binary(np.not_equal),
    "pow": binary(np.power),
    "real_div": binary(_real_div),
    "round": unary(np.rint),
    "rsqrt": _rsqrt,
    "select": _select,
    "sign": unary(np.sign),
    "sin": unary(np.sin),
    "sinh": unary(np.sinh),
    "sqrt": unary(np.sqrt),
    "square": unary(np.square),
    "sub": binary(np.subtract),
    "tan": unary(np.tan),
}
