"""The float model with what its source did to each tensor, to compare the two; and whether names
still mean the same tensors after the passes.

Q and DQ with the source's scales go behind every activation that has any, so that what is left of a
difference is arithmetic: the order of sums, and integers that fall to the other side of a half.

A SiLU is one node of the hub model, and the source may have rounded the sigmoid within. Its range
travels under the name that the sigmoid has wherever the node is spelled out (`graph.swish`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from edgewise.data.source import InputSpec
from edgewise.errors import ModelError
from edgewise.exporters.comparison import compare
from edgewise.exporters.opened import Array, OpenedModel
from edgewise.exporters.trial_inputs import random_feeds
from edgewise.findings import Finding
from edgewise.graph import OrtSession, TensorQuantization, add_initializer, attach_known_ranges
from edgewise.graph.swish import spell_out_silu
from edgewise.graph.write import names_of_values

Ranges = Mapping[str, TensorQuantization]
#: of the largest magnitude: what sums in another order differ by, and no other tensor does
_SAME = 1e-4
#: what a result says of the hub model that was compared
ROUNDED_FORM = "with the source's scales put back"


def with_surviving_ranges(
    opened: OpenedModel, prepared: ir.Model, hub: ir.Model, specs: Sequence[InputSpec]
) -> tuple[OpenedModel, tuple[Finding, ...]]:
    """The source with the ranges of tensors that are still in the hub model, which carries them
    from now on. `prepared` is the float model before the passes."""
    if not opened.ranges:
        return opened, ()
    try:
        feed = next(random_feeds(specs, 1, hub))
        kept, moved = surviving(prepared, hub, opened.ranges, feed)
        why = "a pass has changed what they hold"
    except ModelError as error:
        kept, moved = {}, sorted(opened.ranges)
        why = f"the model cannot be run on random inputs to see what they hold ({error.why})"
    attach_known_ranges(hub, kept)
    findings: tuple[Finding, ...] = ()
    if moved:
        lost = f"the source's scales of {len(moved)} tensors, such as '{moved[0]}', are not used"
        findings = (Finding("export/quantized", "warning", f"{lost}: {why}"),)
    return replace(opened, ranges=kept), findings


def as_rounded(opened: OpenedModel, hub: ir.Model) -> tuple[OpenedModel, ir.Model]:
    """Source and hub model as they are compared: the latter, and the ONNX model before it, with
    the source's rounding put back."""
    if not opened.ranges:
        return opened, hub
    rounded = put_back(opened.model, opened.ranges)
    return replace(opened, model=rounded), put_back(hub, opened.ranges)


def put_back(model: ir.Model, ranges: Ranges) -> ir.Model:
    """A copy that rounds and saturates every activation of `ranges` as the source does."""
    copy, _ = _spelled_out(model)
    graph = copy.graph
    taken = names_of_values(graph)
    values = [*graph.inputs, *(out for node in graph for out in node.outputs)]
    for value in values:
        known = ranges.get(value.name or "")
        if known is not None and value.name not in graph.initializers:
            _insert_pair(graph, value, known, taken)
    return copy


def _insert_pair(
    graph: ir.Graph, value: ir.Value, known: TensorQuantization, taken: set[str | None]
) -> None:
    name, producer = value.name or "", value.producer()
    uses = list(value.uses())
    parts = [
        add_initializer(graph, f"{name}_{part}", array, taken)
        for part, array in (("scale", known.scale), ("zero_point", known.zero_point))
    ]
    axis = {} if known.axis is None else {"axis": known.axis}
    quantize = ir.node("QuantizeLinear", [value, *parts], dict(axis), name=f"{name}_q")
    dequantize = ir.node(
        "DequantizeLinear", [quantize.outputs[0], *parts], dict(axis), name=f"{name}_dq"
    )
    result = dequantize.outputs[0]
    result.type, result.shape = value.type, value.shape
    quantize.outputs[0].name, result.name = f"{name}_integers", f"{name}_rounded"
    if producer is None:
        first = next(iter(graph), None)
        if first is None:
            graph.extend([quantize, dequantize])
        else:
            graph.insert_before(first, [quantize, dequantize])
    else:
        graph.insert_after(producer, [quantize, dequantize])
    for use in uses:
        use.node.replace_input_with(use.idx, result)
    for index, output in enumerate(graph.outputs):
        if output is value and producer is not None:
            result.name, value.name = name, f"{name}_exact"
            graph.outputs[index] = result


def surviving(
    before: ir.Model, after: ir.Model, ranges: Ranges, feed: Mapping[str, Array]
) -> tuple[dict[str, TensorQuantization], list[str]]:
    """The ranges whose names mean the same tensors in both models, and the names that do not.

    Passes keep names for what has the same elements; this is measured here, on one input. Names of
    weights are taken as they are: the grid is looked at where weights are quantized again.

    Raises ModelError: a model cannot be run on the input.
    """
    (before, _), (after, gates) = _spelled_out(before), _spelled_out(after)
    renamed = _earlier_gates(before, after, gates)
    once = {gate: name for gate, name in renamed.items() if name in ranges}
    ranges = {**ranges, **{gate: ranges[name] for gate, name in once.items()}}
    constants = set(after.graph.initializers)
    computed = {out.name for node in after.graph for out in node.outputs}
    inputs = {value.name for value in after.graph.inputs}
    earlier = {out.name for node in before.graph for out in node.outputs}
    shared = [name for name in ranges if name in computed and once.get(name, name) in earlier]
    old = _run(before, [once.get(name, name) for name in shared], feed)
    new = _run(after, shared, feed)
    moved = [name for name in shared if compare(old[once.get(name, name)], new[name])[1] > _SAME]
    kept = (constants | computed | inputs) - set(moved)
    return {name: known for name, known in ranges.items() if name in kept}, moved


def _spelled_out(model: ir.Model) -> tuple[ir.Model, list[str]]:
    """A copy in which SiLU is two nodes, and the names of the sigmoids that it had not before."""
    copy = ir.from_proto(ir.to_proto(model))
    return copy, list(spell_out_silu(copy).values())


def _earlier_gates(before: ir.Model, after: ir.Model, gates: Collection[str]) -> dict[str, str]:
    """By gate of `after`, the sigmoid's name in `before`, where the product's name is the same."""
    earlier = {node.outputs[0].name: _gate(node) for node in before.graph}
    found = {}
    for node in after.graph:
        gate, once = _gate(node), earlier.get(node.outputs[0].name)
        if gate in gates and gate is not None and once is not None:
            found[gate] = once
    return found


def _gate(node: ir.Node) -> str | None:
    """The sigmoid that a product `x Sigmoid(x)` reads; None of another node."""
    if node.op_type != "Mul":
        return None
    for value in filter(None, node.inputs):
        sigmoid = value.producer()
        if sigmoid is not None and sigmoid.op_type == "Sigmoid":
            return value.name if sigmoid.inputs[0] in node.inputs else None
    return None


def _run(model: ir.Model, names: list[str], feed: Mapping[str, Array]) -> dict[str, Array]:
    """Tensors by name, all of them in one run."""
    copy = ir.from_proto(ir.to_proto(model))
    present = {value.name for value in copy.graph.outputs}
    wanted = set(names) - present
    for node in copy.graph:
        copy.graph.outputs.extend(out for out in node.outputs if out.name in wanted)
    return OrtSession(copy).run(feed, names) if names else {}
