"""What became of the scales that a quantized source had: each rule of the scheme that the source
breaks, with the node where it does.

The rules, by the last part of the finding's name:
1. `known-prescribed-output`: the target prescribes the operator's output scale;
2. `known-shared-scale`: what an operator reads and writes has one scale and zero point;
3. `known-zero-point`: the format of activations is symmetric;
4. `known-width`: integers of activations have another number of bits;
5. `known-scale-type`: scales are stored in a shorter type, and the next number upwards is taken;
6. `known-weight`: weights are symmetric, in -127..127, with scales along the target's own axis;
7. `known-bias`: a bias is stored in steps of s_in * s_w, and lies between two of them;
8. `known-missing`: the target quantizes a tensor that the source left in float.

Rules 1 and 2 are told tensor by tensor. The others are usually broken everywhere, and told once,
with the number of tensors and the first of them; `node` is that of the first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration.known import Known, Ranges, known_range, known_scales
from edgewise.calibration.operands import BIASED_OPS, inputs_of_role
from edgewise.calibration.parameters import kept_parameters, storable_scale
from edgewise.calibration.placement import Placement, moves_data
from edgewise.calibration.scheme import QMAX, QMIN, NumberFormat, QuantParams, Scheme
from edgewise.calibration.weights import WeightParameters
from edgewise.findings import Finding, Severity
from edgewise.graph import TensorQuantization, constant, node_label

_NAMED = 3


@dataclass(frozen=True, slots=True)
class Given:
    """What the target gets: parameters of activations and weights by name, but for the tensors
    that are `gone` in its QDQ model; and where the ranges came from."""

    parameters: Mapping[str, QuantParams]
    weights: Mapping[str, WeightParameters]
    gone: frozenset[str]
    ranges: Ranges


@dataclass(slots=True)
class _Broken:
    """A rule that is told once: the tensors that break it, and the node of the first."""

    names: list[str]
    node: str


def known_findings(
    model: ir.Model, known: Known, given: Given, scheme: Scheme, placement: Placement
) -> tuple[Finding, ...]:
    """See the top of this module; nothing for the model of a float source.

    Args:
        model: float model in the form that was quantized.
        known: what its source chose.
    """
    number = scheme.activation
    if not known or number is None:
        return ()
    look = _Look(model, known, given, scheme, placement)
    return (*look.activations(number), *look.weights(), *look.biases(), *look.missing())


class _Look:
    """The model, seen tensor by tensor."""

    def __init__(
        self, model: ir.Model, known: Known, given: Given, scheme: Scheme, placement: Placement
    ) -> None:
        self.model, self.known, self.given = model, known, given
        self.scheme, self.placement = scheme, placement
        self.values = {value.name or "": value for value in model.graph.inputs}
        self.values |= {v.name or "": v for node in model.graph for v in node.outputs}

    def activations(self, number: NumberFormat) -> Iterator[Finding]:
        """Rules 1 to 5."""
        broken: dict[str, _Broken] = {}
        for name, source in self.known.items():
            if name not in self.given.parameters or name in self.given.gone:
                continue
            rule = _broken_format(source, number)
            if rule:
                at = self._place(name)
                broken.setdefault(rule, _Broken([], at)).names.append(name)
            stored = known_range(source).stored
            kept = None if stored is None else kept_parameters(stored, number)
            if kept is not None and kept != self.given.parameters[name]:
                yield self._ruled(name, kept, self.given.parameters[name])
        reasons = {
            "known-zero-point": f"{self.scheme.target} stores symmetric {number.dtype}",
            "known-width": f"{self.scheme.target} stores {number.dtype}",
            "known-scale-type": f"{self.scheme.target} stores {number.scale_dtype} scales: each is"
            " the next such number upwards",
        }
        for rule, found in broken.items():
            verb = "gets its scale" if len(found.names) == 1 else "get their scales"
            message = (
                f"{_count(found.names, 'activation')} {verb} from the source's ranges, because "
                f"{reasons[rule]}"
            )
            yield _finding(rule, "info", message, found.node)

    def _ruled(self, name: str, kept: QuantParams, given: QuantParams) -> Finding:
        """Rules 1 and 2."""
        value = self.values.get(name)
        producer = None if value is None else value.producer()
        tied = self._tying(value)
        rule, why = "known-shared-scale", "tie it to another tensor"
        node = tied if tied is not None else producer
        if producer is not None and producer.op_type in self.scheme.fixed_outputs:
            rule, why, node = "known-prescribed-output", "prescribe it", producer
        operators = "operators" if node is None else f"{node.op_type} operators"
        return _finding(
            rule,
            "info",
            f"tensor '{name}' has scale {given.scale:.6g} and zero point {given.zero_point} in "
            f"place of the source's {kept.scale:.6g} and {kept.zero_point}: {operators} of "
            f"{self.scheme.target} {why}",
            "" if node is None else node_label(node),
        )

    def _tying(self, value: ir.Value | None) -> ir.Node | None:
        """The first operator beside a tensor through which one scale runs."""
        if value is None:
            return None
        producer = value.producer()
        beside = [use.node for use in value.uses()]
        beside = beside if producer is None else [producer, *beside]
        for node in beside:
            if node in self.placement and moves_data(node, self.scheme):
                return node
        return None

    def weights(self) -> Iterator[Finding]:
        """Rules 5 and 6."""
        anew: dict[str, _Broken] = defaultdict(lambda: _Broken([], ""))
        lowest = _Broken([], "")
        short = _Broken([], "")
        for node, name, array in self._constants("weight"):
            source, given = self.known.get(name), self.given.weights.get(name)
            if source is None or given is None:
                continue
            if why := _why_anew(array, source, given):
                anew[why].node = anew[why].node or node_label(node)
                anew[why].names.append(name)
                continue
            if (source.quantize(array) == np.iinfo(source.zero_point.dtype).min).any():
                lowest.node = lowest.node or node_label(node)
                lowest.names.append(name)
            if not _same(source, given):
                short.node = short.node or node_label(node)
                short.names.append(name)
        for why, found in anew.items():
            verb = "gets its scales" if len(found.names) == 1 else "get their scales"
            message = f"{_count(found.names, 'weight')} {verb} anew, because {why}"
            yield _finding("known-weight", "warning", message, found.node)
        if lowest.names:
            message = (
                f"{_count(lowest.names, 'weight')}: the integer -128 becomes -127, the least that "
                f"{self.scheme.target} stores; scales and all others are the source's"
            )
            yield _finding("known-weight", "info", message, lowest.node)
        if short.names:
            message = (
                f"{_count(short.names, 'weight')}: integers are the source's, and scales the next "
                "number upwards that the target stores or that the bias fits"
            )
            yield _finding("known-scale-type", "info", message, short.node)

    def biases(self) -> Iterator[Finding]:
        """Rule 7."""
        broken = _Broken([], "")
        for node, name, bias in self._constants("bias"):
            weight = node.inputs[1].name if node.inputs[1] is not None else ""
            source = node.inputs[0].name if node.inputs[0] is not None else ""
            given = self.given.weights.get(weight or "")
            if weight not in self.known or given is None or source not in self.given.parameters:
                continue
            scales = np.array([channel.scale for channel in given.channels], np.float32)
            step = np.float32(self.given.parameters[source or ""].scale) * scales
            flat = bias.reshape(-1)
            steps = np.rint(flat / step).astype(np.float64)
            if not np.allclose((steps * step), flat, rtol=1e-6, atol=1e-12):
                broken.node = broken.node or node_label(node)
                broken.names.append(name)
        if broken.names:
            message = (
                f"{_count(broken.names, 'bias', 'biases')} moved to the next step of the scales of "
                "input and weight, by at most half of one"
            )
            yield _finding("known-bias", "info", message, broken.node)

    def missing(self) -> Iterator[Finding]:
        """Rule 8."""
        broken = _Broken([], "")
        for name in self.given.parameters:
            real = self.given.ranges.get(name)
            if name in self.given.gone or name not in self.values:
                continue
            if name in self.known or real is None or real.stored is not None:
                continue
            if self._prescribed(name):
                continue
            broken.node = broken.node or self._place(name)
            broken.names.append(name)
        if broken.names:
            message = (
                f"{self.scheme.target} quantizes {_count(broken.names, 'tensor')} that the source "
                "has in float: the scale comes from neighbours or from data"
            )
            yield _finding("known-missing", "info", message, broken.node)

    def _prescribed(self, name: str) -> bool:
        producer = self.values[name].producer()
        return producer is not None and producer.op_type in self.scheme.fixed_outputs

    def _constants(self, role: str) -> Iterator[tuple[ir.Node, str, npt.NDArray[np.float32]]]:
        """Weights, or biases, of the quantized nodes, each once, with a node that reads it."""
        seen: set[str] = set()
        for node in self.model.graph:
            if node not in self.placement or (role == "bias" and node.op_type not in BIASED_OPS):
                continue
            for value in inputs_of_role(node, "weight" if role == "weight" else "bias"):
                array = constant(value)
                if array is not None and value.name not in seen:
                    seen.add(value.name or "")
                    yield node, value.name or "", array

    def _place(self, name: str) -> str:
        """The node that gives a tensor; of an input of the model, the first that reads it."""
        value = self.values.get(name)
        if value is None:
            return ""
        node = value.producer()
        if node is None:
            node = next((use.node for use in value.uses()), None)
        return "" if node is None else node_label(node)


def _broken_format(source: TensorQuantization, number: NumberFormat) -> str:
    """Which of rules 3 to 5 an activation of the source breaks; empty for none."""
    stored = known_range(source).stored
    if stored is None or QMAX[stored.dtype] - QMIN[stored.dtype] != (
        QMAX[number.dtype] - QMIN[number.dtype]
    ):
        return "known-width"
    if kept_parameters(stored, number) is None:
        return "known-zero-point"
    return "" if storable_scale(stored.scale, number) == stored.scale else "known-scale-type"


def _why_anew(
    array: npt.NDArray[np.float32], source: TensorQuantization, given: WeightParameters
) -> str:
    """Which part of rule 6 a weight breaks; empty where its integers are kept."""
    if known_scales(array, source, given.axis) is not None:
        return ""
    if source.zero_point.dtype.itemsize != 1:
        return f"the source stores {source.zero_point.dtype.name}"
    middle = 0 if source.zero_point.dtype == np.int8 else 128
    if (source.zero_point != middle).any():
        return "the source gives them zero points, and the target has none"
    if not source.per_tensor and source.axis != given.axis:
        along = "none" if given.axis is None else str(given.axis)
        return f"the source's scales run along axis {source.axis}, and the target's along {along}"
    integers = source.quantize(array)
    if np.array_equal(source.dequantize(integers), array):
        return "the source uses the integer -128 often, and the target -127 to 127"
    return "a pass has changed their values"


def _same(source: TensorQuantization, given: WeightParameters) -> bool:
    scales = np.array([channel.scale for channel in given.channels], np.float32)
    return bool((np.broadcast_to(source.scale.reshape(-1), scales.shape) == scales).all())


def _finding(rule: str, severity: Severity, message: str, node: str) -> Finding:
    return Finding(f"calibration/{rule}", severity, message, node)


def _count(names: list[str], what: str, plural: str = "") -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_NAMED])
    more = ", ..." if len(names) > _NAMED else ""
    return f"{len(names)} {what if len(names) == 1 else plural or f'{what}s'} ({shown}{more})"
