"""AdaRound on real weights and on a network that is hard to round: what it finds is what the later
quantization stores, and outputs come closer to float."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgewise.calibration import collect_statistics
from edgewise.calibration.quantize_for import quantize_for
from edgewise.calibration.recipe import PLAIN
from edgewise.calibration.repairs import RepairInput, apply_repairs
from edgewise.calibration.repairs.ada_round import ada_round
from edgewise.calibration.repairs.gram import Layer, gram_matrices, layer_of
from edgewise.calibration.repairs.rounding import Rows, output_change
from edgewise.calibration.scheme import NumberFormat, Scheme
from edgewise.data.preprocessing import DataSettings
from edgewise.graph import OrtSession, constant, load, prepare, quantization_of
from edgewise.graph.quantized import DEQUANTIZE
from edgewise.hub_data import open_for

DIGITS = Path(__file__).resolve().parents[2] / "sample_models" / "digits"
SAMPLES = 16

FOUR_BITS = NumberFormat("int4", symmetric=True, granularity="per_channel", narrow_range=True)


def weights_alone(number: NumberFormat) -> Scheme:
    return Scheme(
        "test",
        "w4",
        weight=number,
        quantized_ops=frozenset({"Conv", "Gemm", "MatMul"}),
        smallest_weight=1,
    )


@pytest.fixture(scope="module")
def digits():
    hub = prepare(load(DIGITS / "digits.onnx"))
    source = open_for(hub, DIGITS / "calibration.npz", DataSettings())
    return hub, source, collect_statistics(hub, source, limit=SAMPLES)


def given(trial, scheme: Scheme, **fields) -> RepairInput:
    _, source, statistics = trial
    return RepairInput(source, statistics, scheme, PLAIN, limit=SAMPLES, **fields)


def stored(model: ir.Model):
    """Integers and scales of the weights, by node."""
    found = {}
    for node in model.graph:
        producer = node.inputs[1].producer() if len(node.inputs) > 1 and node.inputs[1] else None
        if producer is None or producer.op_type != DEQUANTIZE:
            continue
        integers = constant(producer.inputs[0])
        if integers is not None:
            found[node.name] = integers.astype(np.int32), quantization_of(producer)
    return found


def quantized(model: ir.Model, trial, scheme: Scheme, **options) -> ir.Model:
    statistics = trial[2] if model is trial[0] else options.pop("statistics")
    return quantize_for(model, statistics, scheme, **options).model


def check_integers(before: ir.Model, after: ir.Model, rounded: ir.Model, narrow: int) -> int:
    """Scales bit for bit, values on the grid, at most a step from nearest; how many moved."""
    old, new = stored(before), stored(after)
    values = {node.name: constant(node.inputs[1]) for node in rounded.graph if node.name in new}
    moved = 0
    for name, (integers, quantization) in new.items():
        assert np.array_equal(quantization.scale, old[name][1].scale)
        difference = integers - old[name][0]
        assert np.abs(difference).max() <= 1
        assert np.abs(integers).max() <= narrow
        moved += np.count_nonzero(difference)
        grid, peak = quantization.dequantize(integers), np.abs(integers) == narrow
        off = values[name] != grid
        # only the largest of a scale keep the float values that the scale follows from
        changed = (values[name] != 0) & off
        assert (peak | ~changed | (difference == 0)).all()
    return moved


@pytest.mark.parametrize("target", ["android", "apple", "arm"])
def test_digits_at_8_bits(digits, schemes, target):
    scheme = schemes[target]
    hub = digits[0]
    applied = apply_repairs(hub, ["ada_round"], given(digits, scheme))
    assert [finding.rule for finding in applied.findings] == ["calibration/ada-round"]
    before = quantized(hub, digits, scheme)
    after = quantized(applied.model, digits, scheme, statistics=applied.statistics)
    assert check_integers(before, after, applied.model, 127) > 1000


@pytest.mark.parametrize("block", [0, 16])
def test_digits_at_4_bits(digits, block):
    number = FOUR_BITS
    if block:
        number = replace(number, granularity="per_block", block_size=block, scale_dtype="float16")
    scheme = weights_alone(number)
    hub = digits[0]
    result = ada_round(hub, given(digits, scheme))
    assert not result.moves_activations
    before, after = (quantize_for(model, None, scheme).model for model in (hub, result.model))
    assert check_integers(before, after, result.model, 7) > 1000
    noise = [squared_error(hub, model, digits[1]) for model in (before, after)]
    assert noise[1] < 0.5 * noise[0]


def squared_error(hub: ir.Model, other: ir.Model, source, first: int = 100, count: int = 40):
    """Of the outputs, on samples that were not calibrated with."""
    one, two = OrtSession(hub), OrtSession(other)
    total = 0.0
    for sample in islice(source, first, first + count):
        wanted, found = one.run(sample.feeds), two.run(sample.feeds)
        total += sum(float(np.square(found[name] - wanted[name]).sum()) for name in wanted)
    return total


def test_no_channel_is_worse_than_by_rounding_to_nearest(digits):
    scheme = weights_alone(FOUR_BITS)
    hub, source, _ = digits
    result = ada_round(hub, given(digits, scheme))
    before, after = (stored(quantize_for(m, None, scheme).model) for m in (hub, result.model))
    layers = [layer for node in hub.graph if isinstance(layer := layer_of(node), Layer)]
    moments = gram_matrices(hub, layers, source, limit=SAMPLES)
    better = 0
    for layer in layers:
        (old, quantization), (new, _) = before[layer.name], after[layer.name]
        scale = quantization.dequantize(np.ones_like(old))
        steps = layer.rows((layer.array / scale).astype(np.float32))
        rows = Rows(steps, layer.rows(old), np.ones(steps.shape, bool), layer.rows(scale))
        for gram in (moments[layer.name].fit, moments[layer.name].held):
            first, second = (
                output_change(rows, layer.rows(found).astype(np.float32), gram)
                for found in (old, new)
            )
            assert (second <= first * (1 + 1e-5)).all()
            better += np.count_nonzero(second < 0.9 * first)
    assert better > 100


def hard_network(net) -> ir.Model:
    """Inputs that are nearly alike, and channels far apart: nearest errors all add up."""
    build = net(7)
    x = build.input("x", 1, 24, 8, 8)
    y = build.op("Relu", build.conv(x, 24, 32, kernel=1, name="wide"))
    y = build.op("Relu", build.conv(y, 32, 32, group=32, name="deep"))
    y = build.op("Relu", build.conv(y, 32, 16, group=4, name="grouped"))
    pooled = build.op("Flatten", build.op("GlobalAveragePool", y))
    weight = build.const(build.random.normal(0, 0.3, (16, 10)).astype(np.float32))
    return build.model(build.op("MatMul", pooled, weight, name="scores"))


def alike(model: ir.Model, source, count: int):
    random = np.random.default_rng(2)
    common = random.normal(1, 1, (count, 1, 1, 8, 8))
    parts = common * random.uniform(0.5, 2, (24, 1, 1)) + random.normal(
        0, 0.1, (count, 1, 24, 8, 8)
    )
    return source([{"x": part.astype(np.float32)} for part in parts])


def test_hard_network_at_4_and_8_bits(net, source):
    model = hard_network(net)
    data = alike(model, source, 140)
    trial = (model, data, collect_statistics(model, data, limit=SAMPLES))
    for number, limit in ((FOUR_BITS, 7), (replace(FOUR_BITS, dtype="int8"), 127)):
        scheme = weights_alone(number)
        result = ada_round(model, given(trial, scheme))
        before, after = (quantize_for(each, None, scheme).model for each in (model, result.model))
        check_integers(before, after, result.model, limit)
        assert squared_error(model, after, data) < 0.1 * squared_error(model, before, data)


def test_the_same_input_gives_the_same_weights(digits, android):
    one, two = (ada_round(digits[0], given(digits, android)) for _ in range(2))
    assert one.findings == two.findings
    for name, value in one.model.graph.initializers.items():
        other = two.model.graph.initializers[name].const_value
        assert value.const_value.tobytes() == other.tobytes()


def test_no_time_changes_nothing(digits, android):
    result = ada_round(digits[0], given(digits, android, deadline=time.monotonic() - 1))
    assert result.model is digits[0] and not result.changed
    (finding,) = result.findings
    assert finding.rule == "calibration/ada-round-deadline"
    total = len([n for n in digits[0].graph if n.op_type in ("Conv", "Gemm")])
    assert f"before {total} of {total} weights" in finding.message


def test_a_weight_that_two_nodes_read_is_rounded_for_both(net, source, apple):
    build = net(3)
    x = build.input("x", 1, 12)
    shared = build.const(build.random.normal(0, 0.3, (12, 12)).astype(np.float32))
    hidden = build.op("Relu", build.op("MatMul", x, shared, name="one"))
    model = build.model(build.op("MatMul", hidden, shared, name="two"))
    data = source(
        [
            {"x": np.random.default_rng(i).normal(1, 1, (1, 12)).astype(np.float32)}
            for i in range(60)
        ]
    )
    trial = (model, data, collect_statistics(model, data, limit=SAMPLES))
    result = ada_round(model, given(trial, apple))
    assert set(result.changed) == {"n_one", "n_two"}
    weights = {
        constant(node.inputs[1]).tobytes()
        for node in result.model.graph
        if node.op_type == "MatMul"
    }
    assert len(weights) == 1


def test_what_cannot_be_rounded_is_told(net, source_of, apple):
    build = net(4)
    x = build.input("x", 1, 4, 6, 6)
    weight = build.const(build.random.normal(0, 0.3, (4, 3, 2, 2)).astype(np.float32))
    up = build.op("ConvTranspose", x, weight, name="up", strides=[2, 2])
    model = build.model(build.conv(up, 3, 2, name="last"))
    data = source_of(model, count=8)
    trial = (model, data, collect_statistics(model, data))
    result = ada_round(model, given(trial, apple))
    declined = [f for f in result.findings if f.rule == "calibration/ada-round-declined"]
    assert [finding.node for finding in declined] == ["n_up"]
    assert "its outputs overlap" in declined[0].message
    assert result.changed == ("n_last",)
