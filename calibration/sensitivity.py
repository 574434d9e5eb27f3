"""How much of a quantized model's output error each layer causes.

For layer l of all layers L, with error() as `output_error` defines it:

    error_l = error({l})                      only this layer in integers
    share_l = error_l / sum_k error_k         of the error that all layers cause alone
    gain_l  = 1 - error(L - {l}) / error(L)   what is won when only this layer goes back to float

Errors of independent layers add up, so share and gain agree where layers do not compensate or
amplify each other's errors.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgewise.calibration.gates import with_gates
from edgewise.calibration.output_error import Measure, Probe, decibels
from edgewise.calibration.scheme import Scheme
from edgewise.data.source import DataSource
from edgewise.progress import SILENT, Progress

DEFAULT_SAMPLES = 4


@dataclass(frozen=True, slots=True)
class LayerError:
    """A layer and its part in the output error; `nodes` are the hub model's, to leave in float
    together. `gain` is None where it was not asked for."""

    name: str
    op_type: str
    nodes: tuple[str, ...]
    error: float
    share: float
    gain: float | None

    @property
    def sqnr_db(self) -> float:
        """Of the outputs with this layer alone in integers."""
        return decibels(self.error)


@dataclass(frozen=True, slots=True)
class PartError:
    """What one tensor, or the constants of one node, cause alone: a share of their layer's parts.

    `kind` is `input`, `output` or `constants`; `name` that of the tensor or of the node.
    """

    kind: str
    name: str
    share: float


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The layers, worst first; `error` is that of the whole QDQ model over `samples` samples."""

    layers: tuple[LayerError, ...]
    error: float
    samples: int

    @property
    def sqnr_db(self) -> float:
        """Of the outputs of the QDQ model."""
        return decibels(self.error)


def sensitivity(
    hub: ir.Model,
    qdq: ir.Model,
    scheme: Scheme,
    source: DataSource,
    *,
    exclude: Collection[str] = (),
    measure: Measure = "auto",
    gains: int = 0,
    limit: int = DEFAULT_SAMPLES,
    threads: int = 1,
    deadline: float | None = None,
    progress: Progress = SILENT,
) -> Sensitivity:
    """The part of each layer in the output error, worst first.

    Args:
        hub: the float model that `qdq` was made from, repairs included.
        qdq: of `quantize_for` with this scheme.
        source: some samples; labels are not needed.
        exclude: the nodes that were left in float (`Recipe.float_nodes`).
        measure: whether outputs are class scores, see `output_error`.
        gains: of how many of the worst layers `gain` is measured, too.
        limit: samples; few will do.
        deadline: of `time.monotonic`: no sample but the first is begun behind it.

    Raises:
        UsageError: no floating-point output, or an unknown node in `exclude`.
        DataError: no samples, or what `source` raises.
        ModelError: ONNX Runtime cannot run the model.
    """
    probe = Probe(with_gates(hub, qdq, scheme, exclude), hub, measure=measure, threads=threads)
    return layer_errors(
        probe, source, gains=gains, limit=limit, deadline=deadline, progress=progress
    )


def layer_errors(
    probe: Probe,
    source: DataSource,
    *,
    gains: int = 0,
    limit: int = DEFAULT_SAMPLES,
    deadline: float | None = None,
    progress: Progress = SILENT,
) -> Sensitivity:
    """As `sensitivity`, of a model that has its gates already."""
    gated = probe.gated
    settings = [gated.all_open(), *(gated.feeds([layer.name]) for layer in gated.layers)]
    errors, samples = probe.errors(
        source, settings, limit=limit, deadline=deadline, label="layers", progress=progress
    )
    total, alone = float(errors[0]), errors[1:]
    sum_alone = float(alone.sum())
    ranked = sorted(zip(alone, gated.layers, strict=True), key=lambda entry: -entry[0])
    won: dict[str, float] = {}
    worst = [layer.name for _, layer in ranked[:gains]]
    if worst and total > 0.0:
        names = {layer.name for layer in gated.layers}
        without, _ = probe.errors(
            source,
            [gated.feeds(names - {name}) for name in worst],
            limit=samples,
            label="gains",
            progress=progress,
        )
        won = {name: 1.0 - _ratio(e, total) for name, e in zip(worst, without, strict=True)}
    layers = [
        LayerError(
            layer.name,
            layer.op_type,
            layer.nodes,
            float(error),
            _ratio(error, sum_alone),
            won.get(layer.name),
        )
        for error, layer in ranked
    ]
    return Sensitivity(tuple(layers), total, samples)


def part_errors(
    probe: Probe,
    layers: Collection[str],
    source: DataSource,
    *,
    limit: int = DEFAULT_SAMPLES,
    deadline: float | None = None,
    progress: Progress = SILENT,
) -> dict[str, tuple[PartError, ...]]:
    """What the tensors and constants of each of these layers cause alone, worst first."""
    gated = probe.gated
    parts: list[tuple[str, str, str]] = []
    written = _written(gated.model)
    for layer in gated.layers:
        if layer.name in layers:
            own = {*layer.nodes, *layer.constants}
            parts += [
                (layer.name, "output" if written.get(name) in own else "input", name)
                for name in layer.pairs
            ]
            parts += [(layer.name, "constants", name) for name in layer.constants]
    settings = [
        gated.gates((), [name]) if kind == "constants" else gated.gates([name], ())
        for _, kind, name in parts
    ]
    if not settings:
        return {}
    errors, _ = probe.errors(
        source, settings, limit=limit, deadline=deadline, label="causes", progress=progress
    )
    found: dict[str, list[PartError]] = {name: [] for name in layers}
    sums = {
        name: sum(error for part, error in zip(parts, errors, strict=True) if part[0] == name)
        for name in layers
    }
    for (of, kind, name), error in zip(parts, errors, strict=True):
        found[of].append(PartError(kind, name, _ratio(error, sums[of])))
    return {name: tuple(sorted(own, key=lambda p: -p.share)) for name, own in found.items()}


def _written(model: ir.Model) -> dict[str, str]:
    return {value.name or "": node.name or "" for node in model.graph for value in node.outputs}


def _ratio(part: float, whole: float) -> float:
    if np.isinf(part):
        return 1.0
    return float(part / whole) if whole > 0.0 else 0.0
