"""Scales of weights by their squared error."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.calibration import Recipe, quantize_with_findings
from edgewise.calibration.weight_search import largest_magnitudes, least_error_magnitudes
from edgewise.errors import UsageError
from edgewise.graph import constant


def error(weights, magnitudes, qmax):
    scales = (magnitudes / qmax).astype(np.float32)[:, None]
    return ((np.clip(np.rint(weights / scales), -qmax, qmax) * scales - weights) ** 2).sum(axis=1)


@pytest.mark.parametrize("qmax", [7, 127])
@pytest.mark.parametrize("tail", ["normal", "standard_t"])
def test_no_channel_gets_worse_and_coarse_ones_get_better(qmax, tail):
    random = np.random.default_rng(0)
    drawn = random.normal(0, 1, (16, 500)) if tail == "normal" else random.standard_t(3, (16, 500))
    weights = drawn.astype(np.float32)
    before, after = largest_magnitudes(weights, 0), least_error_magnitudes(weights, 0, qmax)
    assert (after <= before).all()
    old, new = error(weights, before, qmax), error(weights, after, qmax)
    assert (new <= old * (1 + 1e-6)).all()
    tried = [error(weights, before * part, qmax) for part in np.linspace(0.1, 1, 200)]
    assert new.sum() <= 1.1 * np.min(tried, axis=0).sum()
    if qmax == 7:
        assert new.sum() < 0.8 * old.sum()


def test_the_axis_of_channels_is_respected():
    weights = np.random.default_rng(1).standard_t(3, (6, 5, 3, 3)).astype(np.float32)
    for axis in (0, 1):
        rows = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)
        assert np.array_equal(
            least_error_magnitudes(weights, axis, 7), least_error_magnitudes(rows, 0, 7)
        )
    assert least_error_magnitudes(weights, None, 7).shape == (1,)


def test_dead_channels_and_exact_ones_keep_their_magnitude():
    weights = np.zeros((3, 4), np.float32)
    weights[1] = [127, -1, 5, 0]
    weights[2] = 1e-44
    found = least_error_magnitudes(weights, 0, 127)
    assert found.tolist() == [0.0, 127.0, float(np.float32(1e-44))]


def test_a_recipe_chooses_scales_of_weights(net, trial, android):
    n = net()
    weight = n.random.normal(0, 1, (4, 4000)).astype(np.float32)
    made = trial(n.model(n.op("Gemm", n.input("x", 1, 4000), n.const(weight, "w"), transB=1)))
    done = {
        method: quantize_with_findings(
            made.model, made.statistics, android, Recipe(weights=method)
        ).model
        for method in ("minmax", "mse")
    }
    known = [constant(done[method].graph.initializers["w_scale"]) for method in done]
    assert np.array_equal(known[0], np.float32(np.abs(weight).max(axis=1) / 127.0))
    assert np.array_equal(known[1], np.float32(least_error_magnitudes(weight, 0, 127) / 127.0))
    assert (known[1] < known[0]).any()


def test_an_unknown_method_is_refused(models, trial, android):
    made = trial(models["branches"]())
    with pytest.raises(UsageError, match=r"unknown method for weights 'max'.*minmax, mse"):
        quantize_with_findings(made.model, made.statistics, android, Recipe(weights="max"))
