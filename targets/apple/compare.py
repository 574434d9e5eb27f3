"""A package of this target against its QDQ model, layer by layer.

The package is interpreted, and each tensor that the QDQ model quantizes is compared and then
replaced by what ONNX Runtime, unfused, has there. So each layer reads the very integers that the
QDQ model feeds it, and what differs is its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from edgewise.errors import ModelError, UsageError
from edgewise.graph import OrtSession, load, node_label
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE
from edgewise.targets.apple.deployment import system
from edgewise.targets.apple.flat_layers import ELEMENTS_OF
from edgewise.targets.apple.flexible.sizes import read_shapes
from edgewise.targets.apple.interpreter import Interpreter
from edgewise.targets.apple.legalize import LegalModel, legalize
from edgewise.targets.apple.lower import lower
from edgewise.targets.apple.package import read_package
from edgewise.targets.apple.program_view import Operation, ProgramView, view_of
from edgewise.targets.apple.session import INTERPRETED, AppleSession
from edgewise.targets.apple.table import is_known
from edgewise.targets.apple.tolerances import FP16_REASON, tolerance_of
from edgewise.targets.apple.unsigned_pairs import as_stored
from edgewise.targets.base import Array, Artifact, Feeds
from edgewise.targets.layerwise import LAYER_LSB, LayerDifference, LayerReport, Steps

#: what coremltools appends to the names of values that it narrows
_NARROWED = "_cast_fp16"


@dataclass(frozen=True, slots=True)
class Cut:
    """A value of the package that holds the elements of a tensor of the QDQ model."""

    name: str
    tensor: str
    node: str


def compare_layers(
    model: ir.Model | str | Path, artifact: Artifact, feeds: Iterable[Feeds], *, threads: int = 1
) -> LayerReport:
    """Feed each layer of the package with what the QDQ model has there.

    The model is lowered once more, since a package does not tell which tensor of the model a value
    stands for.

    Raises:
        UsageError: the package takes pictures.
        ModelError: the package cannot be read, or was not emitted from this model.
    """
    source = load(model)
    options = artifact.manifest.options
    if "image" in options:
        raise UsageError(
            "layers are compared without preprocessing in the graph",
            remedy="Emit once more without it to compare.",
        )
    sizes = {n: shape.default for n, shape in read_shapes(options.get("shapes", {})).items()}
    legal = legalize(source, is_known, states=options.get("states", {}), input_shapes=sizes)
    program = read_package(artifact.path)
    cuts = _cuts(source, legal, program, str(options["minimum_deployment_target"]))
    if not cuts:
        raise UsageError("no activation is quantized, and differences are counted in its steps")
    ends = _float_outputs(legal.model)
    reference = _reference(source, {cut.tensor for cut in cuts.values()}, threads)
    meters = {name: Steps() for name in (*cuts, *ends)}
    samples = 0
    runner = _Forced(Interpreter(artifact.path, threads=threads), cuts, meters)
    session = AppleSession(
        runner, artifact.manifest, device="local", threads=threads, latency_reason=INTERPRETED
    )
    for feed in feeds:
        samples += 1
        runner.expected = reference.run(feed)
        found = session.run(feed)
        for name in ends:
            meters[name].add(found[name], runner.expected[name])
    fp16 = options["compute_precision"] == "fp16"
    layers = [_difference(program, cuts, cut, meters[name], fp16) for name, cut in cuts.items()] + [
        _end(node, name, meters[name], fp16=fp16) for name, node in ends.items()
    ]
    return LayerReport(tuple(layers), samples)


def _cuts(source: ir.Model, legal: LegalModel, program: ProgramView, oldest: str) -> dict[str, Cut]:
    """By the name in the package, in its order."""
    known = {output.name for node in source.graph for output in node.outputs}
    main = view_of(lower(legal, system(oldest)).program.functions["main"])
    written = {o.origin: o.outputs[0] for o in main.operations if o.kind == "quantize"}
    found: dict[str, Cut] = {}
    for node in legal.model.graph:
        label, output = node_label(node), node.outputs[0]
        tensor = output.metadata_props.get(ELEMENTS_OF, output.name)
        if node.op_type != QUANTIZE or label not in written or tensor not in known:
            continue
        name = _name_in(program, written[label])
        computed = node.inputs[0]
        writer = None if computed is None else computed.producer()
        found[name] = Cut(name, str(tensor), label if writer is None else node_label(writer))
    return {name: found[name] for name in program.producers if name in found}


def _name_in(program: ProgramView, name: str) -> str:
    for candidate in (name, f"{name}{_NARROWED}"):
        if candidate in program.producers and program.producers[candidate].kind == "quantize":
            return candidate
    raise ModelError(
        "the artifact was not emitted from this model", why=f"it has no quantized value '{name}'"
    )


def _float_outputs(model: ir.Model) -> dict[str, str]:
    """Outputs of the model that no DequantizeLinear gives -> the node that computes them."""
    found: dict[str, str] = {}
    for value in model.graph.outputs:
        node = _without_reshapes(value).producer()
        if node is not None and node.op_type != DEQUANTIZE:
            found[str(value.name)] = node_label(node)
    return found


def _without_reshapes(value: ir.Value) -> ir.Value:
    node = value.producer()
    source = node.inputs[0] if node is not None and node.op_type == "Reshape" else None
    return value if source is None else _without_reshapes(source)


def _reference(model: ir.Model, tensors: set[str], threads: int) -> OrtSession:
    """The QDQ model, unfused, with the tensors among its outputs."""
    proto = ir.to_proto(model)
    given = {value.name for value in proto.graph.output}
    for name in sorted(tensors - given):
        proto.graph.output.append(onnx.ValueInfoProto(name=name))
    return OrtSession(proto.SerializeToString(), threads=threads, optimize="none")


class _Forced:
    """The interpreter, with each cut compared and then replaced by what is expected there."""

    def __init__(
        self, interpreter: Interpreter, cuts: Mapping[str, Cut], meters: Mapping[str, Steps]
    ) -> None:
        self.expected: Mapping[str, Array] = {}
        self._interpreter = interpreter
        self._cuts = cuts
        self._meters = meters

    def run(self, feeds: Mapping[str, Array], *, state: Any = None) -> Mapping[str, Any]:
        return self._interpreter.run(feeds, state=state, observe=self._observe)

    def make_state(self) -> Any:
        return self._interpreter.make_state()

    def _observe(self, name: str, found: Array) -> Array | None:
        cut = self._cuts.get(name)
        if cut is None:
            return None
        expected = as_stored(self.expected[cut.tensor].reshape(found.shape), found.dtype)
        self._meters[name].add(found, expected)
        return expected


def _difference(
    program: ProgramView, cuts: Mapping[str, Cut], cut: Cut, steps: Steps, fp16: bool
) -> LayerDifference:
    operations = _cone(program, cuts, cut)
    tolerance, reason = tolerance_of(program, operations, fp16=fp16)
    return LayerDifference(
        node=cut.node,
        tensor=cut.tensor,
        operators=tuple(operation.kind for operation in operations),
        elements=steps.elements,
        max_lsb=steps.largest,
        p99_lsb=steps.p99,
        different=steps.different,
        tolerance=tolerance,
        reason=reason,
    )


def _end(node: str, name: str, steps: Steps, *, fp16: bool) -> LayerDifference:
    """Of an output in floating point."""
    return LayerDifference(
        node=node,
        tensor=name,
        operators=("output",),
        elements=steps.elements,
        max_lsb=steps.largest,
        p99_lsb=steps.p99,
        different=steps.different,
        tolerance=2 * LAYER_LSB if fp16 else LAYER_LSB,
        reason=FP16_REASON if fp16 else "",
    )


def _cone(program: ProgramView, cuts: Mapping[str, Cut], cut: Cut) -> list[Operation]:
    """The operations between a cut and those before it, in order of execution."""
    cone: set[Operation] = set()
    queue = [program.producers[cut.name]]
    while queue:
        operation = queue.pop()
        cone.add(operation)
        for name in (name for group in operation.inputs.values() for name in group):
            writer = program.producers.get(name)
            if writer is not None and name not in cuts and writer not in cone:
                queue.append(writer)
    return [
        operation
        for operation in program.operations
        if operation in cone and not operation.kind.startswith("constexpr_")
    ]
