"""A TFLite graph as FlatBuffer bytes (schema version 3, file identifier `TFL3`).

Layout of what is written:
  buffers    0 is empty, as the schema asks; then one per distinct constant content, in order of
             first use; then one per metadata entry. Data starts at a multiple of 16 bytes.
  subgraphs  the graph, then the bodies of its operators, each before the bodies inside of it.
  tensors    per subgraph: inputs, then in order of first use; names are unique.
  signature  `serving_default`, with the ONNX names of inputs and outputs.
The same graph gives the same bytes: nothing depends on time, hashing or identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgewise.targets.android.kinds import KINDS
from edgewise.targets.android.model import INT4, Blocks, Graph, Operator, Quantization, Tensor

IDENTIFIER = b"TFL3"
DESCRIPTION = b"Edgewise"
SIGNATURE_KEY = b"serving_default"
BUFFER_ALIGNMENT = 16

TENSOR_TYPES: dict[np.dtype[Any], int] = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    INT4: schema.TensorType.INT4,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.uint8): schema.TensorType.UINT8,
    np.dtype(np.int16): schema.TensorType.INT16,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int64): schema.TensorType.INT64,
    np.dtype(np.uint32): schema.TensorType.UINT32,
    np.dtype(np.bool_): schema.TensorType.BOOL,
}


class _AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]  # flatbuffers has no types
    """The Python library ignores `force_align: 16` of Buffer.data; this aligns byte vectors."""

    def CreateNumpyVector(self, x: npt.NDArray[Any]) -> int:
        if x.dtype != np.uint8:
            return int(super().CreateNumpyVector(x))
        self.StartVector(1, x.nbytes, BUFFER_ALIGNMENT)
        end = self.Head()
        start = int(end) - x.nbytes
        self.head = start
        self.Bytes[start:end] = x.tobytes()
        self.vectorNumElems = x.size
        return int(self.EndVector())


def serialize(graph: Graph, metadata: Mapping[str, bytes] | None = None) -> bytes:
    """The complete file; `metadata` adds named buffers to the model's metadata table."""
    model = schema.ModelT()
    model.version = 3
    model.description = DESCRIPTION
    writer = _Writer(graph.all_graphs())
    model.subgraphs = [writer.subgraph(part) for part in writer.numbers]
    model.buffers, model.operatorCodes = writer.buffers, writer.code_tables
    index = {tensor: position for position, tensor in enumerate(graph.tensors())}
    model.signatureDefs = [_signature(graph, index)]
    model.metadata = [
        _metadata_entry(name, content, model.buffers) for name, content in (metadata or {}).items()
    ]
    builder = _AlignedBuilder(1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


class _Writer:
    """What all subgraphs of a file share: buffers by content, and operator codes."""

    def __init__(self, graphs: list[Graph]) -> None:
        self.numbers = {graph: number for number, graph in enumerate(graphs)}
        self.buffers: list[Any] = [schema.BufferT()]
        self.code_tables: list[Any] = []
        self._stored: dict[bytes, int] = {}
        self._codes: dict[tuple[str, int], int] = {}

    def subgraph(self, graph: Graph) -> Any:
        assign_names(graph)
        tensors = graph.tensors()
        index = {tensor: position for position, tensor in enumerate(tensors)}
        table = schema.SubGraphT()
        number = self.numbers[graph]
        table.name = f"body_{number}".encode() if number else b"main"
        table.tensors = [self._tensor(tensor, index) for tensor in tensors]
        table.operators = [self._operator(operator, index) for operator in graph.operators]
        table.inputs = np.array([index[t] for t in graph.inputs], np.int32)
        table.outputs = np.array([index[t] for t in graph.outputs], np.int32)
        return table

    def _tensor(self, tensor: Tensor, index: Mapping[Tensor, int]) -> Any:
        table = schema.TensorT()
        table.name = tensor.name.encode()
        table.shape = np.array(tensor.shape, np.int32)
        if tensor.shape_signature is not None:
            table.shapeSignature = np.array(tensor.shape_signature, np.int32)
        table.hasRank = True
        table.type = TENSOR_TYPES[tensor.dtype]
        table.buffer = 0 if tensor.data is None else self._buffer(tensor.data)
        if tensor.quantization is not None:
            table.quantization = _quantization(tensor.quantization)
        elif tensor.blocks is not None:
            table.quantization = _block_quantization(tensor.blocks, index)
        return table

    def _buffer(self, data: npt.NDArray[Any]) -> int:
        content = constant_bytes(data)
        if content not in self._stored:
            self._stored[content] = _append_buffer(self.buffers, content)
        return self._stored[content]

    def _operator(self, operator: Operator, index: Mapping[Tensor, int]) -> Any:
        key = (operator.kind, operator.version)
        if key not in self._codes:
            self._codes[key] = len(self.code_tables)
            self.code_tables.append(_operator_code(*key))
        table = schema.OperatorT()
        table.opcodeIndex = self._codes[key]
        table.inputs = np.array([index[t] for t in operator.inputs], np.int32)
        table.outputs = np.array([index[t] for t in operator.outputs], np.int32)
        bodies = {option: self.numbers[body] for option, body in operator.bodies.items()}
        _set_options(table, operator.kind, {**operator.options, **bodies})
        return table


def assign_names(graph: Graph) -> None:
    """Give every tensor its final, unique name (some runtimes look constants up by name)."""
    tensors = graph.tensors()
    for tensor, name in zip(tensors, _unique_names(graph, tensors), strict=True):
        tensor.name = name


def made_up_name(name: str, operator: Operator) -> bool:
    """Whether the writer named what an operator writes, and not the model: see `assign_names`."""
    stem, dot, number = name.rpartition(".")
    base = stem if dot and number.isdecimal() else name
    return base.endswith(f"/{operator.kind.lower()}")


def _unique_names(graph: Graph, tensors: list[Tensor]) -> list[str]:
    wishes = dict.fromkeys(tensors, "")
    for operator in graph.operators:
        for tensor in operator.inputs:
            wishes[tensor] = wishes[tensor] or f"{operator.origin}/constant"
        for tensor in operator.outputs:
            wishes[tensor] = wishes[tensor] or f"{operator.origin}/{operator.kind.lower()}"
    taken = {tensor.name for tensor in tensors if tensor.name}
    seen: set[str] = set()
    names = []
    for tensor in tensors:
        base = name = tensor.name or wishes[tensor] or "tensor"
        count = 0
        while name in seen or (name in taken and name != tensor.name):
            count += 1
            name = f"{base}.{count}"
        seen.add(name)
        names.append(name)
    return names


def constant_bytes(array: npt.NDArray[Any]) -> bytes:
    """Elements in memory order; of int4 two in a byte, the first one in its low half."""
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.dtype != INT4:
        return flat.tobytes()
    halves = flat.astype(np.int8).view(np.uint8) & 15
    if halves.size % 2:
        halves = np.append(halves, np.uint8(0))
    return bytes((halves[0::2] | (halves[1::2] << 4)).astype(np.uint8).tobytes())


def _append_buffer(buffers: list[Any], content: bytes) -> int:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content, np.uint8)
    buffers.append(buffer)
    return len(buffers) - 1


def _quantization(quantization: Quantization) -> Any:
    table = schema.QuantizationParametersT()
    table.scale = quantization.scale
    table.zeroPoint = quantization.zero_point
    table.quantizedDimension = quantization.axis
    return table


def _block_quantization(blocks: Blocks, index: Mapping[Tensor, int]) -> Any:
    table = schema.QuantizationParametersT()
    table.detailsType = schema.QuantizationDetails.BlockwiseQuantization
    table.details = schema.BlockwiseQuantizationT()
    table.details.scales = index[blocks.scales]
    table.details.zeroPoints = -1
    table.details.blockSize = blocks.size
    table.quantizedDimension = 0
    return table


def _operator_code(kind: str, version: int) -> Any:
    number = getattr(schema.BuiltinOperator, kind)
    table = schema.OperatorCodeT()
    table.builtinCode = number
    table.deprecatedBuiltinCode = min(number, 127)  # the byte that readers before 2020 look at
    table.version = version
    return table


def _set_options(table: Any, kind: str, fields: Mapping[str, Any]) -> None:
    name = KINDS[kind].options
    if name is None:
        return
    options = getattr(schema, f"{name}T")()
    for field, value in fields.items():
        if not hasattr(options, field):
            raise AttributeError(f"{name} has no field {field}")
        setattr(options, field, value)
    types = schema.BuiltinOptions
    if hasattr(types, name):
        table.builtinOptionsType = getattr(types, name)
        table.builtinOptions = options
    else:
        table.builtinOptions2Type = getattr(schema.BuiltinOptions2, name)
        table.builtinOptions2 = options


def _signature(graph: Graph, index: Mapping[Tensor, int]) -> Any:
    def entries(names: list[str], tensors: list[Tensor]) -> list[Any]:
        tables = []
        for name, tensor in zip(names, tensors, strict=True):
            entry = schema.TensorMapT()
            entry.name = name.encode()
            entry.tensorIndex = index[tensor]
            tables.append(entry)
        return tables

    signature = schema.SignatureDefT()
    signature.signatureKey = SIGNATURE_KEY
    signature.subgraphIndex = 0
    signature.inputs = entries(graph.input_names, graph.inputs)
    signature.outputs = entries(graph.output_names, graph.outputs)
    return signature


def _metadata_entry(name: str, content: bytes, buffers: list[Any]) -> Any:
    entry = schema.MetadataT()
    entry.name = name.encode()
    entry.buffer = _append_buffer(buffers, content)
    return entry
