"""SmoothQuant: what is hard to quantize moves from activations into weights (Xiao et al. 2022,
"SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models",
arXiv:2211.10438, section 4).

Let x = n * g + b be what a normalization gives, with its scale g and bias b over the last axis, and
let products x W_1, x W_2, ... read it. For any s_j > 0

    x W = (x S^-1) (S W),      x S^-1 = n * (g / s) + b / s,      S = diag(s)

so that s costs nothing at run time. A few channels j of x that are much larger than the others
leave those few steps of the one scale of x; with

    s_j = max|x_j|^a / max|W_j|^(1 - a)                                                (its eq. 4)

they share the burden with row j of the weights, whose scales are those of the columns. max|W_j| is
over all products that read x, each relative to its column. The exponent a is given, or that of
`CHOICES` with the least error on held-out calibration data (see `equalization`).

Preconditions: the products have constant weights, and read x itself, or x reshaped. The
normalization is a LayerNormalization over the last axis, or the product with a constant vector that
ends one that is spelled out, and a constant vector added to that. Where others read x, too, as a
residual branch behind it does, these keep x: the products read a second normalization of the same
input, a copy but for its constants, which costs a normalization at run time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from edgewise.calibration.repairs.base import (
    Repaired,
    RepairInput,
    all_declined,
    declined,
    repaired,
    without_names,
)
from edgewise.calibration.repairs.channel_paths import Paths, Place, paths_from, uses_of
from edgewise.calibration.repairs.channel_values import ChannelValues, Vector, observe_channels
from edgewise.calibration.repairs.equalization_factors import (
    CHOICES,
    UNCHANGED,
    Choice,
    Read,
    between_ranges,
    columns_of,
    noise,
    output_power,
)
from edgewise.calibration.repairs.held_out import half, try_held_out
from edgewise.calibration.scheme import NumberFormat
from edgewise.findings import Finding
from edgewise.graph import add_initializer, attribute, constant, consumers, known_ranges

NAME = "smooth_quant"
#: the error must fall to this share to be worth a rewrite, and to that one to be worth a copy
_WORTH, _WORTH_A_COPY = 0.8, 0.5
_TINY = 1e-30
_STANDARD = ("", "ai.onnx")


@dataclass(frozen=True, slots=True)
class _Site:
    """The nodes that scale and shift, the last of which gives x; the products behind, and their
    uses of x; whether others read x, too."""

    nodes: tuple[ir.Node, ...]
    place: Place
    paths: Paths
    uses: tuple[tuple[ir.Node, int], ...]
    shared: bool

    @property
    def key(self) -> str:
        return self.place.value.name or ""

    @property
    def channels(self) -> int:
        return int(_vectors(self.nodes[0])[0][1].size)


def smooth_quant(model: ir.Model, given: RepairInput, /, *, alpha: float | None = None) -> Repaired:
    """Smooth every normalization that products read, where that lowers their error.

    Args:
        alpha: in [0, 1]: the exponent for all; None chooses one for each.

    The float function stays the same, up to rounding.
    """
    activation, weight = given.scheme.activation, given.scheme.weight
    if known_ranges(model):
        return Repaired(model, findings=(declined(NAME, "", "the model brings its own scales"),))
    if activation is None or weight is None:
        return Repaired(model, findings=(declined(NAME, "", "activations stay in float"),))
    work = ir.from_proto(ir.to_proto(model))
    sites, findings = _sites(work)
    factors = _factors(sites, model, given, (activation, weight), alpha)
    changed: dict[str, None] = {}
    smoothed = [site for site in sites if site.key in factors]
    for site in smoothed:
        _scale(work.graph, site, factors[site.key])
        layers = [reader.layer for reader in site.paths.readers]
        for reader in site.paths.readers:
            spread = np.repeat(factors[site.key], reader.place.repeat)
            reader.layer.multiply_inputs(spread.astype(np.float32))
        changed |= dict.fromkeys(node.name or "" for node in site.nodes)
        changed |= dict.fromkeys(layer.node.name or "" for layer in layers)
    if not smoothed:
        return Repaired(model, findings=findings)
    common.RemoveUnusedNodesPass()(work)
    copies = sum(site.shared for site in smoothed)
    message = f"smoothed what products read of {len(smoothed)} of {len(sites)} normalizations"
    if copies:
        message += f"; {copies} of them are computed twice, since residual branches read them too"
    done = repaired(NAME, changed, message)
    return Repaired(work, tuple(changed), (done, *findings), moves_activations=True)


def _sites(model: ir.Model) -> tuple[list[_Site], tuple[Finding, ...]]:
    """Every normalization that products read, and a finding for each reason why others are not."""
    sites: list[_Site] = []
    reasons: dict[str, list[str]] = defaultdict(list)
    for node in model.graph:
        nodes = _affine(node)
        if nodes is None:
            continue
        found = _site(nodes)
        if isinstance(found, str):
            reasons[found].append(node.name or "")
        else:
            sites.append(found)
    return sites, all_declined(NAME, reasons)


def _affine(node: ir.Node) -> tuple[ir.Node, ...] | None:
    """The nodes that scale by a constant vector over the last axis, and shift."""
    if node.domain not in _STANDARD or not _vectors(node):
        return None
    if node.op_type == "LayerNormalization":
        return (node,) if len(node.outputs) == 1 else None
    if node.op_type != "Mul":
        return None
    result = node.outputs[0]
    readers = consumers(result)
    if len(readers) == 1 and readers[0].op_type == "Add" and not result.is_graph_output():
        found = _vectors(readers[0])
        if found and found[0][1].size == _vectors(node)[0][1].size:
            return node, readers[0]
    return (node,)


def _vectors(node: ir.Node) -> list[tuple[int, np.ndarray]]:
    """The constants of the node over the last axis, by input; none where it is no such node."""
    shape = node.outputs[0].shape
    size = None if shape is None or not len(shape) else shape[-1]
    if not isinstance(size, int):
        return []
    if node.op_type == "LayerNormalization":
        axis = int(attribute(node, "axis", -1))
        indices = [1, 2][: len(node.inputs) - 1]
        if axis not in (-1, len(shape or ()) - 1):
            return []
    elif node.op_type in ("Add", "Mul"):
        indices = [i for i in (0, 1) if constant(node.inputs[i]) is not None]
    else:
        return []
    found = []
    for index in indices:
        array = constant(node.inputs[index])
        if node.inputs[index] is None:
            continue
        if array is None or array.shape[-1:] != (size,) or array.size != size:
            return []
        if array.dtype != np.float32:
            return []
        found.append((index, array))
    return found


def _site(nodes: tuple[ir.Node, ...]) -> _Site | str:
    value = nodes[-1].outputs[0]
    place = Place(value, len(value.shape or ()) - 1)
    taken: list[tuple[ir.Node, int]] = []
    reason = "nothing reads it"
    for use in uses_of(value):
        found = paths_from(place, [use])
        if isinstance(found, str):
            reason = without_names(found)
        else:
            taken.append(use)
    paths = paths_from(place, taken) if taken else reason
    if isinstance(paths, str):
        return paths
    if paths.bounded:
        return "a Clip bounds it"
    shared = len(taken) < len(uses_of(value)) or value.is_graph_output()
    return _Site(nodes, place, paths, tuple(taken), shared)


def _factors(
    sites: list[_Site],
    model: ir.Model,
    given: RepairInput,
    formats: tuple[NumberFormat, NumberFormat],
    alpha: float | None,
) -> dict[str, Vector]:
    """Factors (C,) by tensor, for those that are worth it."""
    if not sites:
        return {}
    places = [site.place for site in sites]
    places += [reader.place for site in sites for reader in site.paths.readers]
    axes = {place.value.name or "": place.axis for place in places}
    seen = observe_channels(model, half(given, 0), axes, threads=given.threads)
    columns = {site.key: _columns(site) for site in sites}
    bounds = {site.key: np.full(site.channels, np.inf) for site in sites}
    choices = CHOICES if alpha is None else (Choice(alpha, CHOICES[0].headroom),)
    options = {
        key: {c: between_ranges(seen[key], bounds[key], columns[key], c) for c in choices}
        | {UNCHANGED: np.ones(len(columns[key]))}
        for key in columns
    }
    own = {site.key: site.place.axis for site in sites}
    tried = try_held_out(model, given, own, seen, options, bounds)
    chosen: dict[str, Vector] = {}
    for site in sites:
        key = site.key
        reads = [_read(reader.layer.matrix, seen, reader.place) for reader in site.paths.readers]
        errors = {
            choice: noise(factors, seen[key], tried.lost[key][choice], reads, *formats)
            for choice, factors in options[key].items()
        }
        best = min(choices, key=errors.__getitem__)
        worth = _WORTH_A_COPY if site.shared else _WORTH
        if errors[best] < worth * errors[UNCHANGED]:
            chosen[key] = between_ranges(tried.whole[key], bounds[key], columns[key], best)
    return chosen


def _columns(site: _Site) -> Vector:
    parts = [
        columns_of(reader.layer.matrix.astype(np.float64), site.channels, by_row=True)
        for reader in site.paths.readers
    ]
    return np.asarray(np.max(parts, axis=0))


def _read(matrix: np.ndarray, seen: Mapping[str, ChannelValues], place: Place) -> Read:
    exact = matrix.astype(np.float64)
    power = seen[place.value.name or ""].mean_square
    signal = output_power(exact, power)
    return Read(exact, power, np.full(len(signal), 1.0 / max(float(signal.sum()), _TINY)))


def _scale(graph: ir.Graph, site: _Site, factors: Vector) -> None:
    """Divide what the normalization gives, or what a copy of it gives to the products."""
    nodes = _copies(graph, site) if site.shared else site.nodes
    for node in nodes:
        for index, array in _vectors(node):
            old = node.inputs[index]
            name = f"{old.name if old is not None else node.name}_smoothed"
            divided = (array / factors).astype(np.float32).reshape(array.shape)
            node.replace_input_with(index, add_initializer(graph, name, divided))


def _copies(graph: ir.Graph, site: _Site) -> tuple[ir.Node, ...]:
    copies: list[ir.Node] = []
    renamed: dict[ir.Value, ir.Value] = {}
    last = site.nodes[-1]
    for node in site.nodes:
        inputs = [value if value is None else renamed.get(value, value) for value in node.inputs]
        copy = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            tuple(node.attributes.values()),
            num_outputs=1,
            name=f"{node.name}_smoothed",
        )
        old, new = node.outputs[0], copy.outputs[0]
        new.name, new.type, new.shape = f"{old.name}_smoothed", old.type, old.shape
        renamed[old] = new
        copies.append(copy)
    graph.insert_after(last, copies)
    for user, index in site.uses:
        user.replace_input_with(index, renamed[last.outputs[0]])
    return tuple(copies)
