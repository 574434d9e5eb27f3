"""Proof that an ORT file holds the constants of the ONNX model that it was made from.

Optimizers join operators, and fold and merge constants; weights in integers they leave as they are.
So each constant of the file that has the name of one of the model is the same, bit for bit, and
every matrix or kernel of integers of the model is there.
"""

from __future__ import annotations

from typing import Any, NoReturn

import onnx
from onnx import numpy_helper

from edgewise.errors import InternalError
from edgewise.targets.arm.ort_format.canonical import Table, read

_INTEGERS = frozenset({"int4", "uint4", "int8", "uint8"})
#: numbers of fields: of the root, of Model, of Graph, of Tensor
_MODEL, _GRAPH, _INITIALIZERS, _NAME, _RAW = 1, 7, 0, 0, 4


def verify_ort(content: bytes, model: bytes) -> None:
    """Raises InternalError, naming the constant, for the first that is another or missing."""
    stored = {tensor[_NAME]: tensor.get(_RAW, b"") for tensor in _initializers(read(content))}
    for tensor in onnx.load_model_from_string(model).graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == object:
            continue
        if tensor.name not in stored:
            if array.dtype.name in _INTEGERS and array.ndim > 1:
                _broken(tensor.name, "is missing")
        elif stored[tensor.name] != _bytes(tensor):
            _broken(tensor.name, "is another one")


def _initializers(root: Table) -> list[Table]:
    found: list[Table] = root[_MODEL][_GRAPH].get(_INITIALIZERS, [])
    return found


def _bytes(tensor: onnx.TensorProto) -> Any:
    """In the form in which both formats keep them, two numbers of 4 bits in a byte."""
    if tensor.HasField("raw_data"):
        return tensor.raw_data
    return numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data


def _broken(name: str, what: str) -> NoReturn:
    raise InternalError(
        "the file in ORT format does not hold the constants of the model",
        where=f"constant '{name}'",
        why=f"it {what}",
        remedy="Leave out ort_format, and report this with the model.",
    )
