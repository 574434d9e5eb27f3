"""A finished `.tflite` file read back into the graph that the writer started from.

The counterpart of `flatbuffer.serialize`, for whoever must judge the bytes and not the intention:
the verifier of the finished file, and the replay of single layers. Constants are views into the
bytes, so that reading a file costs its tables and not its weights.

Files of other tools (`foreign`) hold more than the writer makes: inputs that are left out, types of
tensors without numbers, custom operators, sparse constants, bodies in any order. They are read for
whoever looks at them; what cannot be decoded of a constant stays its bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgewise.targets.android.flatbuffer import IDENTIFIER, TENSOR_TYPES
from edgewise.targets.android.model import (
    INT4,
    Array,
    Blocks,
    Graph,
    Operator,
    Quantization,
    Tensor,
)

_DTYPES: dict[int, np.dtype[Any]] = {number: dtype for dtype, number in TENSOR_TYPES.items()}
#: options that hold the number of a subgraph end with this
_BODY = "SubgraphIndex"
#: types of tensors that only files of other tools have
_FOREIGN: dict[int, np.dtype[Any]] = {
    schema.TensorType.FLOAT64: np.dtype(np.float64),
    schema.TensorType.COMPLEX64: np.dtype(np.complex64),
    schema.TensorType.COMPLEX128: np.dtype(np.complex128),
    schema.TensorType.UINT16: np.dtype(np.uint16),
    schema.TensorType.UINT64: np.dtype(np.uint64),
    schema.TensorType.STRING: np.dtype(object),
    schema.TensorType.RESOURCE: np.dtype(object),
    schema.TensorType.VARIANT: np.dtype(object),
}
#: option of a custom operator that holds its name
CUSTOM_CODE = "customCode"
#: an input that is left out, in the place where it would be
ABSENT = Tensor((0,), np.dtype(np.int32), data=np.zeros(0, np.int32))


class UnreadableFile(Exception):
    """The bytes are no TFLite model that the writer could have made; the text says why."""


@dataclass(frozen=True, slots=True)
class Signature:
    """An entry point: public names and, for each, the index of the tensor in subgraph 0."""

    key: str
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Subgraph:
    """`tensors` in the order of the file, `buffers` the index of each one's buffer; `inputs` and
    `outputs` are indices of tensors."""

    graph: Graph
    tensors: tuple[Tensor, ...]
    buffers: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class File:
    """What a file holds beside its graphs: entry points, and where constant data starts."""

    version: int
    subgraphs: tuple[Subgraph, ...]
    signatures: tuple[Signature, ...]
    #: position of the data of each non-empty buffer in the file, by buffer index
    buffer_starts: dict[int, int]
    #: (code, code for readers before 2020) per operator code
    codes: tuple[tuple[int, int], ...]
    description: str = ""
    #: named entries, such as the runtime that the file asks for
    metadata: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def main(self) -> Subgraph:
        return self.subgraphs[0]


def read_file(content: bytes, *, foreign: bool = False) -> File:
    """Parse a file. Raises UnreadableFile."""
    if content[4:8] != IDENTIFIER:
        raise UnreadableFile("the file identifier is not TFL3")
    try:
        model = schema.ModelT.InitFromPackedBuf(content)
    except Exception as error:  # a broken offset ends in any of struct, numpy or Unicode errors
        raise UnreadableFile(f"the FlatBuffer is damaged: {error}") from error
    if not model.subgraphs or not model.buffers or model.operatorCodes is None:
        raise UnreadableFile("it has no graph")
    buffers = [_data(buffer) for buffer in model.buffers]
    reader = _Reader(model.operatorCodes, buffers, foreign)
    subgraphs = tuple(reader.subgraph(table) for table in model.subgraphs)
    for number in range(len(subgraphs)):
        _attach_bodies(number, subgraphs, foreign)
    return File(
        version=model.version,
        subgraphs=subgraphs,
        signatures=tuple(_signature(table) for table in model.signatureDefs or []),
        buffer_starts=_starts(content, buffers),
        codes=tuple((code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes),
        description=_text(model.description),
        metadata={
            _text(entry.name): buffers[entry.buffer].tobytes()
            for entry in model.metadata or []
            if 0 <= entry.buffer < len(buffers)
        },
    )


def _data(buffer: Any) -> Array:
    """The bytes of a buffer; generated code gives 0 for an empty vector."""
    return buffer.data if isinstance(buffer.data, np.ndarray) else np.zeros(0, np.uint8)


def _starts(content: bytes, buffers: list[Array]) -> dict[int, int]:
    base = np.frombuffer(content, np.uint8).ctypes.data
    return {index: data.ctypes.data - base for index, data in enumerate(buffers) if data.size}


@dataclass(frozen=True, slots=True)
class _Reader:
    """Tables of the schema to objects of the model; `foreign` as the module says."""

    codes: Sequence[Any]
    buffers: list[Array]
    foreign: bool

    def subgraph(self, table: Any) -> Subgraph:
        tensors = tuple(self._tensor(tensor) for tensor in table.tensors or [])
        for tensor, entry in zip(tensors, table.tensors or [], strict=True):
            tensor.blocks = _blocks(entry.quantization, tensors)
        graph = Graph(
            operators=[self._operator(entry, tensors) for entry in table.operators or []],
            inputs=_pick(tensors, _ints(table.inputs)),
            outputs=_pick(tensors, _ints(table.outputs)),
        )
        graph.input_names = [tensor.name for tensor in graph.inputs]
        graph.output_names = [tensor.name for tensor in graph.outputs]
        return Subgraph(
            graph,
            tensors,
            tuple(tensor.buffer for tensor in table.tensors or []),
            _ints(table.inputs),
            _ints(table.outputs),
        )

    def _tensor(self, table: Any) -> Tensor:
        name = _text(table.name)
        shape = _ints(table.shape)
        dtype = _DTYPES.get(table.type) or (_FOREIGN.get(table.type) if self.foreign else None)
        if dtype is None:
            raise UnreadableFile(f"tensor '{name}' has the unknown type {table.type}")
        if not 0 <= table.buffer < len(self.buffers):
            raise UnreadableFile(f"tensor '{name}' has no buffer {table.buffer}")
        data = None
        stored = self.buffers[table.buffer]
        if table.buffer and (stored.size or 0 in shape):  # buffer 0 means "computed"
            data = self._array(name, stored, dtype, shape)
        quantization = self._quantization(name, table.quantization, dtype)
        free = _ints(table.shapeSignature) if table.shapeSignature is not None else None
        return Tensor(shape, dtype, quantization, data, name, free)

    def _array(self, name: str, data: Array, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
        elements = int(np.prod(shape, dtype=np.int64))
        wanted = (elements + 1) // 2 if dtype == INT4 else elements * dtype.itemsize
        if data.size != wanted or dtype.hasobject:
            if self.foreign:  # sparse, or text
                return data
            raise UnreadableFile(f"constant '{name}' has {data.size} bytes instead of {wanted}")
        if dtype == INT4:
            return _halves(data)[:elements].reshape(shape)
        return np.frombuffer(data, dtype).reshape(shape)  # np.frombuffer takes unaligned data, too

    def _quantization(self, name: str, table: Any, dtype: np.dtype[Any]) -> Quantization | None:
        if table is None or not isinstance(table.scale, np.ndarray):
            return None
        zero_point = table.zeroPoint
        if not isinstance(zero_point, np.ndarray) or zero_point.shape != table.scale.shape:
            if not self.foreign:
                raise UnreadableFile(f"tensor '{name}' has no zero point for each of its scales")
            zero_point = np.zeros(table.scale.shape, np.int64)
        return Quantization(table.scale, zero_point, int(table.quantizedDimension), dtype)

    def _operator(self, table: Any, tensors: Sequence[Tensor]) -> Operator:
        if not 0 <= table.opcodeIndex < len(self.codes):
            raise UnreadableFile(f"an operator has no code {table.opcodeIndex}")
        code = self.codes[table.opcodeIndex]
        kind = _kind_names().get(max(code.builtinCode, code.deprecatedBuiltinCode))
        if kind is None:
            raise UnreadableFile(f"there is no builtin operator {code.builtinCode}")
        outputs = tuple(_pick(tensors, _ints(table.outputs)))
        options = table.builtinOptions or table.builtinOptions2
        named = {} if code.customCode is None else {CUSTOM_CODE: _text(code.customCode)}
        return Operator(
            kind,
            tuple(_pick(tensors, _ints(table.inputs), absent=self.foreign)),
            outputs,
            named if options is None else dict(vars(options)),
            code.version,
            outputs[0].name if outputs else "",
        )


def _attach_bodies(number: int, subgraphs: Sequence[Subgraph], foreign: bool) -> None:
    """Numbers of subgraphs among the options become the graphs themselves."""
    first = -1 if foreign else number  # the writer puts a graph before its bodies
    for operator in subgraphs[number].graph.operators:
        for option in [name for name in operator.options if name.endswith(_BODY)]:
            body = int(operator.options.pop(option))
            if not first < body < len(subgraphs) or body == number:
                raise UnreadableFile(f"subgraph {number} cannot run subgraph {body}")
            operator.bodies[option] = subgraphs[body].graph


def _halves(data: Array) -> Array:
    """The int4 elements of packed bytes: the low half of each first, sign extended."""
    low, high = (data << 4).view(np.int8) >> 4, data.view(np.int8) >> 4
    return np.stack([low, high], axis=1).reshape(-1).astype(INT4)


def _blocks(table: Any, tensors: Sequence[Tensor]) -> Blocks | None:
    if table is None or table.detailsType != schema.QuantizationDetails.BlockwiseQuantization:
        return None
    (scales,) = _pick(tensors, [table.details.scales])
    return Blocks(scales, int(table.details.blockSize))


@cache
def _kind_names() -> dict[int, str]:
    return {
        number: name
        for name, number in vars(schema.BuiltinOperator).items()
        if not name.startswith("_")
    }


def _signature(table: Any) -> Signature:
    def entries(maps: Sequence[Any] | None) -> tuple[tuple[str, int], ...]:
        return tuple((_text(entry.name), int(entry.tensorIndex)) for entry in maps or [])

    return Signature(_text(table.signatureKey), entries(table.inputs), entries(table.outputs))


def _pick(
    tensors: Sequence[Tensor], indices: Sequence[int], *, absent: bool = False
) -> list[Tensor]:
    for index in indices:
        if not (0 <= index < len(tensors) or (absent and index == -1)):
            raise UnreadableFile(f"there is no tensor {index}")
    return [ABSENT if index == -1 else tensors[index] for index in indices]


def _ints(vector: Any) -> tuple[int, ...]:
    """A vector of the schema; absent ones are None, and empty ones 0, in generated code."""
    return tuple(vector.tolist()) if isinstance(vector, np.ndarray) else ()


def _text(name: bytes | None) -> str:
    try:
        return "" if name is None else name.decode()
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"a name in it is no text: {error}") from error
