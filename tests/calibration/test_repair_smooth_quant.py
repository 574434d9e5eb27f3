"""SmoothQuant: outliers behind a normalization move into the weights that read them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewise.calibration import Recipe, collect_statistics, quantize
from edgewise.calibration.repairs import RepairInput, apply_repairs
from edgewise.calibration.repairs.smooth_quant import smooth_quant
from edgewise.calibration.scheme import NumberFormat, Scheme
from edgewise.graph import OrtSession


def block(net_class, *, residual=False, spelled=False, products=2, outlier=80.0, seed=0):
    """A normalization with outliers in three channels, and products that read it."""
    net = net_class(seed)
    width = 32
    x = net.input("x", 1, 12, width)
    scale = np.ones(width, np.float32)
    scale[[3, 11, 20]] = outlier
    shift = net.random.normal(0, 0.1, width).astype(np.float32)
    if spelled:
        root = net.op("Sqrt", net.op("Add", net.op("ReduceMean", net.op("Mul", x, x), net.const(
            np.array([-1], np.int64))), net.const(np.float32(1e-5))))  # fmt: skip
        normal = net.op("Add", net.op("Mul", net.op("Div", x, root), net.const(scale)),
                        net.const(shift), name="normal")  # fmt: skip
    else:
        normal = net.op("LayerNormalization", x, net.const(scale), net.const(shift),
                        name="normal", axis=-1)  # fmt: skip
    outputs = []
    for index in range(products):
        weight = net.random.normal(0, 0.2, (width, width)).astype(np.float32)
        weight[[3, 11, 20]] /= outlier
        product = net.op("MatMul", normal, net.const(weight))
        outputs.append(
            net.op("Add", product, net.const(np.zeros(width, np.float32)), name=f"out_{index}")
        )
    if residual:
        outputs.append(net.op("Add", normal, outputs[0], name="sum"))
    return net.model(*outputs)


def input_of(model, source, scheme):
    return RepairInput(source, collect_statistics(model, source), scheme, Recipe())


def largest_difference(one, other, source):
    first, second = OrtSession(one), OrtSession(other)
    return max(
        float(np.abs(array - second.run(sample.feeds)[name]).max() / np.abs(array).max())
        for sample in source
        for name, array in first.run(sample.feeds).items()
    )


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("spelled", [False, True])
def test_outliers_move_into_weights(net_class, source_of, trial, scheme, residual, spelled):
    model = block(net_class, residual=residual, spelled=spelled)
    source = source_of(model, count=12)
    given = input_of(model, source, scheme)
    applied = apply_repairs(model, ["smooth_quant"], given)
    assert largest_difference(model, applied.model, source) < 1e-5
    names = [f"out_{index}" for index in range(2)]
    wanted = OrtSession(model)

    def error(quantized):
        found = OrtSession(quantized)
        return sum(
            float(((wanted.run(s.feeds)[n] - found.run(s.feeds)[n]) ** 2).sum())
            for s in source
            for n in names
        )

    before = error(quantize(model, given.statistics, scheme))
    assert error(quantize(applied.model, applied.statistics, scheme)) < 0.3 * before


def test_a_residual_branch_keeps_the_normalization(net_class, source_of, android):
    model = block(net_class, residual=True)
    source = source_of(model, count=6)
    done = smooth_quant(model, input_of(model, source, android))
    normalizations = [n for n in done.model.graph if n.op_type == "LayerNormalization"]
    assert len(normalizations) == 2
    assert "computed twice" in done.findings[0].message
    kept = next(node for node in normalizations if node.outputs[0].name == "normal")
    assert [use.node.op_type for use in kept.outputs[0].uses()] == ["Add"]
    np.testing.assert_array_equal(
        kept.inputs[1].const_value.numpy(),
        next(n for n in model.graph if n.op_type == "LayerNormalization")
        .inputs[1]
        .const_value.numpy(),
    )


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    alpha=st.floats(0.0, 1.0),
    residual=st.booleans(),
    seed=st.integers(0, 100),
    products=st.integers(1, 3),
)
def test_the_float_function_stays_for_every_alpha(net_class, source_of, alpha, residual, seed,
                                                  products):  # fmt: skip
    model = block(net_class, residual=residual, seed=seed, products=products)
    source = source_of(model, count=4)
    scheme = Scheme(
        "x", "w8a8", NumberFormat("int8", symmetric=False),
        NumberFormat("int8", symmetric=True, granularity="per_channel"),
        quantized_ops=frozenset({"MatMul", "Add"}),
    )  # fmt: skip
    done = smooth_quant(model, input_of(model, source, scheme), alpha=alpha)
    assert largest_difference(model, done.model, source) < 1e-5


def test_no_outliers_no_change(net_class, source_of, android):
    model = block(net_class, outlier=1.0)
    done = smooth_quant(model, input_of(model, source_of(model), android))
    assert done.model is model


def test_an_activation_behind_declines(net_class, source_of, android):
    net = net_class()
    scale = net.const(np.linspace(1, 50, 16, dtype=np.float32))
    normal = net.op("LayerNormalization", net.input("x", 1, 4, 16), scale, axis=-1)
    weight = net.const(net.random.normal(0, 1, (16, 4)).astype(np.float32))
    model = net.model(net.op("MatMul", net.op("Tanh", normal), weight))
    done = smooth_quant(model, input_of(model, source_of(model), android))
    assert done.model is model and "Tanh reads it" in done.findings[0].message
