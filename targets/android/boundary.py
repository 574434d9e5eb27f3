"""Inputs and outputs of the TFLite graph: dtype, layout, and the signature for the manifest.

1. A float input that only Q nodes of one kind read is int8 (or int16) in the file, and so is an
   output that a DQ node makes; `float_io` keeps them float32.
2. Four-dimensional tensors are NHWC: inputs always, outputs when they already are (an output in
   ONNX order stays so, and the signature says it). An input that the model itself transposes
   from NHWC keeps its order.
3. Other ranks keep ONNX order.
4. A uint8 input or output of the model stays uint8; a QUANTIZE converts it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.errors import ModelError
from edgewise.graph import attribute, consumers, static_shape
from edgewise.targets.android.builder import INT8
from edgewise.targets.android.call import Context
from edgewise.targets.android.flatbuffer import TENSOR_TYPES
from edgewise.targets.android.layout import NHWC, Perm, Value, identity
from edgewise.targets.android.model import Quantization, Tensor
from edgewise.targets.android.qdq import DEQUANTIZE, QUANTIZE
from edgewise.targets.base import TensorSignature

_FROM_NHWC = [0, 3, 1, 2]
_TO_NHWC = [0, 2, 3, 1]
_UINT8_SHIFT = 128


def add_input(context: Context, source: ir.Value, *, float_io: bool) -> TensorSignature:
    """Create the tensor of a graph input and publish its value."""
    shape, hub_dtype = static_shape(source), _numpy_dtype(source)
    perm = _input_perm(source, len(shape))
    layout = "NHWC" if len(shape) == 4 else ""
    physical = tuple(shape[axis] for axis in perm)
    builder, plan = context.builder, context.plan
    quantization = None if float_io else plan.realised.get(source)
    stored = plan.parameters.get(source)
    dtype = hub_dtype if quantization is None else quantization.dtype
    tensor = Tensor(physical, dtype, quantization or stored, name=source.name or "")
    value = Value(tensor, perm)
    builder.graph.inputs.append(tensor)
    builder.graph.input_names.append(source.name or "")
    if quantization is not None:
        for reader in consumers(source):
            context.values[reader.outputs[0]] = value
    elif stored is not None and dtype == np.uint8:
        tensor.quantization = _shifted(stored)
        builder.origin = source.name or ""
        signed = builder.add("QUANTIZE", [value], physical, INT8, stored, version=2)
        context.values[source] = Value(signed, perm)
    else:
        context.values[source] = value
    return _signature(source, tensor, perm, layout, hub_dtype, quantization)


def add_output(context: Context, source: ir.Value, *, float_io: bool) -> TensorSignature:
    """Find the value of a graph output, give it its final form, and register it."""
    builder, plan = context.builder, context.plan
    builder.origin = source.name or ""
    hub_dtype = _numpy_dtype(source)
    stored = plan.stored.get(source)
    quantization = None
    if stored is not None:
        value = context.values[stored]
        quantization = None if float_io else value.quantization
        value = builder.dequantize(value) if float_io else value
    elif source in context.values:
        value = context.values[source]
    else:
        value = _constant_output(context, source)
    if hub_dtype == np.uint8 and value.quantization is not None and quantization is None:
        unsigned = _shifted(value.quantization)
        out = builder.add("QUANTIZE", [value], value.tensor.shape, hub_dtype, unsigned, version=2)
        value = Value(out, value.perm)
    if value.rank != 4 or value.perm != NHWC:
        value = builder.linear(value)
    value = _own_tensor(context, value)
    value.tensor.name = source.name or ""
    builder.graph.outputs.append(value.tensor)
    builder.graph.output_names.append(source.name or "")
    layout = _output_layout(source, value.perm)
    return _signature(source, value.tensor, value.perm, layout, hub_dtype, quantization)


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
    dims = np.array(value.tensor.shape, np.int32)
    shape = context.builder.constant(dims)
    return context.builder.like("RESHAPE", [value, shape], value, newShape=dims)


def _input_perm(source: ir.Value, rank: int) -> Perm:
    if rank != 4:
        return identity(rank)
    node = next(iter(consumers(source)), None)
    while node is not None and node.op_type in (QUANTIZE, DEQUANTIZE):
        node = next(iter(consumers(node.outputs[0])), None)
    if node is not None and node.op_type == "Transpose":
        return identity(4) if attribute(node, "perm") == _FROM_NHWC else NHWC
    return NHWC


def _output_layout(source: ir.Value, perm: Perm) -> str:
    if len(perm) != 4:
        return ""
    node = source.producer()
    while node is not None and node.op_type in (QUANTIZE, DEQUANTIZE) and node.inputs[0]:
        node = node.inputs[0].producer()
    turned = node is not None and node.op_type == "Transpose"
    if turned and node is not None and attribute(node, "perm") == _TO_NHWC:
        return "NHWC" if perm == identity(4) else ""
    return "NHWC" if perm == NHWC else "NCHW"


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
    return Quantization(signed.scale, zero_point, dtype=np.dtype(np.uint8))


def _signature(
    source: ir.Value,
    tensor: Tensor,
    perm: Perm,
    layout: str,
    hub_dtype: np.dtype[Any],
    quantization: Quantization | None,
) -> TensorSignature:
    return TensorSignature(
        name=source.name or "",
        file_name=tensor.name,
        shape=tensor.shape,
        dtype=tensor.dtype.name,
        layout=layout,
        hub_shape=static_shape(source),
        hub_dtype=hub_dtype.name,
        perm=perm,
        scale=None if quantization is None else float(quantization.scale[0]),
        zero_point=None if quantization is None else int(quantization.zero_point[0]),
    )
