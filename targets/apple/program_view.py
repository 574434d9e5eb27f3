"""A MIL program as plain operations between named values, from memory or from the bytes of a file.

Read from bytes it proves what was written, so the reader shares nothing with coremltools' writer or
loader but the protobuf schema. Constants that lie in the weight file are read when asked for; the
layout of that file (little endian; coremltools, `mlmodel/src/MILBlob`):

    header    uint32 number of blobs, uint32 version; 64 bytes in all
    metadata  at the offset that the program names: uint32 0xDEADBEEF, uint32 element type,
              uint64 bytes of data, uint64 offset of data, uint64 padding bits; 64 bytes in all
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import google.protobuf.message
import ml_dtypes
import numpy as np
import numpy.typing as npt

from edgewise.errors import InternalError
from edgewise.targets.apple._coremltools import ct
from edgewise.targets.apple.origins import origin_of

Array = npt.NDArray[Any]
Load = Callable[[], Any]

_BLOB = struct.Struct("<IIQQ")
_SENTINEL = 0xDEADBEEF
#: names in MIL's protobuf -> numpy types
_TYPES = {
    "BOOL": np.bool_, "FLOAT16": np.float16, "FLOAT32": np.float32, "FLOAT64": np.float64,
    "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64, "UINT8": np.uint8,
    "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64, "INT4": ml_dtypes.int4,
    "UINT4": ml_dtypes.uint4,
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """`origin` is the node of the user's model that it was written for; `inputs` has names of
    values by parameter."""

    kind: str
    origin: str
    inputs: Mapping[str, tuple[str, ...]]
    outputs: tuple[str, ...]

    def input(self, parameter: str) -> str | None:
        """The name of a parameter's only value."""
        names = self.inputs.get(parameter, ())
        return names[0] if len(names) == 1 else None


@dataclass(frozen=True, eq=False)
class ProgramView:
    """The operations of a function in order, without those that make plain constants."""

    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, Load] = field(default_factory=dict)

    @cached_property
    def producers(self) -> Mapping[str, Operation]:
        return {name: operation for operation in self.operations for name in operation.outputs}

    @cached_property
    def readers(self) -> Mapping[str, list[Operation]]:
        found: dict[str, list[Operation]] = {}
        for operation in self.operations:
            names = (name for group in operation.inputs.values() for name in group)
            for name in dict.fromkeys(names):
                found.setdefault(name, []).append(operation)
        return found

    def producer(self, operation: Operation, parameter: str) -> Operation | None:
        """The operation that computes a parameter's value."""
        name = operation.input(parameter)
        return None if name is None else self.producers.get(name)

    def constant(self, operation: Operation, parameter: str) -> Any:
        """The value of a constant parameter: array or text; None when absent or computed."""
        name = operation.input(parameter)
        load = None if name is None else self.constants.get(name)
        return None if load is None else load()


def view_of(function: Any) -> ProgramView:
    """A function that coremltools holds in memory."""
    operations: list[Operation] = []
    constants: dict[str, Load] = {}
    for operation in function.operations:
        outputs = tuple(variable.name for variable in operation.outputs)
        if operation.op_type == "const":
            constants[outputs[0]] = _holder(operation.outputs[0])
            continue
        given = {name: value for name, value in operation.inputs.items() if value is not None}
        inputs = {
            name: tuple(v.name for v in value) if isinstance(value, list | tuple) else (value.name,)
            for name, value in given.items()
        }
        operations.append(Operation(operation.op_type, origin_of(operation), inputs, outputs))
    return ProgramView(
        tuple(operations), tuple(variable.name for variable in function.outputs), constants
    )


def _holder(variable: Any) -> Load:
    return lambda: variable.val


def read_program(model: bytes, weights: bytes, origins: Mapping[str, str]) -> ProgramView:
    """The main function of a file.

    Args:
        model: of the file `model.mlmodel`.
        weights: of the file `weight.bin`; empty where there is none.
        origins: names of values -> node of the user's model, which the file does not tell.

    Raises:
        InternalError: the bytes cannot be read.
    """
    specification = ct.proto.Model_pb2.Model()
    try:
        specification.ParseFromString(model)
    except google.protobuf.message.DecodeError as error:
        raise InternalError("the finished program cannot be read", why=str(error)) from error
    function = specification.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    operations: list[Operation] = []
    constants: dict[str, Load] = {}
    for entry in block.operations:
        outputs = tuple(output.name for output in entry.outputs)
        if entry.type == "const":
            constants[outputs[0]] = _loader(entry.attributes["val"], weights)
            continue
        inputs: dict[str, tuple[str, ...]] = {}
        for parameter, argument in entry.inputs.items():
            names = []
            for index, binding in enumerate(argument.arguments):
                name = binding.name or f"{outputs[0]}/{parameter}/{index}"
                if not binding.name:
                    constants[name] = _loader(binding.value, weights)
                names.append(name)
            inputs[parameter] = tuple(names)
        for parameter, value in entry.attributes.items():
            if parameter == "name":
                continue
            inputs[parameter] = (f"{outputs[0]}/{parameter}",)
            constants[inputs[parameter][0]] = _loader(value, weights)
        origin = next((origins[name] for name in outputs if name in origins), "")
        operations.append(Operation(entry.type, origin, inputs, outputs))
    return ProgramView(tuple(operations), tuple(block.outputs), constants)


def origins_of(function: Any) -> dict[str, str]:
    """Name of each value of a function in memory -> the node that it was computed for."""
    return {
        variable.name: origin_of(operation)
        for operation in function.operations
        for variable in operation.outputs
    }


def _loader(value: Any, weights: bytes) -> Load:
    return lambda: _read_value(value, weights)


def _read_value(value: Any, weights: bytes) -> Any:
    """An array, or text."""
    kind = value.type.tensorType
    shape = [int(dimension.constant.size) for dimension in kind.dimensions]
    name = ct.proto.MIL_pb2.DataType.Name(kind.dataType)
    if value.WhichOneof("value") == "blobFileValue":
        data = _read_blob(weights, value.blobFileValue.offset)
        return _numbers(data, _dtype(name), prod(shape)).reshape(shape)
    tensor = value.immediateValue.tensor
    field_name = tensor.WhichOneof("value")
    if field_name is None:  # no elements: protobuf leaves empty fields away
        return np.zeros(shape, _dtype(name))
    items = getattr(tensor, field_name).values
    if name == "STRING":
        return str(items[0]) if not shape else list(items)
    if field_name == "bytes":
        return _numbers(items, _dtype(name), prod(shape)).reshape(shape)
    return np.array(list(items), _dtype(name)).reshape(shape)


def _dtype(name: str) -> np.dtype[Any]:
    if name not in _TYPES:
        raise InternalError(f"the finished program has constants of type {name}, which is not read")
    dtype: np.dtype[Any] = np.dtype(_TYPES[name])
    return dtype


def _numbers(data: bytes, dtype: np.dtype[Any], count: int) -> Array:
    """Elements of 4 bits lie two in a byte, the first one low."""
    if dtype not in (np.dtype(ml_dtypes.int4), np.dtype(ml_dtypes.uint4)):
        return np.frombuffer(data, dtype)
    packed = np.frombuffer(data, np.uint8)
    nibbles = np.stack([packed & 15, packed >> 4], axis=1).reshape(-1)[:count]
    signed = np.where(nibbles > 7, nibbles.astype(np.int8) - 16, nibbles)
    return (signed if dtype == ml_dtypes.int4 else nibbles).astype(dtype)


def _read_blob(weights: bytes, offset: int) -> bytes:
    try:
        sentinel, _, size, start = _BLOB.unpack_from(weights, offset)
    except struct.error as error:
        raise InternalError("the weight file cannot be read", why=str(error)) from error
    if sentinel != _SENTINEL or start + size > len(weights):
        raise InternalError("the weight file is damaged", where=f"record at {offset}")
    return weights[start : start + size]
