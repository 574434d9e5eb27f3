"""Inputs and outputs of a file: it speaks the hub model's own names, layouts and dtypes."""

from __future__ import annotations

import onnx_ir as ir

from edgewise.errors import ModelError
from edgewise.targets.base import TensorSignature

#: stored as arrays of a library of their own, which ONNX Runtime does not take from Python
_WITHOUT_ARRAYS = frozenset(
    {
        ir.DataType.BFLOAT16,
        ir.DataType.FLOAT4E2M1,
        ir.DataType.FLOAT8E4M3FN,
        ir.DataType.FLOAT8E4M3FNUZ,
        ir.DataType.FLOAT8E5M2,
        ir.DataType.FLOAT8E5M2FNUZ,
        ir.DataType.FLOAT8E8M0,
        ir.DataType.INT2,
        ir.DataType.INT4,
        ir.DataType.UINT2,
        ir.DataType.UINT4,
    }
)


def signature(value: ir.Value) -> TensorSignature:
    """Raises ModelError for what is no array, or of unknown type or rank."""
    if value.type is not None and not isinstance(value.type, ir.TensorType):
        kind = type(value.type).__name__.removesuffix("Type").lower()
        raise ModelError(
            f"inputs and outputs must be tensors, not a {kind}",
            where=f"'{value.name}'",
            remedy="Take sequences apart, and fill optional values, inside of the model.",
        )
    if value.shape is None or value.dtype is None:
        raise ModelError(
            "the shape and dtype of inputs and outputs must be known",
            where=f"tensor '{value.name}'",
            remedy="Give fixed input shapes ([model] input_shapes, or --input-shape).",
        )
    if value.dtype in _WITHOUT_ARRAYS:
        raise ModelError(
            f"inputs and outputs cannot be {value.dtype.name}",
            where=f"tensor '{value.name}'",
            why="ONNX Runtime takes no arrays of that type",
            remedy="Put a Cast behind the input, or before the output.",
        )
    shape = tuple(dim if isinstance(dim, int) else str(dim) for dim in value.shape)
    dtype = str(value.dtype.numpy())
    return TensorSignature(
        name=str(value.name),
        file_name=str(value.name),
        shape=shape,
        dtype=dtype,
        layout="NCHW" if len(shape) == 4 else "",
        hub_shape=shape,
        hub_dtype=dtype,
        perm=tuple(range(len(shape))),
    )
