"""Several repairs one after another, by name."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.calibration import Recipe, collect_statistics
from edgewise.calibration.repairs import REPAIRS, RepairInput, apply_repairs
from edgewise.calibration.repairs.layers import layer_of
from edgewise.calibration.statistics import model_hash
from edgewise.errors import ModelError, UsageError


@pytest.fixture
def given(models, source_of, android):
    model = models["mobile"]()
    source = source_of(model)
    statistics = collect_statistics(model, source)
    return model, RepairInput(source, statistics, android, Recipe())


@pytest.mark.parametrize("names", [["bias_correction"], ["equalize", "bias_correction"]])
def test_statistics_follow_the_model_and_the_given_one_stays(given, names):
    model, values = given
    before = model_hash(model)
    applied = apply_repairs(model, names, values)
    assert model_hash(model) == before != model_hash(applied.model)
    applied.statistics.check_model(applied.model)
    assert {node.name for node in model.graph} <= {node.name for node in applied.model.graph}


def test_the_same_repairs_give_the_same_bits(given):
    model, values = given
    names = ["equalize", "smooth_quant", "bias_correction"]
    one, two = (apply_repairs(model, names, values) for _ in range(2))
    assert model_hash(one.model) == model_hash(two.model)
    assert one.findings == two.findings


def test_no_repair_gives_the_model_itself(given):
    model, values = given
    applied = apply_repairs(model, [], values)
    assert applied.model is model and applied.statistics is values.statistics


@pytest.mark.parametrize("names", [["equalise"], ["equalize", "equalize"]])
def test_names_are_checked(given, names):
    with pytest.raises(UsageError, match=names[0]):
        apply_repairs(given[0], names, given[1])


def test_foreign_statistics_are_refused(given, models):
    with pytest.raises(ModelError, match="another model"):
        apply_repairs(models["branches"](), ["equalize"], given[1])


def test_biases_are_corrected_last_of_all():
    assert list(REPAIRS)[-1] == "bias_correction"


@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose", "Gemm", "MatMul"])
def test_a_layer_is_scaled_as_its_channels(net_class, source_of, kind):
    """Outputs divided, inputs multiplied: the layer's output is W (s x) / t."""
    from edgewise.graph import OrtSession

    net = net_class(7)
    if kind in ("Conv", "ConvTranspose"):
        x = net.input("x", 1, 4, 5, 5)
        weight = net.random.normal(0, 1, (6, 2, 3, 3) if kind == "Conv" else (4, 3, 3, 3))
        bias = net.const(net.random.normal(0, 1, 6).astype(np.float32))
        y = net.op(kind, x, net.const(weight.astype(np.float32)), bias, group=2, name="y")
        shape, axis = (1, -1, 1, 1), 4
    else:
        x = net.input("x", 3, 4)
        weight = net.const(net.random.normal(0, 1, (4, 6)).astype(np.float32))
        bias = net.const(net.random.normal(0, 1, 6).astype(np.float32))
        if kind == "Gemm":
            y = net.op("Gemm", x, weight, bias, name="y", alpha=0.5, beta=2.0)
        else:
            y = net.op("Add", net.op("MatMul", x, weight), bias, name="y")
        shape, axis = (1, -1), 4
    model = net.model(y)
    feeds = source_of(model).samples[0]
    s = np.linspace(0.5, 3.0, axis, dtype=np.float32)
    t = np.linspace(0.2, 4.0, 6, dtype=np.float32)
    scaled = {"x": feeds["x"] * s.reshape(shape)}
    wanted = OrtSession(model).run(scaled)["y"] / t.reshape(shape)
    layer = layer_of(next(node for node in model.graph if node.op_type == kind))
    layer.divide_outputs(t)
    layer.multiply_inputs(s)
    np.testing.assert_allclose(OrtSession(model).run(feeds)["y"], wanted, rtol=2e-4, atol=2e-5)
