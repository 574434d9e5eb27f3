"""What a TFLite file calls its inputs and outputs, and which of its signatures is meant.

A SignatureDef names both, as the application does; a file without one has the names of tensors
only. A file may have several signatures, each with a graph of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgewise.errors import ModelError, UsageError
from edgewise.exporters.tflite.file import Table, each_operator, indices, text

_DEFAULT = "serving_default"
#: options of operators that hold the number of a graph
_BODIES = (
    "thenSubgraphIndex",
    "elseSubgraphIndex",
    "condSubgraphIndex",
    "bodySubgraphIndex",
    "initSubgraphIndex",
)


@dataclass(frozen=True, slots=True)
class Border:
    """Names and tensors, in order, of one entry point; `signature` is None where there is none."""

    signature: str | None
    graph: int
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


def border_of(model: Table, wanted: str | None, path: Path) -> Border:
    """The entry point of that signature, of `serving_default`, or of the first graph.

    Raises:
        UsageError: there is no such signature, or several and none was chosen.
        ModelError: two outputs of the signature are one tensor under two names.
    """
    signatures = {text(table.signatureKey): table for table in model.signatureDefs or []}
    if wanted is not None and wanted not in signatures:
        raise UsageError(
            f"there is no signature '{wanted}'",
            where=str(path),
            why=f"the file has {', '.join(signatures) or 'none'}",
        )
    if not signatures:
        return _of_tensors(model.subgraphs[0])
    key = wanted or (_DEFAULT if _DEFAULT in signatures else next(iter(signatures)))
    if wanted is None and key != _DEFAULT and len(signatures) > 1:
        raise UsageError(
            "the file has several signatures",
            where=str(path),
            why=", ".join(signatures),
            remedy="Choose one: --signature, or [model] signature.",
        )
    return _of_signature(model, key, signatures[key], path)


def _of_tensors(graph: Table) -> Border:
    names = [text(tensor.name) for tensor in graph.tensors]
    inputs = tuple((names[i], i) for i in indices(graph.inputs))
    return Border(None, 0, inputs, tuple((names[i], i) for i in indices(graph.outputs)))


def _of_signature(model: Table, key: str, table: Table, path: Path) -> Border:
    graph = model.subgraphs[table.subgraphIndex]
    sides = []
    for maps, order in ((table.inputs, graph.inputs), (table.outputs, graph.outputs)):
        named = {entry.tensorIndex: text(entry.name) for entry in maps or []}
        if len(named) < len(maps or []):
            twice = " and ".join(f"'{text(entry.name)}'" for entry in maps)
            raise ModelError(
                "one tensor has several names",
                where=f"{path}, signature '{key}'",
                why=twice,
                remedy="Convert the model with one name for each output.",
            )
        # a tensor that the signature leaves out keeps its own name
        sides.append(
            tuple((named.get(i) or text(graph.tensors[i].name), i) for i in indices(order))
        )
    return Border(key, table.subgraphIndex, sides[0], sides[1])


def bring_to_front(model: Table, number: int) -> None:
    """Make a graph the file's first, which is the one that tf2onnx reads, and drop what it does
    not need."""
    order = [number]
    for index in order:  # grows while it is walked
        for operator in model.subgraphs[index].operators or []:
            bodies = (getattr(operator.builtinOptions, name, None) for name in _BODIES)
            order += [body for body in bodies if body is not None and body not in order]
    model.subgraphs = [model.subgraphs[index] for index in order]
    for _, operator in each_operator(model):
        for name in _BODIES:
            if (body := getattr(operator.builtinOptions, name, None)) is not None:
                setattr(operator.builtinOptions, name, order.index(body))
