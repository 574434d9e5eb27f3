"""A gated model computes its hub model, its QDQ model, and all between the two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import edgewise.targets
from edgewise.calibration import Scheme, collect_statistics, quantize
from edgewise.calibration.gates import with_gates
from edgewise.calibration.quantize_for import quantize_for
from edgewise.data.preprocessing import DataSettings
from edgewise.errors import ModelError
from edgewise.graph import OrtSession, constant, load, prepare
from edgewise.hub_data import open_for

DIGITS = Path(__file__).resolve().parents[2] / "sample_models" / "digits"
Nets = Mapping[str, Callable[[], ir.Model]]


def _residual(net: Any) -> ir.Model:
    """A ReLU that two branches read, an addition, and another ReLU behind it."""
    net = net(5)
    stem = net.op("Relu", net.conv(net.input("image", 1, 3, 12, 12), 3, 8, name="stem"), name="act")
    inner = net.op("Relu", net.conv(stem, 8, 8, name="first"), name="inner")
    total = net.op("Add", stem, net.conv(inner, 8, 8, name="second"), name="total")
    pooled = net.op("GlobalAveragePool", net.op("Relu", total, name="joined"), name="pooled")
    flat = net.op("Flatten", pooled, name="flat")
    weight = net.const(net.random.normal(0, 0.5, (8, 6)).astype(np.float32))
    bias = net.const(net.random.normal(0, 0.5, 6).astype(np.float32))
    return net.model(net.op("Gemm", flat, weight, bias, name="scores", alpha=0.5, beta=2.0))


def _transformer(net: Any) -> ir.Model:
    """Attention over 6 positions with projections that have biases, LayerNormalization, GELU."""
    net = net(7)
    x = net.input("tokens", 1, 6, 16)

    def linear(source: str, width: int, to: int, name: str) -> str:
        weight = net.const(net.random.normal(0, width**-0.5, (width, to)).astype(np.float32))
        bias = net.const(net.random.normal(0, 0.1, to).astype(np.float32))
        return str(
            net.op("Add", net.op("MatMul", source, weight, name=name), bias, name=f"{name}_b")
        )

    keys = net.op("Transpose", linear(x, 16, 16, "key"), perm=[0, 2, 1], name="turned")
    scores = net.op("MatMul", linear(x, 16, 16, "query"), keys, name="scores")
    weights = net.op("Softmax", scores, axis=-1, name="weights")
    mixed = net.op("MatMul", weights, linear(x, 16, 16, "value"), name="mixed")
    total = net.op("Add", x, linear(mixed, 16, 16, "projection"), name="total")
    gamma, beta = net.const(np.ones(16, np.float32)), net.const(np.zeros(16, np.float32))
    normed = net.op("LayerNormalization", total, gamma, beta, name="normed")
    wide = net.op("Gelu", linear(normed, 16, 32, "wide"), name="gelu")
    return net.model(linear(wide, 32, 16, "narrow"))


def _swish(net: Any) -> ir.Model:
    """x * sigmoid(x), which a hub model holds as one node."""
    net = net(8)
    x = net.conv(net.input("image", 1, 3, 8, 8), 3, 6, name="stem")
    swished = net.op("Mul", x, net.op("Sigmoid", x, name="gate"), name="swished")
    return net.model(net.conv(swished, 6, 4, name="head"))


MORE = {"residual": _residual, "transformer": _transformer, "swish": _swish}
NAMES = ["mobile", "branches", "several_readers", "decoder", *MORE]


def _model(name: str, models: Nets, net: Any) -> ir.Model:
    return MORE[name](net) if name in MORE else models[name]()


def _compare(
    wanted: Mapping[str, Any], found: Mapping[str, Any], steps: float, between: Mapping[str, Any]
) -> None:
    """Within a share of how far the two ends are apart; sums in another order round otherwise."""
    for name, array in wanted.items():
        apart = np.abs(array - between[name]).max()
        np.testing.assert_allclose(found[name], array, rtol=0, atol=max(steps * apart, 2e-6))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("target", ["android", "apple", "arm"])
def test_all_closed_is_the_hub_model_and_all_open_the_qdq_model(
    name: str, target: str, models: Nets, net: Any, trial: Callable[..., Any]
) -> None:
    scheme = edgewise.targets.get(target).scheme("w8a8")
    tried = trial(_model(name, models, net), count=2)
    qdq = tried.quantize(scheme)
    gated = with_gates(tried.model, qdq, scheme)
    session = OrtSession(gated.model)
    assert not gated.stuck
    for feeds in tried.source.samples:
        real, integer = OrtSession(tried.model).run(feeds), OrtSession(qdq).run(feeds)
        _compare(real, session.run(feeds | gated.gates((), ())), 1e-4, integer)
        _compare(integer, session.run(feeds | gated.all_open()), 0.05, real)
        opened = gated.feeds([layer.name for layer in gated.layers])
        _compare(integer, session.run(feeds | opened), 0.05, real)


@pytest.mark.parametrize("name", NAMES)
def test_any_layers_are_what_excluding_the_others_leaves(
    name: str, models: Nets, net: Any, trial: Callable[..., Any], apple: Scheme
) -> None:
    """The scheme ties movers only, so that excluding a layer leaves the scales of the others."""
    tried = trial(_model(name, models, net), count=1)
    gated = with_gates(tried.model, tried.quantize(apple), apple)
    session, feeds = OrtSession(gated.model), tried.source.samples[0]
    real = OrtSession(tried.model).run(feeds)
    random = np.random.default_rng(3)
    subsets = [[layer] for layer in gated.layers]
    subsets += [[one for one in gated.layers if one is not layer] for layer in gated.layers]
    subsets += [[one for one in gated.layers if random.random() < 0.5] for _ in range(4)]
    for kept in filter(None, subsets):
        exclude = [n for layer in gated.layers if layer not in kept for n in layer.nodes]
        wanted = OrtSession(tried.quantize(apple, exclude=exclude)).run(feeds)
        found = session.run(feeds | gated.feeds([layer.name for layer in kept]))
        _compare(wanted, found, 0.02, real)


def test_real_weights(apple: Scheme) -> None:
    hub = prepare(load(DIGITS / "digits.onnx"))
    source = open_for(hub, DIGITS / "calibration.npz", DataSettings())
    statistics = collect_statistics(hub, source, limit=40)
    gated = with_gates(hub, quantize(hub, statistics, apple), apple)
    session = OrtSession(gated.model)
    worst = gated.layers[::3]
    exclude = [name for layer in worst for name in layer.nodes]
    mixed = OrtSession(quantize(hub, statistics, apple, exclude=exclude))
    kept = [layer.name for layer in gated.layers if layer not in worst]
    for sample in islice(source, 3):
        real = OrtSession(hub).run(sample.feeds)
        found = session.run({**sample.feeds, **gated.feeds(kept)})
        _compare(mixed.run(sample.feeds), found, 0.02, real)


def test_weights_alone(models: Nets, trial: Callable[..., Any]) -> None:
    """A scheme without integer activations: each node with weights is a layer."""
    scheme = edgewise.targets.get("apple").scheme("w8")
    tried = trial(models["mobile"](), count=1)
    qdq = quantize_for(tried.model, None, replace(scheme, smallest_weight=1)).model
    gated = with_gates(tried.model, qdq, scheme)
    session, feeds = OrtSession(gated.model), tried.source.samples[0]
    real, integer = OrtSession(tried.model).run(feeds), OrtSession(qdq).run(feeds)
    assert {layer.op_type for layer in gated.layers} == {"Conv", "Gemm"}
    _compare(real, session.run(feeds | gated.gates((), ())), 1e-4, integer)
    _compare(integer, session.run(feeds | gated.feeds([x.name for x in gated.layers])), 1e-4, real)


def test_folded_activations_belong_to_their_layer(
    models: Nets, trial: Callable[..., Any], android: Scheme
) -> None:
    tried = trial(models["mobile"](), count=1)
    gated = with_gates(tried.model, tried.quantize(android), android)
    stem = next(layer for layer in gated.layers if "n_stem" in layer.nodes)
    assert stem.nodes == ("n_stem", "n_stem_act")


def test_a_float_node_between_quantized_ones_is_no_layer(
    net: Any, trial: Callable[..., Any], apple: Scheme
) -> None:
    tried = trial(_residual(net), count=1)
    qdq = tried.quantize(apple, exclude=["n_second"])
    gated = with_gates(tried.model, qdq, apple, exclude=["n_second"])
    assert "n_second" not in {name for layer in gated.layers for name in layer.nodes}
    session, feeds = OrtSession(gated.model), tried.source.samples[0]
    opened = gated.feeds([layer.name for layer in gated.layers])
    _compare(
        OrtSession(qdq).run(feeds),
        session.run(feeds | opened),
        0.02,
        OrtSession(tried.model).run(feeds),
    )


def test_models_of_different_weights_are_refused(
    net: Any, trial: Callable[..., Any], apple: Scheme
) -> None:
    tried = trial(_residual(net), count=1)
    other = _residual(net)
    weight = next(node for node in other.graph if node.op_type == "Conv").inputs[1]
    array = constant(weight)
    assert weight is not None and array is not None
    weight.const_value = ir.tensor(3.0 * array, name=weight.name)
    with pytest.raises(ModelError, match="made from another model"):
        with_gates(other, tried.quantize(apple), apple)
