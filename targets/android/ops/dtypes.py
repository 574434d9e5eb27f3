"""Numbers that are not quantized: which kernels of LiteRT know which, and how to use the others.

  1. a kernel that knows the type computes in it
  2. int8, uint8 and bool go through int32 and back. Sums, differences and products of int32 wrap
     modulo 2^32, and CAST to a narrower type drops the upper bits, so that the result is the one
     modulo 2^8 that ONNX asks for; quotients, comparisons and extrema of numbers of 8 bits fit
  3. anything else is refused
The table was tried kernel by kernel in the LiteRT runtime, with XNNPACK and without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgewise.targets.android.call import Call
from edgewise.targets.android.layout import Perm, Value
from edgewise.targets.android.model import INT32, INT64, Tensor

BOOL: np.dtype[Any] = np.dtype(np.bool_)

_ARITHMETIC = ("float32", "int32", "int64")
KERNEL_DTYPES: dict[str, tuple[str, ...]] = {
    "ABS": ("float32", "int32"),
    "ADD": _ARITHMETIC,
    "BITWISE_XOR": ("int8", "uint8", "int32"),
    "DIV": ("float32", "int32"),
    "EQUAL": (*_ARITHMETIC, "bool"),
    "FLOOR_MOD": _ARITHMETIC,
    "GREATER": _ARITHMETIC,
    "GREATER_EQUAL": _ARITHMETIC,
    "LESS": _ARITHMETIC,
    "LESS_EQUAL": _ARITHMETIC,
    "LOGICAL_AND": ("bool",),
    "LOGICAL_NOT": ("bool",),
    "LOGICAL_OR": ("bool",),
    "MAXIMUM": (*_ARITHMETIC, "int8", "uint8"),
    "MEAN": _ARITHMETIC,
    "MINIMUM": (*_ARITHMETIC, "int8", "uint8"),
    "MUL": _ARITHMETIC,
    "NEG": _ARITHMETIC,
    "NOT_EQUAL": (*_ARITHMETIC, "bool"),
    "POW": ("float32", "int32"),
    "REDUCE_ALL": ("bool",),
    "REDUCE_ANY": ("bool",),
    "REDUCE_MAX": (*_ARITHMETIC, "int8", "uint8"),
    "REDUCE_MIN": (*_ARITHMETIC, "int8", "uint8"),
    "REDUCE_PROD": _ARITHMETIC,
    "RIGHT_SHIFT": ("int32",),
    "SELECT_V2": (*_ARITHMETIC, "int8", "uint8", "bool"),
    "SIGN": ("float32", "int32"),
    "STABLEHLO_AND": ("int8", "uint8", "int32", "int64"),
    "SUB": _ARITHMETIC,
    "SUM": _ARITHMETIC,
}
_COMPARISONS = frozenset({"EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL"})
_NARROW = ("int8", "uint8", "bool")

#: versions that a type raises above the lowest one of the kind
_VERSIONS: dict[tuple[str, str], int] = {
    ("ABS", "int32"): 5,
    ("ADD", "int64"): 4,
    ("MUL", "int64"): 5,
    ("SIGN", "int32"): 2,
    ("SUB", "int64"): 4,
}


def working_dtype(kind: str, dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """The type in which a kernel computes on numbers of that type; None when it cannot."""
    known = KERNEL_DTYPES[kind]
    if dtype.name in known:
        return dtype
    return INT32 if dtype.name in _NARROW and "int32" in known else None


def compute(
    call: Call,
    kind: str,
    values: Sequence[Value],
    perm: Perm,
    shape: Sequence[int] | None = None,
    *,
    parameters: Sequence[Tensor] = (),
    **options: Any,
) -> Value:
    """An operator on numbers of one type that are not quantized; the result has that type, too,
    or is bool where the operator compares.

    Args:
        shape: ONNX shape of the result, that of what the operands broadcast to by default.
        parameters: further inputs, which keep their type.
    """
    dtype = values[0].dtype
    work = working_dtype(kind, dtype)
    if work is None:
        raise call.refuse(
            f"TFLite has no {kind} of {dtype}", "Cast to int32 or float32 in the model."
        )
    operands = [cast(call, value, work) for value in values]
    if shape is None:
        physical = list(np.broadcast_shapes(*(value.tensor.shape for value in operands)))
    else:
        physical = [shape[axis] for axis in perm]
    result = BOOL if kind in _COMPARISONS else work
    out = call.builder.add(
        kind,
        [*operands, *parameters],
        physical,
        result,
        version=_VERSIONS.get((kind, work.name)),
        **options,
    )
    return Value(out, perm) if kind in _COMPARISONS else cast(call, Value(out, perm), dtype)


def cast(call: Call, value: Value, dtype: np.dtype[Any]) -> Value:
    """The numbers in another type: floats are truncated, integers lose their upper bits."""
    tensor = value.tensor
    if tensor.dtype == dtype:
        return value
    if tensor.data is not None:
        return Value(call.builder.constant(tensor.data.astype(dtype), tensor.name), value.perm)
    return Value(call.builder.add("CAST", [value], tensor.shape, dtype), value.perm)


def scalar(call: Call, number: float, dtype: np.dtype[Any]) -> Value:
    """A constant that broadcasts to anything."""
    return Value(call.builder.constant(np.array(number, dtype)), ())


def is_wide(value: Value | Tensor) -> bool:
    """Whether the kernels that lack int64 are out of reach."""
    return value.dtype == INT64
