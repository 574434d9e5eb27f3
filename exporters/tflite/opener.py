"""Opens a `.tflite` file: float, float16 weights, int8 weights, or quantized all through.

1. The file is read and its border named (`file`, `border`).
2. A copy is brought to what tf2onnx reads well (`repair`), and tf2onnx writes it as ONNX.
3. What tf2onnx leaves unconverted is written in ONNX here (`leftovers`), or refused by name.
4. TFLite Metadata tells of labels and normalization (`metadata`).
The original runs in LiteRT (`runtime`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgewise.errors import ModelError, UsageError
from edgewise.exporters.extras import import_extra
from edgewise.exporters.opened import OpenedModel, Runner, Shapes, SourceOptions
from edgewise.exporters.quiet import quiet
from edgewise.exporters.tflite.border import Border, border_of, bring_to_front
from edgewise.exporters.tflite.file import (
    Table,
    data,
    each_operator,
    operator_name,
    read_model,
)
from edgewise.exporters.tflite.leftovers import write_leftovers
from edgewise.exporters.tflite.metadata import read_metadata
from edgewise.exporters.tflite.repair import fix_sizes, name_tensors, repair
from edgewise.exporters.tflite.runtime import LiteRt, tensor_shapes
from edgewise.findings import Finding
from edgewise.references import describe

#: the newest that tf2onnx writes
_OPSET = 18
#: LiteRT rounds the inputs of operators with int8 weights to 8 bits while it runs; nobody does here
_HYBRID_TOLERANCE = 0.1
#: LiteRT's own kernels differ from each other by up to 66 of 255 steps after a trained network of
#: 15 layers (XNNPACK, builtin and reference ones, same file and pictures), and from QDQ by 32
_INTEGER_TOLERANCE = 0.25
#: sizes of what these compute depend on data, whatever the file says
_SIZED_BY_DATA = frozenset(
    {
        "IF",
        "NON_MAX_SUPPRESSION_V4",
        "NON_MAX_SUPPRESSION_V5",
        "RANGE",
        "TFLite_Detection_PostProcess",
        "UNIQUE",
        "WHERE",
        "WHILE",
    }
)


def open_tflite(path: Path, options: SourceOptions) -> OpenedModel:
    """Read a file; inputs and outputs carry the names of its signature, else those of tensors.

    A batch, or another size, that is free in the file is fixed to the file's own example of it,
    which is 1 for what TensorFlow converts; `options.input_shapes` gives another size, or a name
    that keeps it free.

    Raises:
        UsageError: tf2onnx or tensorflow is missing; there is no such signature or input, or a
            shape does not fit.
        ModelError: the file cannot be read, or holds operators that cannot be converted.
    """
    tf2onnx = import_extra("tf2onnx", needed_for="TFLite models")
    model = read_model(path)
    told = read_metadata(model, path)
    border = border_of(model, options.signature, path)
    _fix(model, border, options.input_shapes, path)
    hybrid = _has_hybrid_operators(model)
    bring_to_front(model, border.graph)
    name_tensors(model, {index: name for name, index in (*border.outputs, *border.inputs)})
    repair(model)
    converted = _converted(tf2onnx, model, path)
    write_leftovers(converted, path)
    _name_sizes(converted, options.input_shapes)

    def open_runner() -> Runner:
        return LiteRt(path, border).run

    return OpenedModel(
        "tflite",
        converted,
        open_runner,
        exporter=f"tf2onnx {tf2onnx.__version__}",
        findings=_HYBRID if hybrid else (),
        preprocessing=told.preprocessing,
        labels=told.labels,
        tolerance=_tolerance(converted, hybrid),
    )


_HYBRID = (
    Finding(
        "export/int8-weights",
        "info",
        "the file's int8 weights are float weights of the same values here; LiteRT rounds the "
        "inputs of their operators to 8 bits while it runs",
    ),
)


def _tolerance(model: ir.Model, hybrid: bool) -> float | None:
    if any(node.op_type == "QuantizeLinear" for node in model.graph.all_nodes()):
        return _INTEGER_TOLERANCE
    return _HYBRID_TOLERANCE if hybrid else None


def _fix(model: Table, border: Border, wanted: Shapes, path: Path) -> None:
    """Settle the sizes of inputs, and of what follows from them."""
    known = dict(border.inputs)
    for name in wanted:
        if name not in known:
            raise UsageError(
                f"the model has no input '{name}'",
                where=str(path),
                why=f"its inputs are {', '.join(known) or 'none'}",
            )
    graph = model.subgraphs[border.graph]
    sizes = {
        index: _size(name, graph.tensors[index], wanted[name], path)
        for name, index in border.inputs
        if name in wanted
    }
    if any(isinstance(size, str) for shape in wanted.values() for size in shape):
        return  # tf2onnx is told of free sizes, and keeps them all
    shapes = tensor_shapes(path, border, sizes) if border.graph == 0 else {}
    inputs = {index for _, index in border.inputs}
    if any(
        operator_name(model, operator) in _SIZED_BY_DATA for _, operator in each_operator(model)
    ):
        shapes = {index: shape for index, shape in shapes.items() if index in inputs}
    fix_sizes(graph, shapes)


def _size(name: str, tensor: Table, wanted: Sequence[int | str], path: Path) -> tuple[int, ...]:
    """The sizes to run with; those that stay free are the file's own example."""
    own = [int(n) for n in tensor.shape]
    given = tensor.shapeSignature
    free = own if given is None or isinstance(given, int) else [int(n) for n in given]
    shown = ", ".join("?" if n < 0 else str(n) for n in free)
    fits = len(wanted) == len(own) and all(
        size == dim or dim < 0 for size, dim in zip(wanted, free, strict=True)
    )
    if not fits:
        raise UsageError(
            f"input '{name}' cannot have the shape [{', '.join(map(str, wanted))}]",
            where=str(path),
            why=f"the file says [{shown}]",
            remedy="Only sizes that the file leaves open (?) can be chosen.",
        )
    return tuple(
        have if isinstance(size, str) else size for size, have in zip(wanted, own, strict=True)
    )


def _has_hybrid_operators(model: Table) -> bool:
    """Whether an operator multiplies float inputs by weights of integers."""
    for graph, operator in each_operator(model):
        tensors = [graph.tensors[i] for i in operator.inputs if i >= 0]
        if len(tensors) < 2 or tensors[0].type != schema.TensorType.FLOAT32:
            continue
        if any(t.type in _WEIGHTS and data(model, t) is not None for t in tensors[1:2]):
            return operator_name(model, operator) not in ("GATHER", "RESHAPE")
    return False


_WEIGHTS = (schema.TensorType.INT8, schema.TensorType.INT4)


def _converted(tf2onnx: Any, model: Table, path: Path) -> ir.Model:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    with tempfile.TemporaryDirectory(prefix="edgewise-") as folder, quiet():
        copy = Path(folder) / "model.tflite"
        copy.write_bytes(builder.Output())
        try:
            proto, _ = tf2onnx.convert.from_tflite(str(copy), opset=_OPSET)
            model_of_onnx: ir.Model = ir.from_proto(proto)
            return model_of_onnx
        except Exception as error:  # tf2onnx raises whatever its parts do
            raise ModelError(
                "tf2onnx cannot convert the model",
                where=str(path),
                why=describe(error),
                remedy="Export from the model that the file was made of.",
            ) from error


def _name_sizes(model: ir.Model, wanted: Shapes) -> None:
    """Give the free sizes of inputs the names that the user gave, and forget tf2onnx's."""
    for value in model.graph.inputs:
        if (name := str(value.name)) in wanted:
            value.shape = ir.Shape(wanted[name])
    for node in model.graph.all_nodes():
        for output in node.outputs:
            if output.shape is not None and not output.shape.is_static():
                output.shape = None
