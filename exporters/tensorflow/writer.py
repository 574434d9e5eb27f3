"""A TensorFlow function to ONNX, through tf2onnx.

1. The function is traced with the wanted shapes, its variables become constants, and its functions
   are inlined.
2. tf2onnx writes each operator as ONNX. Its own optimizers are left out: they take most of the time
   (3 s of 7 for EfficientNetB0), and where one fails, as that for transposes does on
   MobileNetV3, all its work is lost. The hub pipeline does the same work, pass by pass, checked.
3. Names: inputs and outputs get those of the source, layers' results the path of the layer, and
   everything else loses what tracing put around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import onnx
import onnx_ir as ir

from edgewise.errors import ModelError
from edgewise.exporters.check import checker_problem
from edgewise.exporters.tensorflow.handlers import HANDLERS
from edgewise.exporters.tensorflow.layers import watching
from edgewise.exporters.tensorflow.libraries import import_tensorflow, import_tf2onnx, silent
from edgewise.exporters.tensorflow.names import Scopes, rename
from edgewise.exporters.tensorflow.recurrent import known_spelling
from edgewise.exporters.tensorflow.traceable import Port, Result, Traceable, unique
from edgewise.references import describe

#: newest that tf2onnx writes
_OPSET = 18
_STATE = ("Variable", "VarHandle", "Resource", "Table", "Iterator", "Random")


@dataclass(slots=True)
class Trace:
    """A traced function, and what its layers left in the graph."""

    concrete: Any
    output_names: list[str] = field(default_factory=list)
    scopes: Scopes = field(default_factory=Scopes)


def write_onnx(source: Traceable, where: str, needed_for: str) -> ir.Model:
    """The function as an ONNX model with the names of the source.

    Raises:
        UsageError: TensorFlow or tf2onnx is missing.
        ModelError: it cannot be traced, frozen, or written as ONNX.
    """
    tf2onnx = import_tf2onnx(needed_for)
    trace = _trace(source, where)
    inputs = [tensor.name for tensor in trace.concrete.inputs[: len(source.inputs)]]
    outputs = [tensor.name for tensor in trace.concrete.outputs]
    graph = _frozen(tf2onnx, trace.concrete, inputs, outputs, where)
    proto = _written(tf2onnx, graph, inputs, outputs, where)
    _refuse_leftovers(proto, trace.scopes, where)
    model = ir.from_proto(proto)
    _trim_identities(model)
    rename(model, source.inputs, inputs, _results(source, trace), trace.scopes)
    if problem := checker_problem(model):
        raise ModelError(
            "tf2onnx wrote an invalid model",
            where=where,
            why=problem,
            remedy="Please report this with the model.",
        )
    return model


def exporter_text() -> str:
    """Of `OpenedModel.exporter`."""
    tensorflow = import_tensorflow("TensorFlow models").__version__
    return f"tf2onnx {import_tf2onnx('TensorFlow models').__version__} (TensorFlow {tensorflow})"


def _trace(source: Traceable, where: str) -> Trace:
    tf = import_tensorflow("TensorFlow models")
    trace = Trace(None)

    def traced(*tensors: Any) -> list[Any]:
        trace.scopes = Scopes()
        with (
            known_spelling(source.layers),
            watching(
                source.layers,
                lambda path: trace.scopes.enter(tf.get_current_name_scope(), path),
                lambda path, result: trace.scopes.leave(path, tf.nest.flatten(result)),
                root=source.root,
            ),
        ):
            result = source.call(tensors)
        trace.output_names = unique(
            source.name_outputs(result), [port.name for port in source.inputs]
        )
        return [tf.identity(leaf) for leaf in tf.nest.flatten(result)]

    specs = [
        tf.TensorSpec(port.sizes, port.dtype, name=f"input_{index}")
        for index, port in enumerate(source.inputs)
    ]
    try:
        with silent():
            trace.concrete = tf.function(traced, autograph=False).get_concrete_function(*specs)
            if _has_compiled_functions(trace.concrete):
                with _functions_in_place(tf):
                    again = tf.function(traced, autograph=False)
                    trace.concrete = again.get_concrete_function(*specs)
    except Exception as error:  # user code may raise anything
        raise ModelError(
            "TensorFlow cannot trace the model",
            where=where,
            why=describe(error),
            remedy="Its call must work on symbolic tensors, as in tf.function.",
        ) from error
    return trace


def _has_compiled_functions(concrete: Any) -> bool:
    """Whether it calls functions that XLA is to compile: nothing inlines those.

    Keras makes one of each grouped convolution.
    """
    calls = (op for op in concrete.graph.get_operations() if op.type.endswith("PartitionedCall"))
    return any("_XlaMustCompile" in call.node_def.attr for call in calls)


@contextmanager
def _functions_in_place(tf: Any) -> Iterator[None]:
    """Lets what functions compute be traced where they are called."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def _results(source: Traceable, trace: Trace) -> list[Result]:
    """With the batch where it is known to be the first axis; other free axes are inferred."""
    results = []
    free = [port.named_dims[0] for port in source.inputs if port.dims and port.sizes[0] is None]
    batch = free[0] if source.batched and len(set(free)) == 1 else None
    for name, tensor in zip(trace.output_names, trace.concrete.outputs, strict=True):
        dims = None if tensor.shape.rank is None else tuple(tensor.shape.as_list())
        if dims and dims[0] is None:
            dims = (batch, *dims[1:])
        results.append(Result(name, dims))
    return results


def _frozen(
    tf2onnx: Any, concrete: Any, inputs: Sequence[str], outputs: Sequence[str], where: str
) -> Any:
    try:
        with silent():
            return tf2onnx.tf_loader.from_function(concrete, list(inputs), list(outputs))
    except Exception as error:  # TensorFlow raises many types
        writing = _writing_node(concrete)
        raise ModelError(
            "its variables cannot be made constants",
            where=where,
            why=f"{writing} writes one" if writing else describe(error),
            remedy="A model that is exported may read variables, but not write them, nor use "
            "tables or iterators.",
        ) from error


def _writing_node(concrete: Any) -> str | None:
    """The first node, inside of functions too, that writes a variable."""
    graph = concrete.graph.as_graph_def()
    for node in (*graph.node, *(n for f in graph.library.function for n in f.node_def)):
        if "Assign" in node.op or node.op.startswith("ResourceScatter"):
            return f"node '{node.name}' ({node.op})"
    return None


def _written(
    tf2onnx: Any, graph: Any, inputs: Sequence[str], outputs: Sequence[str], where: str
) -> onnx.ModelProto:
    tf = import_tensorflow("TensorFlow models")
    try:
        with silent(), tf.Graph().as_default() as holder:
            tf.import_graph_def(graph, name="")
            written = tf2onnx.tfonnx.process_tf_graph(
                holder,
                continue_on_error=True,  # what stays unwritten is named, with its node
                opset=_OPSET,
                custom_op_handlers=dict(HANDLERS),
                input_names=list(inputs),
                output_names=list(outputs),
            )
            proto: onnx.ModelProto = written.make_model("")
            return proto
    except Exception as error:  # tf2onnx raises many types
        raise ModelError(
            "tf2onnx cannot write the model as ONNX", where=where, why=describe(error)
        ) from error


def _refuse_leftovers(proto: onnx.ModelProto, scopes: Scopes, where: str) -> None:
    """Raise for the first operator that is still TensorFlow's."""
    opsets: Mapping[str, int] = {entry.domain: entry.version for entry in proto.opset_import}
    for node in _nodes(proto.graph):
        version = opsets.get(node.domain, _OPSET)
        if onnx.defs.has(node.op_type, version, node.domain):
            continue
        stateful = any(word in node.op_type for word in _STATE)
        raise ModelError(
            f"TensorFlow's operator {node.op_type} has no form in ONNX",
            where=f"{where}: node '{scopes.cleaned(node.name)}'",
            why="it reads or changes what is kept outside of the graph"
            if stateful
            else "tf2onnx does not know how to write it",
            remedy="Export the part of the model without it, or use another operator.",
        )


def _trim_identities(model: ir.Model) -> None:
    """tf2onnx writes lists of tensors as Identity, and leaves the shape of their elements there."""
    for node in model.graph.all_nodes():
        if node.op_type == "Identity" and len(node.inputs) > 1:
            node.resize_inputs(1)


def _nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    found = []
    for node in graph.node:
        found.append(node)
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                found.extend(_nodes(body))
    return found


def input_tensors(ports: Sequence[Port], feeds: Mapping[str, Any]) -> list[Any]:
    """Arrays as tensors, in the order of the ports."""
    tf = import_tensorflow("TensorFlow models")
    return [tf.convert_to_tensor(feeds[port.name], dtype=port.dtype) for port in ports]
