"""Cross-layer equalization: channels of one tensor get ranges alike (Nagel et al. 2019,
"Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv:1906.04721, section
4.1).

Let a layer give y_c = W1[c] x + b1[c], let f be positively homogeneous (see `channel_paths`), and
let all readers of f(y) be layers. For any s_c > 0

    W2 f(W1 x + b1) = (W2 S) f(S^-1 W1 x + S^-1 b1),      S = diag(s)

so that s is free to serve the integers. Behind Clip(., 0, u) this holds where
y_c <= min(u, u s_c). A channel that comes near the bound in calibration keeps s_c = 1; any other
takes s_c >= h max(y_c) / u: then the bound acts neither before nor after, up to a headroom h over
what was seen.

What s should be. With one scale for all weights of a layer, the paper balances the weights,
    s_c = sqrt(max|W1[c]| / max|W2[:, c]|)                                             (its eq. 11)
over and over until all pairs rest. With a scale per output channel, the scale of W1[c] takes any
s_c in, and a depthwise W2 does, too: what s trades then is the one scale of the tensor z = f(y)
against the rows of W2,
    s_c = (h max|z_c|)^a / max_k(|W2[k, c]| / max|W2[k]|)^(1 - a)
normalized so that the range of z stays. With a step d of z and a step d_k of the weights of output
k, the error of output k is about
    e_k = d^2 / 12 sum_c (W2[k, c] s_c)^2 + d_k^2 / 12 sum_c E[z_c^2] / s_c^2
          + sum_c W2[k, c]^2 E[o_c^2]
where o_c is what of z_c leaves the range, which equal channels do more easily than unequal ones.
Therefore ranges come from one half of the data, and o from the other. Of all (a, h) in `CHOICES`
the one of least error is taken, and nothing is done where it does not fall to `_WORTH` of that of
s = 1. Errors of outputs are added up by what they do to the layers behind: with W3 there,
    sum_j sum_k W3[j, k]^2 e_k / sum_k W3[j, k]^2 E[x_k^2],
which no scaling of channels changes; plainly, where the channels are not free.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np
import onnx_ir as ir

from edgewise.calibration.repairs.base import (
    Repaired,
    RepairInput,
    all_declined,
    declined,
    repaired,
    without_names,
)
from edgewise.calibration.repairs.channel_paths import Paths, Place, paths_behind
from edgewise.calibration.repairs.channel_values import (
    ChannelValues,
    Vector,
    observe_channels,
)
from edgewise.calibration.repairs.equalization_factors import (
    CHOICES,
    UNCHANGED,
    Choice,
    Read,
    between_ranges,
    between_weights,
    columns_of,
    noise,
    output_power,
    within_bounds,
    worth_of_inputs,
)
from edgewise.calibration.repairs.held_out import half, try_held_out
from edgewise.calibration.repairs.layers import LAYER_OPS, Layer, layer_of
from edgewise.calibration.scheme import NumberFormat
from edgewise.findings import Finding
from edgewise.graph import known_ranges

NAME = "equalize"
#: the error must fall to this share to be worth a rewrite
_WORTH = 0.8
_SWEEPS = 20
_SETTLED = 0.01
_TINY = 1e-30

Observed = Mapping[str, ChannelValues]


@dataclass(frozen=True, slots=True)
class _Site:
    """A layer, and what reads it; `head` is what is quantized behind it."""

    layer: Layer
    paths: Paths
    head: Place

    @property
    def key(self) -> str:
        return self.head.value.name or ""

    @property
    def bound(self) -> Vector:
        """The least upper bound of each channel."""
        least = min((limit for _, limit in self.paths.bounded), default=np.inf)
        return np.full(self.layer.outputs, least)

    @property
    def columns(self) -> Vector:
        """See `columns_of`: the largest of all readers."""
        parts = [
            columns_of(r.layer.matrix.astype(np.float64), self.layer.outputs, by_row=True)
            for r in self.paths.readers
        ]
        return np.asarray(np.max(parts, axis=0))


def equalize(model: ir.Model, given: RepairInput) -> Repaired:
    """Equalize every layer whose channels are free; see the top of this module.

    The float function stays the same, up to rounding, on all data that do not exceed calibration
    data by more than the headroom behind a Clip.
    """
    activation, weight = given.scheme.activation, given.scheme.weight
    if known_ranges(model):
        return Repaired(model, findings=(declined(NAME, "", "the model brings its own scales"),))
    if activation is None or weight is None:
        return Repaired(model, findings=(declined(NAME, "", "activations stay in float"),))
    work = ir.from_proto(ir.to_proto(model))
    sites, findings = _sites(work)
    if not sites:
        return Repaired(model, findings=findings)
    if weight.granularity == "per_tensor":
        changed = _balance_weights(sites, model, given)
    else:
        changed = _balance_ranges(sites, model, given, activation, weight)
    if not changed:
        return Repaired(model, findings=findings)
    names = dict.fromkeys(name for site in changed for name in _touched(site))
    layers = [site.layer.node.name or "" for site in changed]
    done = repaired(
        NAME, layers, f"scaled the channels behind {len(changed)} of {len(sites)} layers alike"
    )
    return Repaired(work, tuple(names), (done, *findings), moves_activations=True)


def _sites(model: ir.Model) -> tuple[list[_Site], tuple[Finding, ...]]:
    """Every layer that can be equalized, and a finding for each reason why others cannot."""
    sites: list[_Site] = []
    reasons: dict[str, list[str]] = defaultdict(list)
    for node in model.graph:
        if node.op_type not in LAYER_OPS or node.domain not in ("", "ai.onnx"):
            continue
        layer = layer_of(node)
        found = layer if isinstance(layer, str) else paths_behind(layer)
        if isinstance(found, str) or isinstance(layer, str):
            reasons[without_names(str(found))].append(node.name or "")
        else:
            sites.append(_Site(layer, found, _head(found)))
    return sites, all_declined(NAME, reasons)


def _head(paths: Paths) -> Place:
    """The first tensor that is quantized: behind the activation that alone reads the layer."""
    head, *rest = paths.places
    while rest and len(head.value.uses()) == 1:
        producer = rest[0].value.producer()
        if producer is None or producer.op_type not in ("Clip", "LeakyRelu", "PRelu", "Relu"):
            break
        head, *rest = rest
    return head


def _touched(site: _Site) -> Iterator[str]:
    for layer in (site.layer, *(reader.layer for reader in site.paths.readers)):
        yield from dict.fromkeys((layer.node.name or "", layer.holder.name or ""))


def _apply(site: _Site, factors: Vector) -> None:
    site.layer.divide_outputs(factors.astype(np.float32))
    for reader in site.paths.readers:
        spread = np.repeat(factors, reader.place.repeat).astype(np.float32)
        reader.layer.multiply_inputs(spread)


def _axes(sites: list[_Site]) -> dict[str, int]:
    """The tensors to observe, with the axis of their channels."""
    places = [site.head for site in sites]
    places += [reader.place for site in sites for reader in site.paths.readers]
    return {place.value.name or "": place.axis for place in places}


def _balance_weights(sites: list[_Site], model: ir.Model, given: RepairInput) -> list[_Site]:
    """Equation 11 of the paper, until all pairs rest."""
    observed = observe_channels(
        model, islice(given.source, given.limit), _axes(sites), threads=given.threads
    )
    totals = {site.key: np.ones(site.layer.outputs) for site in sites}
    for _ in range(_SWEEPS):
        largest = 0.0
        for site in sites:
            first = site.layer.matrix.astype(np.float64).reshape(site.layer.outputs, -1)
            columns = [
                columns_of(r.layer.matrix.astype(np.float64), len(first), by_row=False)
                for r in site.paths.readers
            ]
            wanted = totals[site.key] * between_weights(first, np.max(columns, axis=0))
            head = observed[site.key]
            fitting = within_bounds(wanted, head, site.bound, CHOICES[0].headroom)
            factors = fitting / totals[site.key]
            _apply(site, factors)
            totals[site.key] = fitting
            largest = max(largest, float(np.abs(np.log(factors)).max()))
        if largest < _SETTLED:
            break
    return [site for site in sites if np.abs(np.log(totals[site.key])).max() > _SETTLED]


def _balance_ranges(
    sites: list[_Site],
    model: ir.Model,
    given: RepairInput,
    activation: NumberFormat,
    weight: NumberFormat,
) -> list[_Site]:
    """The ranges of activations against the rows of weights; every tensor on its own, since
    neither changes by what is done to another."""
    seen = observe_channels(model, half(given, 0), _axes(sites), threads=given.threads)
    by_node = {site.layer.node.name: site for site in sites}
    columns = {site.key: site.columns for site in sites}
    options = {
        site.key: {
            choice: between_ranges(seen[site.key], site.bound, columns[site.key], choice)
            for choice in CHOICES
        }
        for site in sites
    }
    for site in sites:
        options[site.key][UNCHANGED] = np.ones(site.layer.outputs)
    axes, bounds = {s.key: s.head.axis for s in sites}, {s.key: s.bound for s in sites}
    tried = try_held_out(model, given, axes, seen, options, bounds)
    chosen: dict[str, Choice] = {}
    for site in sites:
        head, key = seen[site.key], site.key
        reads = [_read(reader.layer, reader.place, by_node, seen) for reader in site.paths.readers]
        errors = {
            choice: noise(factors, head, tried.lost[key][choice], reads, activation, weight)
            for choice, factors in options[key].items()
        }
        best = min(errors, key=errors.__getitem__)
        if errors[best] < _WORTH * errors[UNCHANGED]:
            chosen[key] = best
    for site in sites:
        if site.key in chosen:
            head = tried.whole[site.key]
            _apply(site, between_ranges(head, site.bound, columns[site.key], chosen[site.key]))
    return [site for site in sites if site.key in chosen]


def _read(layer: Layer, place: Place, sites: Mapping[str | None, _Site], seen: Observed) -> Read:
    """The reader's weights, its inputs, and what noise at its outputs is worth."""
    matrix = layer.matrix.astype(np.float64)
    power = seen[place.value.name or ""].mean_square
    behind = sites.get(layer.node.name)
    if behind is None:
        whole = float(output_power(matrix, power).sum())
        return Read(matrix, power, np.full(layer.outputs, 1.0 / max(whole, _TINY)))
    worth = np.zeros(layer.outputs)
    for reader in behind.paths.readers:
        inputs = seen[reader.place.value.name or ""].mean_square
        worth += worth_of_inputs(reader.layer.matrix.astype(np.float64), inputs, layer.outputs)
    return Read(matrix, power, worth)
