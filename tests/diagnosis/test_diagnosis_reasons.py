"""Each thing that can be spoiled is found where it was spoiled, and named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import edgewise.targets
from edgewise.calibration import Scheme, collect_statistics, quantize
from edgewise.calibration.layers import named_copy
from edgewise.diagnosis import Diagnosis
from edgewise.diagnosis.document import Cause
from edgewise.diagnosis.weight_reasons import weight_reasons

Schemes = Mapping[str, Scheme]
Diagnose = Callable[..., Diagnosis]
SHAPE = (1, 4, 12, 12)


def _worst(found: Diagnosis) -> tuple[str, Cause]:
    """The worst layer, and what causes most of its error."""
    return found.layers[0].name, found.layers[0].causes[0]


def _rules(cause: Cause) -> list[str]:
    return [reason.rule for reason in cause.reasons]


def test_a_healthy_network_has_no_reasons(
    spoiled: Any, data: Any, schemes: Schemes, diagnosed: Diagnose
) -> None:
    found = diagnosed(spoiled.model("three"), schemes["android"], data(SHAPE))
    assert found.sqnr_db is not None and found.sqnr_db > 30
    assert [cause for layer in found.layers for cause in layer.causes if cause.reasons] == []
    assert sum(layer.share for layer in found.layers) == pytest.approx(1.0)


@pytest.mark.parametrize("scheme", ["android", "symmetric"])
def test_an_outlier_of_the_range(
    scheme: str, spoiled: Any, data: Any, schemes: Schemes, diagnosed: Diagnose
) -> None:
    samples = data(SHAPE)
    for array in samples.arrays:
        array[0, 1, 5, 5] = -80.0
    layer, cause = _worst(diagnosed(spoiled.model("three"), schemes[scheme], samples))
    assert layer == "one"
    assert (cause.kind, cause.name) == ("input", "x")
    assert _rules(cause)[0] == "range-outlier"
    assert cause.reasons[0].gain_db is not None and cause.reasons[0].gain_db > 10


def test_channels_of_activations_that_differ(
    spoiled: Any, data: Any, schemes: Schemes, diagnosed: Diagnose
) -> None:
    """One channel is 200 times as large, and the next layer makes it as small again."""
    for name in ("two.weight", "two.bias"):
        spoiled.constant(name)[3] *= 200.0
    spoiled.constant("three.weight")[:, 3] /= 200.0
    layer, cause = _worst(diagnosed(spoiled.model("three"), schemes["android"], data(SHAPE)))
    assert layer in ("two", "three")
    assert cause.name == "two_act"
    assert _rules(cause) == ["activation-channels"]
    assert "channel 3" in cause.reasons[0].text


def test_channels_of_weights_that_share_a_step(
    spoiled: Any, data: Any, schemes: Schemes, diagnosed: Diagnose
) -> None:
    """A channel of large weights that its bias keeps from ever being positive."""
    spoiled.constant("two.weight")[5] *= 100.0
    spoiled.constant("two.bias")[5] = -2000.0
    layer, cause = _worst(diagnosed(spoiled.model("three"), schemes["per_tensor"], data(SHAPE)))
    assert (layer, cause.kind) == ("two", "constants")
    assert _rules(cause)[0] == "weight-channels"
    healthy, cause = _worst(diagnosed(spoiled.model("three"), schemes["android"], data(SHAPE)))
    assert "weight-channels" not in _rules(cause), healthy


def test_outliers_among_weights(
    spoiled: Any, data: Any, schemes: Schemes, diagnosed: Diagnose
) -> None:
    """In every channel, one weight that reads a channel without values."""
    spoiled.constant("one.weight")[2], spoiled.constant("one.bias")[2] = 0.0, -1.0
    spoiled.constant("two.weight")[:, 2, 1, 1] = 20.0
    layer, cause = _worst(diagnosed(spoiled.model("three"), schemes["android"], data(SHAPE)))
    assert (layer, cause.kind) == ("two", "constants")
    assert _rules(cause) == ["weight-outlier"]


def test_saturation(spoiled: Any, data: Any, schemes: Schemes, diagnosed: Diagnose) -> None:
    """Calibrated with data that are too narrow."""
    found = diagnosed(
        spoiled.model("three"), schemes["android"], data(SHAPE), data(SHAPE, spread=0.2)
    )
    causes = [cause for layer in found.layers for cause in layer.causes]
    assert found.layers[0].causes[0].reasons[0].rule == "saturation"
    assert sum("saturation" in _rules(cause) for cause in causes) > len(causes) / 2
    worst = next(tensor for tensor in found.tensors if tensor.name == "x")
    assert worst.saturated > 0.2


def test_the_half_of_symmetric_integers_that_relu_wastes(
    spoiled: Any, data: Any, schemes: Schemes, diagnosed: Diagnose
) -> None:
    found = diagnosed(spoiled.model("three"), schemes["symmetric"], data(SHAPE))
    causes = [cause for layer in found.layers for cause in layer.causes]
    wasted = {cause.name for cause in causes if "symmetric-waste" in _rules(cause)}
    assert wasted == {"one_act", "two_act"}
    gains = [r.gain_db for c in causes for r in c.reasons if r.rule == "symmetric-waste"]
    assert gains == pytest.approx([6.0] * len(gains), abs=1.0)


def test_the_scale_that_a_concatenation_shares(
    graph: Any, data: Any, schemes: Schemes, diagnosed: Diagnose
) -> None:
    """A narrow branch whose channels the next layer makes large again."""
    net = graph(*SHAPE)
    wide, narrow = net.conv("wide", "x", 4, 4), net.conv("narrow", "x", 4, 4)
    for name in ("narrow.weight", "narrow.bias"):
        net.constant(name)[:] *= 0.02
    net.conv("last", net.op("Concat", "joined", wide, narrow, axis=1), 8, 4)
    net.constant("last.weight")[:, 4:] *= 50.0
    found = diagnosed(net.model("last"), schemes["android"], data(SHAPE))
    narrow_layer = next(layer for layer in found.layers if layer.name == "narrow")
    assert {layer.name for layer in found.layers[:2]} == {"narrow", "last"}
    shared = next(cause for cause in narrow_layer.causes if cause.name == "narrow")
    assert _rules(shared)[0] == "shared-scale"
    assert "'wide'" in shared.reasons[0].text


def test_the_range_that_a_softmax_reads(
    graph: Any, data: Any, schemes: Schemes, diagnosed: Diagnose
) -> None:
    net = graph(1, 8, 16)
    weight = net.const("scores.weight", net.random.normal(0, 4.0, (16, 16)))
    weights = net.op("Softmax", "weights", net.op("MatMul", "scores", "x", weight), axis=-1)
    values = net.const("out.weight", net.random.normal(0, 0.25, (16, 16)))
    net.op("MatMul", "out", weights, values)
    found = diagnosed(net.model("out"), schemes["android"], data((1, 8, 16)))
    causes = {cause.name: _rules(cause) for layer in found.layers[:3] for cause in layer.causes}
    assert causes["scores"] == ["softmax-range"]


@pytest.mark.parametrize("precision", ["w8a16", "w8a8"])
def test_a_bias_too_large_for_its_steps(
    precision: str, spoiled: Any, data: Any, schemes: Schemes
) -> None:
    """Its steps are s_in s_w: tiny where inputs have 16 bits and weights are small. With 8 bits,
    such weights are lost beside the bias anyway."""
    spoiled.constant("two.weight")[:4] *= 5e-5
    spoiled.constant("two.bias")[:4] = 0.3 if precision == "w8a16" else 300.0
    scheme = edgewise.targets.get("android").scheme(precision)
    model, samples = spoiled.model("three"), data(SHAPE)
    qdq = named_copy(quantize(model, collect_statistics(model, samples), scheme))
    hub = {node.name or "": node for node in named_copy(model).graph}
    reasons = {node.name: weight_reasons(node, hub) for node in qdq.graph if node.op_type == "Conv"}
    expected = ["bias-scale"] if precision == "w8a16" else []
    assert [reason.rule for reason in reasons["two"]] == expected
    assert reasons["one"] == reasons["three"] == []


def test_sixteen_bits_are_described_in_their_own_steps(
    spoiled: Any, data: Any, schemes: Schemes, diagnosed: Diagnose
) -> None:
    wide = replace(
        schemes["symmetric"],
        activation=replace(schemes["symmetric"].activation, dtype="int16"),  # type: ignore[type-var]
    )
    samples = data(SHAPE)
    for array in samples.arrays:
        array[0, 1, 5, 5] = 4000.0
    found = diagnosed(spoiled.model("three"), wide, samples)
    tensor = next(tensor for tensor in found.tensors if tensor.name == "x")
    assert tensor.dtype == "int16"
    assert np.isclose(tensor.scale, 4000 / 32767, rtol=1e-3)
