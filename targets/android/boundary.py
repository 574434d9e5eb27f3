"""Inputs and outputs of the TFLite graph: dtype, layout, and the signature for the manifest.

1. A float input that only Q nodes of one kind read is int8 (or int16) in the file, and so is an
   output that a DQ node makes. `Ends.io` says otherwise: `float` keeps both float32; `uint8` writes
   int8 ends with zero points 128 higher, which a QUANTIZE converts.
2. Four-dimensional tensors are NHWC: inputs always, outputs when they already are (an output in
   ONNX order stays so, and the signature says it). An input that the model itself transposes
   from NHWC keeps its order. `Ends.layout` can ask for NCHW, at the price of transposes.
3. Other ranks keep ONNX order.
4. A uint8 input or output of the model stays uint8; a QUANTIZE converts it.
5. Names are the model's own, in the signature too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.errors import ModelError
from edgewise.graph import attribute, consumers, static_shape
from edgewise.targets.android.builder import Builder
from edgewise.targets.android.call import Context
from edgewise.targets.android.flatbuffer import TENSOR_TYPES
from edgewise.targets.android.layout import NHWC, Perm, Value, identity
from edgewise.targets.android.model import INT8, Quantization, Tensor
from edgewise.targets.android.qdq import DEQUANTIZE, QUANTIZE
from edgewise.targets.base import TensorSignature

_FROM_NHWC = [0, 3, 1, 2]
_TO_NHWC = [0, 2, 3, 1]
#: file axes of an NHWC tensor of the model that is to be NCHW in the file
_NCHW_OF_NHWC: Perm = (0, 3, 1, 2)
_UINT8: np.dtype[Any] = np.dtype(np.uint8)
_UINT8_SHIFT = 128
_DATA_DEPENDENT = "found"


@dataclass(frozen=True, slots=True)
class Ends:
    """What inputs and outputs are to look like.

    `io`: `float`, `uint8`, or anything else for what the model stores; `layout`: `NHWC` or `NCHW`.
    """

    io: str = "int8"
    layout: str = "NHWC"

    @property
    def is_float(self) -> bool:
        return self.io == "float"

    def quantization(self, stored: Quantization) -> Quantization:
        """The parameters in the file of an end that the graph stores so."""
        return _shifted(stored) if self.io == "uint8" and stored.dtype == INT8 else stored


def add_input(context: Context, source: ir.Value, ends: Ends) -> TensorSignature:
    """Create the tensor of a graph input and publish its value."""
    shape, hub_dtype = static_shape(source), _numpy_dtype(source)
    perm, layout = _input_order(source, len(shape), ends.layout)
    builder, plan = context.builder, context.plan
    realised = None if ends.is_float else plan.realised.get(source)
    stored = plan.parameters.get(source) if realised is None else realised
    in_file = stored
    if stored is not None and realised is not None:
        in_file = ends.quantization(stored)
    elif stored is not None and hub_dtype == _UINT8:
        in_file = _shifted(stored)
    dtype = hub_dtype if in_file is None else in_file.dtype
    physical = tuple(shape[axis] for axis in perm)
    tensor = Tensor(physical, dtype, in_file, name=source.name or "")
    builder.graph.inputs.append(tensor)
    builder.graph.input_names.append(source.name or "")
    builder.origin = source.name or ""
    value = Value(tensor, perm)
    if stored is not None:
        value = builder.quantize(value, stored)
    if realised is None:
        context.values[source] = value
    else:
        for reader in consumers(source):
            context.values[reader.outputs[0]] = value
    return _signature(source, tensor, perm, layout, None if realised is None else in_file)


def add_output(context: Context, source: ir.Value, ends: Ends) -> TensorSignature:
    """Find the value of a graph output, give it its final form, and register it."""
    builder, plan = context.builder, context.plan
    builder.origin = source.name or ""
    stored = plan.stored.get(source)
    quantization = None
    if stored is not None and ends.is_float:
        value = builder.dequantize(context.values[stored])
    elif stored is not None:
        value = context.values[stored]
        quantization = ends.quantization(_parameters(value))
        value = builder.quantize(value, quantization)
    elif source in context.values:
        value = context.values[source]
    else:
        value = _constant_output(context, source)
    if _numpy_dtype(source) == _UINT8 and value.quantization is not None and quantization is None:
        value = builder.quantize(value, _shifted(value.quantization))
    value, layout = _ordered_output(builder, source, value, ends.layout)
    value = _own_tensor(context, value)
    value.tensor.name = source.name or ""
    builder.graph.outputs.append(value.tensor)
    builder.graph.output_names.append(source.name or "")
    return _signature(source, value.tensor, value.perm, layout, quantization)


def _parameters(value: Value) -> Quantization:
    if value.quantization is None:
        raise AssertionError("what a DequantizeLinear reads is quantized")
    return value.quantization


def _constant_output(context: Context, source: ir.Value) -> Value:
    array = context.plan.constant(source)
    if array is None:
        raise ModelError("an output is never computed", where=f"output '{source.name}'")
    return Value(context.builder.constant(array, source.name or ""), identity(array.ndim))


def _own_tensor(context: Context, value: Value) -> Value:
    """An output must be computed by an operator of its own, not be an input or another output."""
    graph = context.builder.graph
    shared = value.tensor in graph.inputs or value.tensor in graph.outputs
    if not shared and value.tensor.data is None:
        return value
    if value.tensor.data is not None and not value.tensor.data.size:
        return Value(_without_elements(context, value.tensor), value.perm)
    return Value(context.builder.copy(value.tensor, value.tensor.shape), value.perm)


def _without_elements(context: Context, tensor: Tensor) -> Tensor:
    """The runtime takes an empty constant for a missing one, so an operator makes the output."""
    builder = context.builder
    zero = builder.constant(np.zeros((), tensor.dtype))
    return builder.add("FILL", [builder.ints(tensor.shape), zero], tensor.shape, tensor.dtype)


def _input_order(source: ir.Value, rank: int, wanted: str) -> tuple[Perm, str]:
    """The order of an input in the file, and the name of its layout."""
    if rank != 4:
        return identity(rank), ""
    node = next(iter(consumers(source)), None)
    while node is not None and node.op_type in (QUANTIZE, DEQUANTIZE):
        node = next(iter(consumers(node.outputs[0])), None)
    is_transpose = node is not None and node.op_type == "Transpose"
    is_nhwc = is_transpose and node is not None and attribute(node, "perm") == _FROM_NHWC
    if wanted == "NCHW":
        return (_NCHW_OF_NHWC if is_nhwc else identity(4)), "NCHW"
    return (identity(4) if is_nhwc else NHWC), "NHWC"


def _ordered_output(
    builder: Builder, source: ir.Value, value: Value, wanted: str
) -> tuple[Value, str]:
    """An output in its order in the file, and the name of that layout."""
    if value.rank != 4:
        return builder.linear(value), ""
    is_nhwc = _made_nhwc(source)
    if wanted == "NCHW":
        return builder.reorder(value, _NCHW_OF_NHWC if is_nhwc else identity(4)), "NCHW"
    if is_nhwc:
        return builder.linear(value), "NHWC"
    if value.perm == NHWC:
        return value, "NHWC"
    return builder.linear(value), "NCHW"


def _made_nhwc(source: ir.Value) -> bool:
    """Whether the model itself transposes the output to NHWC."""
    node = source.producer()
    while node is not None and node.op_type in (QUANTIZE, DEQUANTIZE) and node.inputs[0]:
        node = node.inputs[0].producer()
    return (
        node is not None and node.op_type == "Transpose" and (attribute(node, "perm") == _TO_NHWC)
    )


def _numpy_dtype(source: ir.Value) -> np.dtype[Any]:
    dtype = None if source.dtype is None else np.dtype(source.dtype.numpy())
    if dtype is None or dtype not in TENSOR_TYPES:
        raise ModelError(
            "TFLite has no such data type",
            where=f"tensor '{source.name}'",
            why=f"its type is {dtype or 'unknown'}",
            remedy="Export the model in float32.",
        )
    return dtype


def _shifted(signed: Quantization) -> Quantization:
    zero_point = signed.zero_point + _UINT8_SHIFT
    return Quantization(signed.scale, zero_point, dtype=_UINT8)


def _signature(
    source: ir.Value,
    tensor: Tensor,
    perm: Perm,
    layout: str,
    quantization: Quantization | None,
) -> TensorSignature:
    dims = _dims(tensor)
    return TensorSignature(
        name=source.name or "",
        file_name=tensor.name,
        shape=dims,
        dtype=tensor.dtype.name,
        layout=layout,
        hub_shape=tuple(dims[perm.index(axis)] for axis in range(len(perm))),
        hub_dtype=_numpy_dtype(source).name,
        perm=perm,
        scale=None if quantization is None else float(quantization.scale[0]),
        zero_point=None if quantization is None else int(quantization.zero_point[0]),
    )


def _dims(tensor: Tensor) -> tuple[int | str, ...]:
    """Sizes in the file; a name for one that is only known once the model has run."""
    sizes = tensor.shape_signature or tensor.shape
    return tuple(dim if dim >= 0 else _DATA_DEPENDENT for dim in sizes)
