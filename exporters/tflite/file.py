"""A `.tflite` file as the tables of its FlatBuffer, and what cannot be opened of it.

Refused, by name of operator and tensor:
1. custom operators, whose code is the application's; LiteRT itself brings one of them along, the
   `TFLite_Detection_PostProcess` of detectors, which tf2onnx knows;
2. operators of TensorFlow in a TFLite file ("Flex", or Select TF ops);
3. weights stored as sparse matrices.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgewise.errors import ModelError

#: the object API of the schema gives tables without types
Table = Any

_IDENTIFIER = b"TFL3"
_KNOWN_CUSTOM = frozenset({"TFLite_Detection_PostProcess"})


def read_model(path: Path) -> Table:
    """The file as a `ModelT`, with operators that can be opened only. Raises ModelError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error.strerror or "the file cannot be opened") from error
    if content[4:8] != _IDENTIFIER:
        raise _unreadable(path, "it does not carry the identifier TFL3 of TFLite files")
    try:
        model = schema.ModelT.InitFromPackedBuf(content)
    except Exception as error:  # a broken offset ends in any of struct, numpy or Unicode errors
        raise _unreadable(path, "it is truncated or damaged") from error
    if not model.subgraphs or not model.buffers or not model.operatorCodes:
        raise _unreadable(path, "it holds no graph")
    try:
        for graph in model.subgraphs:
            _refuse_what_cannot_be_opened(model, graph, path)
    except (IndexError, AttributeError, TypeError) as error:  # indices that lead nowhere
        raise _unreadable(path, "it is truncated or damaged") from error
    return model


def operator_name(model: Table, operator: Table) -> str:
    """As the schema calls it: `CONV_2D`; of a custom one, its own name."""
    code = model.operatorCodes[operator.opcodeIndex]
    if code.customCode is not None:
        return text(code.customCode)
    return _names().get(max(code.builtinCode, code.deprecatedBuiltinCode), "unknown")


def operators(graph: Table) -> list[Table]:
    return list(graph.operators or [])


def indices(array: npt.NDArray[np.int32] | list[int] | None) -> list[int]:
    """A vector of tensor indices; generated code gives None or 0 for an empty one."""
    return [int(i) for i in array] if isinstance(array, list | np.ndarray) else []


def text(value: bytes | str | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def first_output(graph: Table, operator: Table) -> str:
    """The name of what an operator computes, to speak of it."""
    made = indices(operator.outputs)
    return text(graph.tensors[made[0]].name) if made else ""


def data(model: Table, tensor: Table) -> npt.NDArray[np.uint8] | None:
    """The bytes of a constant; None for a computed tensor."""
    found = model.buffers[tensor.buffer].data if tensor.buffer else None
    return found if isinstance(found, np.ndarray) and found.size else None


def _refuse_what_cannot_be_opened(model: Table, graph: Table, path: Path) -> None:
    for operator in operators(graph):
        if model.operatorCodes[operator.opcodeIndex].customCode is None:
            continue
        name = operator_name(model, operator)
        if name in _KNOWN_CUSTOM:
            continue
        flex = name.startswith("Flex")
        raise ModelError(
            f"operator {name.removeprefix('Flex')} cannot be read",
            where=f"{path}, tensor '{first_output(graph, operator)}'",
            why="it is one of TensorFlow's (Select TF ops), not of TFLite"
            if flex
            else "it is a custom operator, whose code is not in the file",
            remedy="Convert the model with TFLite's builtin operators alone, or export from the "
            "model that the file was made of.",
        )
    for tensor in graph.tensors:
        if tensor.sparsity is not None:
            raise ModelError(
                "sparse weights are not read",
                where=f"{path}, tensor '{text(tensor.name)}'",
                remedy="Convert the model without sparsity.",
            )


def _unreadable(path: Path, why: str) -> ModelError:
    return ModelError(
        "cannot read the model", where=str(path), why=why, remedy="Convert the model again."
    )


@cache
def _names() -> dict[int, str]:
    numbers = vars(schema.BuiltinOperator)
    return {number: name for name, number in numbers.items() if isinstance(number, int)}


def each_operator(model: Table) -> Iterator[tuple[Table, Table]]:
    """(graph, operator) of all graphs, bodies too."""
    for graph in model.subgraphs:
        for operator in operators(graph):
            yield graph, operator
