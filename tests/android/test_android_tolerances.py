"""Limits of layers: one step, and more only where a kernel rounds to a scale of its own first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgewise.targets.android import TARGET
from edgewise.targets.validation import compare_layers


@pytest.mark.parametrize(
    ("op_type", "output", "limit"),
    [
        ("Tanh", (1 / 128, 0), 1.0),
        ("Tanh", (1 / 512, 0), 5.0),
        ("Sigmoid", (1 / 256, -128), 1.0),
        ("Sigmoid", (1 / 512, -128), 3.0),
        ("Abs", (0.05, 0), 1.0),
    ],
)
def test_limit_follows_the_scale_that_the_kernel_prescribes(
    op_type: str,
    output: tuple[float, int],
    limit: float,
    kit: Any,
    rng: np.random.Generator,
    tmp_path: Any,
) -> None:
    x = {"x": rng.normal(0, 0.1, (1, 4, 64)).astype(np.float32)}
    model = kit.int8_model(kit.node(op_type, ["x"], ["y"]), x, output)
    (layer,) = compare_layers(model, TARGET.emit(model, tmp_path, "w8a8"), [x]).layers
    assert layer.tolerance == pytest.approx(limit)
    assert bool(layer.reason) == (limit > 1)
    assert layer.ok


def test_transposes_between_do_not_hide_the_kernel(
    kit: Any, rng: np.random.Generator, tmp_path: Any
) -> None:
    x = {"x": rng.normal(0, 1, (1, 4, 6, 6)).astype(np.float32)}
    node = kit.node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2])
    model = kit.int8_model(node, x, (0.002, 0), input_parameters={"x": (0.02, 3)})
    (layer,) = compare_layers(model, TARGET.emit(model, tmp_path, "w8a8"), [x]).layers
    assert layer.operators[-1] == "QUANTIZE" and layer.ok
    assert layer.tolerance == pytest.approx(11.0, rel=1e-5)
