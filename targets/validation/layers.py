"""Layer by layer, whatever the target: the comparison, and what it says in a report.

Outputs of deep networks amplify single roundings, those of layers cannot: a layer that is fed the
QDQ model's own integers and stays within its tolerance is the QDQ model's layer.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx_ir as ir

import edgewise.targets
from edgewise.errors import UsageError
from edgewise.findings import Finding
from edgewise.graph import is_quantized_model, load
from edgewise.targets.base import Artifact, Feeds
from edgewise.targets.layerwise import LayerDifference, LayerReport, LayerwiseTarget
from edgewise.targets.manifest import load_artifact
from edgewise.targets.validation.results import Layers

#: layers that are named one by one in findings
_NAMED = 5


def compare_layers(
    model: ir.Model | str | Path,
    artifact: Artifact | str | Path,
    feeds: Iterable[Feeds],
    *,
    threads: int = 1,
) -> LayerReport:
    """Feed each layer of the artifact with what the QDQ model has there, and compare.

    Args:
        model: the QDQ model that the artifact was emitted from.
        feeds: inputs of that model.

    Raises:
        UsageError: the model is not quantized, the target cannot take artifacts apart, or the
            artifact's options forbid it.
        ModelError: model or artifact cannot be read or run, or do not belong together.
    """
    known = artifact if isinstance(artifact, Artifact) else load_artifact(artifact)
    reference = load(model)
    target = edgewise.targets.get(known.target)
    if not isinstance(target, LayerwiseTarget):
        raise UsageError(f"artifacts of the {known.target} target cannot be compared by layers")
    if not is_quantized_model(reference):
        raise UsageError("layers are compared in the integers of a QDQ model, and there are none")
    return target.compare_layers(reference, known, feeds, threads=threads)


def summary(report: LayerReport) -> Layers:
    """The figures of a report: over all layers, and of the one furthest off its tolerance."""
    worst = report.worst
    if worst is None or not report.samples:
        return Layers.not_measured("no layer of the artifact could be compared")
    return Layers(
        max_lsb=max(layer.max_lsb for layer in report.layers),
        p99_lsb=max(layer.p99_lsb for layer in report.layers),
        different=float(
            np.average(
                [layer.different for layer in report.layers],
                weights=[max(layer.elements, 1) for layer in report.layers],
            )
        ),
        beyond=len(report.beyond),
        worst=worst.node,
        layers=len(report.layers),
        samples=report.samples,
    )


def layer_findings(report: LayerReport) -> list[Finding]:
    """A warning per layer that is not the QDQ model's, the worst first."""
    beyond = sorted(report.beyond, key=lambda layer: layer.tolerance - layer.max_lsb)
    found = [_finding(layer) for layer in beyond[:_NAMED]]
    if len(beyond) > _NAMED:
        text = f"{len(beyond) - _NAMED} more layers differ by more than their limit"
        found.append(Finding("validation/layer-not-equal", "warning", text))
    return found


def _finding(layer: LayerDifference) -> Finding:
    operators = " + ".join(layer.operators)
    return Finding(
        "validation/layer-not-equal",
        "warning",
        f"fed with the QDQ model's own integers, {operators} differs from it by up to "
        f"{layer.max_lsb:.3g} LSB (limit {layer.tolerance:g}), on {layer.different:.2%}",
        layer.node,
        "Please report this with the model; exclude the node from quantization meanwhile.",
    )
