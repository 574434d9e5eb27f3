"""Each layer of a finished file, replayed with what the QDQ model feeds it.

1. ONNX Runtime, unfused, gives every quantized tensor of the QDQ model.
2. All layers are written into one file whose inputs are the cut tensors, so that no layer reads
   another one's result, and LiteRT runs it once per sample, with XNNPACK as it runs the artifact.
3. The integers that come out are compared with those that the QDQ model has there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import onnx
import onnx_ir as ir

from edgewise.errors import ModelError
from edgewise.graph import OrtSession
from edgewise.targets.android.flatbuffer import serialize
from edgewise.targets.android.layers import Cut, Layer, layers_of
from edgewise.targets.android.model import Array, Graph, Operator, Tensor
from edgewise.targets.android.runtime import load
from edgewise.targets.android.tolerances import tolerance_of
from edgewise.targets.base import Feeds, TensorSignature, to_file
from edgewise.targets.layerwise import LayerDifference, LayerReport, Steps

Cuts = Mapping[Tensor, tuple[Cut, ...]]


def replay(
    model: ir.Model,
    graph: Graph,
    cuts: Cuts,
    ends: Mapping[str, TensorSignature],
    feeds: Iterable[Feeds],
    *,
    threads: int = 1,
) -> LayerReport:
    """Run every layer of a file on the QDQ model's values, over all feeds.

    Args:
        model: the QDQ model.
        graph: of the file.
        cuts: the file's tensors that stand for tensors of the model.
        ends: inputs of the file by the name of their tensor.
        feeds: inputs of the model.

    Raises:
        ModelError: the model lacks a tensor that the file stands for.
    """
    layers = layers_of(graph, cuts)
    if not layers:
        return LayerReport((), 0)
    session = _reference(model, cuts, threads)
    replayed = _Replay(layers, threads)
    meters = [[_Meter(layer, cut) for cut in layer.cuts] for layer in layers]
    samples = 0
    for feed in feeds:
        samples += 1
        reference = {**feed, **session.run(feed)}
        fed = {tensor: _fed(tensor, cuts, reference, ends) for tensor in replayed.sources}
        for group, found in zip(meters, replayed.run(fed), strict=True):
            for meter in group:
                meter.observe(reference, found)
    differences = [meter.result() for group in meters for meter in group]
    return LayerReport(tuple(differences), samples)


def _reference(model: ir.Model, cuts: Cuts, threads: int) -> OrtSession:
    """The QDQ model, unfused, with every cut tensor as an output."""
    proto = ir.to_proto(model)
    computed = {name for node in proto.graph.node for name in node.output}
    given = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    for name in sorted({cut.name for group in cuts.values() for cut in group} - given):
        if name not in computed:
            raise ModelError(
                "the artifact was not emitted from this model", why=f"it has no tensor '{name}'"
            )
        proto.graph.output.append(onnx.ValueInfoProto(name=name))
    return OrtSession(proto.SerializeToString(), threads=threads, optimize="none")


def _fed(
    tensor: Tensor, cuts: Cuts, reference: Mapping[str, Array], ends: Mapping[str, TensorSignature]
) -> Array:
    if tensor in cuts:
        return cuts[tensor][0].of(reference, tensor)
    if tensor.name not in ends:
        raise ModelError("a tensor of the file has no source", where=f"tensor '{tensor.name}'")
    signature = ends[tensor.name]
    return to_file(reference[signature.name], signature)


class _Replay:
    """The file of all layers side by side, opened in LiteRT."""

    def __init__(self, layers: Sequence[Layer], threads: int) -> None:
        self._inputs: dict[Tensor, Tensor] = {}
        self._graph = Graph()
        self._outputs = [self._append(layer) for layer in layers]
        self._graph.inputs = list(self._inputs.values())
        self._graph.outputs = self._outputs
        self._graph.input_names = [f"input_{i}" for i in range(len(self._graph.inputs))]
        self._graph.output_names = [f"output_{i}" for i in range(len(self._outputs))]
        self._interpreter = load(serialize(self._graph), threads)
        interpreter = self._interpreter
        self._in = {d["name"]: d["index"] for d in interpreter.get_input_details()}
        self._out = {d["name"]: d["index"] for d in interpreter.get_output_details()}

    def _append(self, layer: Layer) -> Tensor:
        copies: dict[Tensor, Tensor] = {}
        for operator in layer.operators:
            for tensor in operator.outputs:
                copies[tensor] = _copy(tensor)
            self._graph.operators.append(
                Operator(
                    operator.kind,
                    tuple(self._source(tensor, copies) for tensor in operator.inputs),
                    tuple(copies[tensor] for tensor in operator.outputs),
                    operator.options,
                    operator.version,
                    operator.origin,
                    operator.bodies,
                )
            )
        return copies[layer.output]

    def _source(self, tensor: Tensor, copies: Mapping[Tensor, Tensor]) -> Tensor:
        if tensor.data is not None:
            return tensor
        if tensor in copies:
            return copies[tensor]
        if tensor not in self._inputs:
            self._inputs[tensor] = _copy(tensor)
        return self._inputs[tensor]

    @property
    def sources(self) -> Iterable[Tensor]:
        """The tensors of the file that must be fed."""
        return self._inputs.keys()

    def run(self, fed: Mapping[Tensor, Array]) -> list[Array]:
        """The output of each layer, in order; views that the next run overwrites."""
        for source, copy in self._inputs.items():
            self._interpreter.set_tensor(self._in[copy.name], fed[source])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(self._out[tensor.name]) for tensor in self._outputs]


def _copy(tensor: Tensor) -> Tensor:
    return Tensor(tensor.shape, tensor.dtype, tensor.quantization, None, tensor.name)


class _Meter:
    """Differences of one layer at one cut."""

    def __init__(self, layer: Layer, cut: Cut) -> None:
        self._layer, self._cut = layer, cut
        self._steps = Steps()

    def observe(self, reference: Mapping[str, Array], found: Array) -> None:
        self._steps.add(found, self._cut.of(reference, self._layer.output))

    def result(self) -> LayerDifference:
        tolerance, reason = tolerance_of(self._layer.operators)
        return LayerDifference(
            node=self._cut.node,
            tensor=self._cut.name,
            operators=tuple(operator.kind for operator in self._layer.operators),
            elements=self._steps.elements,
            max_lsb=self._steps.largest,
            p99_lsb=self._steps.p99,
            different=self._steps.different,
            tolerance=tolerance,
            reason=reason,
        )
