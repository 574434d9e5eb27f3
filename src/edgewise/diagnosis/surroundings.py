"""What is around each quantized tensor of a QDQ model: who writes and reads it, and whose scale it
has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx_ir as ir

from edgewise.calibration.placement import moves_data
from edgewise.calibration.ranges import Range
from edgewise.calibration.scheme import Scheme
from edgewise.calibration.statistics import Statistics
from edgewise.calibration.tensor_errors import TensorError
from edgewise.calibration.union_find import UnionFind
from edgewise.diagnosis.reasons import Surroundings
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE

_INPUT_SUFFIX = "_QuantizeLinear_Input"


def hub_name(tensor: str) -> str:
    """The hub model's name of what QuantizeLinear reads: a graph output's own name belongs to the
    end of its pair, where onnxruntime.quantization calls the tensor before it by another."""
    return tensor.removesuffix(_INPUT_SUFFIX)


def surroundings(
    qdq: ir.Model,
    scheme: Scheme,
    tensors: Mapping[str, TensorError],
    statistics: Statistics | None,
) -> dict[str, Surroundings]:
    """By name of the tensor, as `tensors`. All nodes of `qdq` have names."""
    pairs = {
        node.inputs[0].name or "": node
        for node in qdq.graph
        if node.op_type == QUANTIZE and node.inputs[0] is not None
    }
    ranges = {
        name: _calibrated(name, statistics) or Range.around_zero(tensor.low, tensor.high)
        for name, tensor in tensors.items()
    }
    groups = _sharing(qdq, scheme, tensors)
    members: dict[str, list[str]] = {}
    for name in tensors:
        members.setdefault(groups.find(name), []).append(name)
    found = {}
    for name in tensors:
        source = pairs[name].inputs[0]
        writer = None if source is None else source.producer()
        found[name] = Surroundings(
            "" if writer is None else writer.op_type,
            frozenset(_readers(pairs[name], scheme)),
            _calibrated(name, statistics),
            tuple((m, ranges[m]) for m in members[groups.find(name)] if m != name),
        )
    return found


def _calibrated(name: str, statistics: Statistics | None) -> Range | None:
    """What calibration saw. Masks are saturated at another place than they were seen at, but have
    no reasons either: a range beyond the scale's own tells nothing."""
    known = None if statistics is None else statistics.tensors.get(hub_name(name))
    return None if known is None else Range.around_zero(known.minimum, known.maximum)


def _readers(quantize: ir.Node, scheme: Scheme) -> Iterator[str]:
    """The operators that read the tensor, beyond those that only move data."""
    for use in quantize.outputs[0].uses():
        for reader in use.node.outputs[0].uses() if use.node.op_type == DEQUANTIZE else ():
            node = reader.node
            if node.op_type == QUANTIZE:
                yield from _readers(node, scheme)
                continue
            yield node.op_type
            if moves_data(node, scheme):
                for output in node.outputs:
                    for after in output.uses():
                        if after.node.op_type == QUANTIZE:
                            yield from _readers(after.node, scheme)


def _sharing(qdq: ir.Model, scheme: Scheme, tensors: Mapping[str, TensorError]) -> UnionFind:
    """The tensors that an operator ties together, and that do have one scale."""
    groups = UnionFind()
    for node in qdq.graph:
        if node.op_type in (QUANTIZE, DEQUANTIZE) or not moves_data(node, scheme):
            continue
        around = [name for name in _tensors_of(node) if name in tensors]
        for one in around:
            for other in around:
                if tensors[one].quantization.same_as(tensors[other].quantization):
                    groups.unite([one, other])
    return groups


def _tensors_of(node: ir.Node) -> Iterator[str]:
    """The pairs that a node reads and writes."""
    for value in node.inputs:
        dequantize = None if value is None else value.producer()
        stored = None if dequantize is None else dequantize.inputs[0]
        quantize = None if stored is None else stored.producer()
        source = quantize.inputs[0] if quantize is not None else None
        if quantize is not None and quantize.op_type == QUANTIZE and source is not None:
            yield source.name or ""
    for value in node.outputs:
        if any(use.node.op_type == QUANTIZE for use in value.uses()):
            yield value.name or ""
