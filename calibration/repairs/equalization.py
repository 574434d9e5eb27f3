"""Cross-layer equalization: channels of one tensor get ranges alike (Nagel et al. 2019,
"Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv:1906.04721, section
4.1).

Let a layer give y_c = W1[c] x + b1[c], let f be positively homogeneous (see `channel_paths`), and
let all readers of f(y) be layers. For any s_c > 0

    W2 f(W1 x + b1) = (W2 S) f(S^-1 W1 x + S^-1 b1),      S = diag(s)

so that s is free to serve the integers. Behind Clip(., 0, u) this holds where
y_c <= min(u, u s_c); a channel that calibration saw at `_MARGIN` of the bound or above keeps
s_c = 1, and any other takes s_c >= `_MARGIN` max(y_c) / u: then the bound acts neither before nor
after, up to `_MARGIN` times what was seen.

What s should be. With one scale for all weights of a layer, the paper balances the weights,
    s_c = sqrt(max|W1[c]| / max|W2[:, c]|)                                             (its eq. 11)
With a scale per output channel, the scale of W1[c] takes any s_c in, and a depthwise W2 does, too:
what s trades then is the one scale of the tensor f(y) between them against the rows of W2,
    s_c = max|f(y_c)|^a / max_k(|W2[k, c]| / max|W2[k]|)^(1 - a),       a in `EXPONENTS`
normalized so that the range of f(y) stays, of which the one is taken that promises the least noise
at the outputs of W2: with a step d of f(y) and a step d_k of the weights of output k,
    noise_k = d^2 / 12 sum_c |W2[k, c] s_c|^2  +  d_k^2 / 12 sum_c E[f(y_c)^2] / s_c^2
relative to sum_c |W2[k, c]|^2 E[f(y_c)^2]. Where none promises less than s = 1, nothing is done.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration.repairs.base import Repaired, RepairInput, declined, repaired
from edgewise.calibration.repairs.channel_paths import Paths, Place, paths_behind
from edgewise.calibration.repairs.channel_values import ChannelValues, Vector, observe_channels
from edgewise.calibration.repairs.equalization_factors import (
    Matrix,
    best,
    between_weights,
    candidates,
    noise,
)
from edgewise.calibration.repairs.layers import LAYER_OPS, Layer, layer_of
from edgewise.calibration.scheme import NumberFormat, Scheme
from edgewise.findings import Finding
from edgewise.graph import known_ranges

NAME = "equalize"
#: unseen data may exceed what calibration saw by this factor before a bound acts
_MARGIN = 1.1
_SWEEPS = 20
_SETTLED = 0.01
_TINY = 1e-30


@dataclass(frozen=True, slots=True)
class _Site:
    """A layer, and what reads it; `head` is what is quantized behind it."""

    layer: Layer
    paths: Paths
    head: Place


def equalize(model: ir.Model, given: RepairInput) -> Repaired:
    """Equalize every layer whose channels are free; see the top of this module.

    The float function stays the same, up to rounding, on all data that does not exceed calibration
    data by more than `_MARGIN` behind a Clip.
    """
    if known_ranges(model):
        return Repaired(model, findings=(_brings_scales(),))
    work = ir.from_proto(ir.to_proto(model))
    sites, reasons = _sites(work)
    axes = {
        place.value.name or "": place.axis
        for site in sites
        for place in (site.head, *_observed_places(site))
    }
    observed = {}
    if sites:
        observed = observe_channels(
            model, given.source, axes, limit=given.limit, threads=given.threads
        )
    changed = _apply(sites, observed, given.scheme)
    findings = [
        declined(NAME, nodes[0], f"{reason} ({len(nodes)} layer{'s' if len(nodes) > 1 else ''})")
        for reason, nodes in reasons.items()
    ]
    if not changed:
        return Repaired(model, findings=tuple(findings))
    done = repaired(NAME, changed, f"scaled the channels behind {len(changed)} layers alike")
    names = {n for site in sites if site.layer.node.name in changed for n in _touched(site)}
    return Repaired(work, tuple(sorted(names)), (done, *findings), moves_activations=True)


def _sites(model: ir.Model) -> tuple[list[_Site], dict[str, list[str]]]:
    """Every layer that can be equalized, and the others by their reason."""
    sites: list[_Site] = []
    reasons: dict[str, list[str]] = defaultdict(list)
    for node in model.graph:
        if node.op_type not in LAYER_OPS or node.domain not in ("", "ai.onnx"):
            continue
        layer = layer_of(node)
        found = layer if isinstance(layer, str) else paths_behind(layer)
        if isinstance(found, str) or isinstance(layer, str):
            reasons[_kind(str(found))].append(node.name or "")
        else:
            sites.append(_Site(layer, found, _head(found)))
    return sites, reasons


def _kind(reason: str) -> str:
    """The reason without names, so that places with the same one are told together."""
    parts = reason.split("'")
    return " ".join("".join(parts[::2]).split())


def _head(paths: Paths) -> Place:
    """The first tensor that is quantized: behind the activation that alone reads the layer."""
    head, *rest = paths.places
    while rest and len(head.value.uses()) == 1:
        producer = rest[0].value.producer()
        if producer is None or producer.op_type not in ("Clip", "LeakyRelu", "PRelu", "Relu"):
            break
        head, *rest = rest
    return head


def _observed_places(site: _Site) -> list[Place]:
    return [r.place for r in site.paths.readers] + [place for place, _ in site.paths.bounded]


def _touched(site: _Site) -> list[str]:
    return [
        *(n.name or "" for n in (site.layer.node, site.layer.holder)),
        *(reader.layer.node.name or "" for reader in site.paths.readers),
    ]


def _brings_scales() -> Finding:
    return declined(
        NAME, "", "the model brings scales of its own, which fit its weights as they are"
    )


def _apply(sites: list[_Site], observed: Mapping[str, ChannelValues], scheme: Scheme) -> list[str]:
    """Rewrite the layers in place; the names of those whose outputs were divided."""
    weight, activation = scheme.weight, scheme.activation
    if weight is None or activation is None:
        return []
    changed: dict[str, None] = {}
    sweeps = 1 if weight.granularity != "per_tensor" else _SWEEPS
    for _ in range(sweeps):
        largest = 0.0
        for site in sites:
            factors = _factors(site, observed, activation, weight)
            if factors is None:
                continue
            # divisions of one sweep are seen by the next one
            site.layer.divide_outputs(factors.astype(np.float32))
            for reader in site.paths.readers:
                spread = np.repeat(factors, reader.place.repeat).astype(np.float32)
                reader.layer.multiply_inputs(spread)
            changed[site.layer.node.name or ""] = None
            largest = max(largest, float(np.abs(np.log(factors)).max()))
        if largest < _SETTLED:
            break
    return list(changed)


def _factors(
    site: _Site,
    observed: Mapping[str, ChannelValues],
    activation: NumberFormat,
    weight: NumberFormat,
) -> Vector | None:
    """One factor per channel; None where the tensor is best as it is."""
    channels = site.layer.outputs
    head = observed[site.head.value.name or ""]
    readers = [reader.layer.matrix.astype(np.float64) for reader in site.paths.readers]
    floors, pinned = _bounds(site, observed)

    def adapt(factors: Vector) -> Vector:
        return np.where(pinned, 1.0, np.maximum(factors, floors))

    if weight.granularity == "per_tensor":
        first = site.layer.matrix.astype(np.float64)
        columns = np.max([_columns(matrix, channels, None) for matrix in readers], axis=0)
        return adapt(between_weights(first.reshape(channels, -1), columns))
    squares = [observed[r.place.value.name or ""].mean_square for r in site.paths.readers]

    def cost(factors: Vector) -> float:
        return noise(factors, head.minimum, head.maximum, squares, readers, activation, weight)

    columns = np.max([_columns(matrix, channels, (2, 3)) for matrix in readers], axis=0)
    return best(candidates(head.magnitude, columns), cost, adapt)


def _columns(matrix: Matrix, channels: int, rows: tuple[int, int] | None) -> Vector:
    """Largest magnitudes per channel, (C,), of weights (G, O, I, P); relative to those of their row
    where `rows` has the axes of one."""
    size = np.abs(matrix)
    if rows is not None:
        size = size / np.maximum(size.max(axis=rows, keepdims=True), _TINY)
    per_input = size.max(axis=(1, 3)).reshape(channels, -1)
    return np.asarray(per_input.max(axis=1))


def _bounds(
    site: _Site, observed: Mapping[str, ChannelValues]
) -> tuple[Vector, npt.NDArray[np.bool_]]:
    """The least factors that Clip nodes leave, and whether a channel has to stay, both (C,)."""
    channels = site.layer.outputs
    floors, pinned = np.zeros(channels), np.zeros(channels, bool)
    for place, bound in site.paths.bounded:
        top = observed[place.value.name or ""].maximum.reshape(channels, -1).max(axis=1)
        share = np.maximum(top, 0.0) * _MARGIN / bound
        floors, pinned = np.maximum(floors, share), pinned | (share >= 1.0)
    return floors, pinned
