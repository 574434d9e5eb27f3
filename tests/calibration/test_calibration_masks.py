"""Attention scores that a mask of minus infinity is added to."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.calibration import observed_tensors, quantize_with_findings
from edgewise.calibration.masks import masked_tensors


def attention(net_class, mask, apply="Add"):
    """Scores of x with itself, a mask, a softmax, and the product with x."""
    net = net_class()
    x = net.input("x", 1, 6, 8)
    turned = net.op("Transpose", x, perm=[0, 2, 1], name="turned")
    scores = net.op("MatMul", x, turned, name="scores")
    if apply == "Where":
        masked = net.op("Where", net.const(mask > -1), scores, net.const(mask.min()), name="masked")
    else:
        masked = net.op("Add", scores, net.const(mask), name="masked")
    weights = net.op("Softmax", masked, axis=-1, name="weights")
    return net.model(net.op("MatMul", weights, x, name="y"))


def causal(number):
    return np.triu(np.full((6, 6), number, np.float32), 1)


@pytest.mark.parametrize("number", [-np.inf, np.finfo(np.float32).min])
@pytest.mark.parametrize("apply", ["Add", "Where"])
def test_masked_scores_are_not_observed(net_class, number, apply):
    model = attention(net_class, causal(number), apply)
    assert masked_tensors(model) == {"masked"}
    assert "masked" not in observed_tensors(model)
    assert {"scores", "weights", "y"} <= set(observed_tensors(model))


@pytest.mark.parametrize("number", [np.finfo(np.float32).min, -1e9, -1e4])
def test_products_are_quantized_and_an_unknown_masked_softmax_is_not(
    net_class, trial, android, number
):
    """A row that is masked entirely needs the scores below the mask: it cannot saturate."""
    mask = causal(number)
    mask[0] = number
    made = trial(attention(net_class, mask))
    done = quantize_with_findings(made.model, made.statistics, android)
    sources = {n.name: n.inputs[0].producer() for n in done.model.graph if n.inputs}
    assert sources["n_weights"].op_type == "Add"  # no pair between the mask and the softmax
    assert sources["n_scores"].op_type == sources["n_y"].op_type == "DequantizeLinear"
    assert {f.node for f in done.findings} >= {"n_weights"}


def test_a_small_mask_is_quantized(net_class, trial, android):
    made = trial(attention(net_class, causal(-20.0)))
    assert not quantize_with_findings(made.model, made.statistics, android).findings


def test_bounds_are_no_masks(net_class):
    net = net_class()
    x = net.input("x", 1, 6)
    y = net.op("Clip", x, net.const(np.float32(0)), net.const(np.float32(np.inf)), name="y")
    model = net.model(net.op("Max", y, net.const(np.float32(-np.inf))))
    assert not masked_tensors(model)
