"""Checks of the finished FlatBuffer: the last look before a file is written.

`verify` proves the graph in memory; this proves the bytes, parsed back with the runtime's schema
and without the writer. The runtime loads most wrong files in silence, so this is checked:
  1. schema version 3, buffer 0 empty, data of constants aligned to 16 bytes
  2. operator codes that old and new readers understand alike, in a version that knows the dtypes
  3. names given and unique
  4. one signature, whose entries are the ends of the graph in their order
  5. every rule of `verify`: order, shapes, shared scales, prescribed outputs, weights, bias scales,
     ratios, per-tensor activations
  6. every scale and zero point that stands for a tensor of the QDQ model is, bit by bit, that of
     its QuantizeLinear or DequantizeLinear nodes
A broken rule is a defect of lowering or writer, never of the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from edgewise.errors import InternalError
from edgewise.targets.android.expectations import Expectations, Expected
from edgewise.targets.android.flatbuffer import BUFFER_ALIGNMENT, SIGNATURE_KEY
from edgewise.targets.android.kinds import KINDS, version_for
from edgewise.targets.android.model import Tensor
from edgewise.targets.android.reader import File, Subgraph, UnreadableFile, read_file
from edgewise.targets.android.verify import problems

_SCHEMA_VERSION = 3
_LAST_OLD_CODE = 127


def verify_file(content: bytes, expected: Expectations) -> None:
    """Raises InternalError that names the tensor or operator, and the broken rule.

    `expected` is keyed by the tensors that were written, whose names are those in the file.
    """
    for where, problem in file_problems(content, expected):
        raise InternalError(
            f"the finished file is not valid: {problem}",
            where=where,
            remedy="Please report this with the model.",
        )


def file_problems(content: bytes, expected: Expectations) -> Iterator[tuple[str, str]]:
    """Where, and which rule is broken; a file that cannot be parsed is one problem."""
    try:
        file = read_file(content)
    except UnreadableFile as unreadable:
        yield "file", str(unreadable)
        return
    yield from _container_problems(file)
    yield from _code_problems(file)
    for subgraph in file.subgraphs:
        yield from _name_problems(subgraph)
    for operator, text in problems(file.main.graph):  # with the bodies inside
        yield ("graph" if operator is None else _label(operator.kind, operator.origin)), text
    yield from _signature_problems(file)
    yield from _parameter_problems(file.main, expected)


def _label(kind: str, output: str) -> str:
    return f"operator that writes '{output}' ({kind})"


def _container_problems(file: File) -> Iterator[tuple[str, str]]:
    """Rule 1."""
    if file.version != _SCHEMA_VERSION:
        yield "file", f"its schema version is {file.version}, not {_SCHEMA_VERSION}"
    if 0 in file.buffer_starts:
        yield "buffer 0", "it is not empty"
    for index, start in file.buffer_starts.items():
        if start % BUFFER_ALIGNMENT:
            yield _owner(file, index), f"its data starts at {start}, no multiple of 16"


def _owner(file: File, buffer: int) -> str:
    for subgraph in file.subgraphs:
        for tensor, index in zip(subgraph.tensors, subgraph.buffers, strict=True):
            if index == buffer:
                return f"tensor '{tensor.name}'"
    return f"buffer {buffer}"


def _code_problems(file: File) -> Iterator[tuple[str, str]]:
    """Rule 2."""
    for code, old in file.codes:
        if old != min(code, _LAST_OLD_CODE):
            yield f"operator code {code}", f"readers before 2020 take it for {old}"
    for subgraph in file.subgraphs:
        for operator in subgraph.graph.operators:
            if operator.kind not in KINDS:
                yield _label(operator.kind, operator.origin), "the writer does not know it"
                continue
            lowest = version_for(operator.kind, operator.stored_dtype)
            if operator.version < lowest:
                text = f"version {operator.version} does not know its dtypes, {lowest} does"
                yield _label(operator.kind, operator.origin), text


def _name_problems(subgraph: Subgraph) -> Iterator[tuple[str, str]]:
    """Rule 3."""
    for name, count in Counter(tensor.name for tensor in subgraph.tensors).items():
        if not name:
            yield "graph", "a tensor has no name"
        elif count > 1:
            yield f"tensor '{name}'", f"{count} tensors have its name"


def _signature_problems(file: File) -> Iterator[tuple[str, str]]:
    """Rule 4."""
    if [signature.key for signature in file.signatures] != [SIGNATURE_KEY.decode()]:
        yield "signature", f"there is not exactly one, of the name {SIGNATURE_KEY.decode()}"
        return
    (signature,) = file.signatures
    for what, entries, ends in (
        ("input", signature.inputs, file.main.inputs),
        ("output", signature.outputs, file.main.outputs),
    ):
        if tuple(index for _, index in entries) != ends:
            yield "signature", f"its {what}s are not those of the graph"
        names = [name for name, _ in entries]
        if len(set(names)) != len(names) or not all(names):
            yield "signature", f"its {what} names are not unique"


def _parameter_problems(main: Subgraph, expected: Expectations) -> Iterator[tuple[str, str]]:
    """Rule 6."""
    found = {tensor.name: tensor for tensor in main.tensors}
    for written, claims in expected.items():
        for claim in claims:
            where = f"tensor '{written.name}', which stands for '{claim.source}'"
            if written.name not in found:
                yield where, "it is not in the file"
                continue
            yield from ((where, text) for text in _differences(found[written.name], claim))


def _differences(tensor: Tensor, claim: Expected) -> Iterator[str]:
    found = tensor.quantization
    if found is None:
        yield "it is not quantized"
        return
    if tensor.dtype != claim.dtype:
        yield f"it is stored as {tensor.dtype}, not {claim.dtype}"
    for what, mine, wanted in (
        ("scale", found.scale, claim.scale),
        ("zero point", found.zero_point, claim.zero_point),
    ):
        if mine.shape != wanted.shape:
            yield f"it has {mine.size} {what}s, the QDQ model {wanted.size}"
        elif not np.array_equal(mine, wanted):
            first = int(np.flatnonzero(mine != wanted)[0])
            channel = f" of channel {first}" if mine.size > 1 else ""
            yield f"its {what}{channel} is {mine[first]}, that of the QDQ model {wanted[first]}"
