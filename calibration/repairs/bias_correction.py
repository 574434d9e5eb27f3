"""Bias correction: each layer's outputs get the mean back that quantization takes from them (Nagel
et al. 2019, arXiv:1906.04721, section 4.2 and appendix D: empirical bias correction).

Let y = W x + b, and y' = W' x' + b' what the quantized layer computes of the same input, with W'
the stored weights and x' the quantized input. Errors of weights do not cancel over the inputs:

    E[y'_k] - E[y_k] = E[(W' x')_k] - E[(W x)_k]    is not 0,

and a shift of a whole channel weighs more behind than noise of the same size. It is measured over
calibration data, all positions of a channel together, and taken off the bias:

    b_k  <-  b_k + E[y_k] - E[y'_k]

Here x is what the float model computes, for every layer: the shift is the layer's own, and all
layers are measured in one pass. Were x what the quantized layers before it give, the shift would
contain theirs, and taking both off would take it off twice. Before an activation and before y' is
quantized itself, where the bias acts.

The ranges of activations stay those of the unrepaired model: its activations are what the quantized
one computes in the mean.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import islice

import numpy as np
import onnx_ir as ir

from edgewise.calibration.quantize_for import quantize_for
from edgewise.calibration.repairs.base import (
    Repaired,
    RepairInput,
    all_declined,
    declined,
    repaired,
)
from edgewise.calibration.repairs.channel_values import (
    Vector,
    Visible,
    by_channel,
    taken,
    with_outputs,
)
from edgewise.calibration.repairs.layer_cuts import LayerCuts, cut_layers
from edgewise.calibration.repairs.layers import LAYER_OPS, Layer, layer_of
from edgewise.errors import DataError
from edgewise.graph import OrtSession, known_ranges

NAME = "bias_correction"
#: shifts below this share of the largest output are what float32 rounds away
_ROUNDED = 1e-6


def correct_biases(model: ir.Model, given: RepairInput) -> Repaired:
    """Correct the bias of every layer that the recipe quantizes.

    Raises:
        DataError: the source has no samples.
        UsageError, ModelError: what quantizing raises.
    """
    if known_ranges(model):
        return Repaired(model, findings=(declined(NAME, "", "the model brings its own scales"),))
    quantized = quantize_for(model, given.statistics, given.scheme, given.recipe).model
    work = ir.from_proto(ir.to_proto(model))
    layers, reasons = _layers(work)
    findings = all_declined(NAME, reasons)
    if not layers:
        return Repaired(model, findings=findings)
    cuts = cut_layers(quantized, layers, work)
    shifts = _shifts(model, cuts, given)
    changed = []
    for layer in cuts.layers:
        shift = shifts[layer.output.name or ""]
        if np.abs(shift).max(initial=0.0) > 0.0:
            bias = np.zeros(layer.outputs, np.float32) if layer.bias is None else layer.bias
            layer.set_bias((bias + shift).astype(np.float32))
            changed.append(layer.holder.name or "")
    if not changed:
        return Repaired(model, findings=findings)
    done = repaired(NAME, changed, f"corrected the biases of {len(changed)} layers")
    return Repaired(work, tuple(changed), (done, *findings))


def _layers(model: ir.Model) -> tuple[list[Layer], dict[str, list[str]]]:
    """The layers that can take a bias, and the names of the others by reason."""
    layers: list[Layer] = []
    reasons: dict[str, list[str]] = defaultdict(list)
    for node in model.graph:
        if node.op_type not in LAYER_OPS or node.domain not in ("", "ai.onnx"):
            continue
        layer = layer_of(node)
        if isinstance(layer, str):
            reasons[layer].append(node.name or "")
        elif not layer.has_place_for_bias:
            reasons["no constant is added to its product"].append(node.name or "")
        else:
            layers.append(layer)
    return layers, reasons


def _shifts(model: ir.Model, cuts: LayerCuts, given: RepairInput) -> dict[str, Vector]:
    """E[y] - E[y'] per output channel, by the name of the layer's output."""
    outputs = [layer.output.name or "" for layer in cuts.layers]
    axes = {layer.output.name or "": layer.channel_axis for layer in cuts.layers}
    visible = Visible.of(model)
    fetched = {*outputs, *cuts.inputs, *visible.fetched}
    wanted = sorted(fetched - {value.name or "" for value in model.graph.inputs})
    whole = OrtSession(with_outputs(model, wanted), threads=given.threads, optimize="all")
    parts = OrtSession(cuts.model, threads=given.threads)
    totals = {
        name: np.zeros(layer.outputs) for name, layer in zip(outputs, cuts.layers, strict=True)
    }
    sizes = dict.fromkeys(outputs, 0.0)
    count = 0
    for sample in islice(given.source, given.limit):
        tensors = {**sample.feeds, **whole.run(sample.feeds, wanted)}
        found = parts.run({cuts.inputs[name]: tensors[name] for name in cuts.inputs})
        kept = visible.kept(tensors)
        for name in outputs:
            hidden = kept.get(name, ())
            # a product may give its rows in one axis
            quantized = found[cuts.outputs[name]].reshape(tensors[name].shape)
            y = by_channel(taken(tensors[name], hidden), axes[name])
            other = by_channel(taken(quantized, hidden), axes[name])
            totals[name] += y.mean(axis=1, dtype=np.float64)
            totals[name] -= other.mean(axis=1, dtype=np.float64)
            sizes[name] = max(sizes[name], float(np.abs(y).max(initial=0.0)))
        count += 1
    if not count:
        raise DataError("there are no calibration samples", where=given.source.description)
    return {
        name: np.where(np.abs(total) > _ROUNDED * count * sizes[name], total / count, 0.0)
        for name, total in totals.items()
    }
