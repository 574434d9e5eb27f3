"""Cross-layer equalization: what the float model computes stays, what its integers keep grows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgewise.sample_models.digits as digits
import edgewise.targets
from edgewise.calibration import Recipe, collect_statistics, quantize
from edgewise.calibration.repairs import RepairInput
from edgewise.calibration.repairs.channel_paths import paths_behind
from edgewise.calibration.repairs.equalization import equalize
from edgewise.calibration.repairs.layers import LAYER_OPS, layer_of
from edgewise.calibration.scheme import NumberFormat, Scheme
from edgewise.data.preprocessing import DataSettings
from edgewise.data.source import Sample
from edgewise.exporters import export
from edgewise.graph import OrtSession, TensorQuantization, attach_known_ranges
from edgewise.hub_data import open_for


def given_of(model, source, scheme, **options):
    statistics = collect_statistics(model, source)
    return RepairInput(source, statistics, scheme, Recipe(), **options)


def largest_difference(one, other, source):
    first, second = OrtSession(one), OrtSession(other)
    worst = size = 0.0
    for sample in source:
        for name, array in first.run(sample.feeds).items():
            worst = max(worst, float(np.abs(array - second.run(sample.feeds)[name]).max()))
            size = max(size, float(np.abs(array).max()))
    return worst / size


def unequal(model, seed=0):
    """The model with channels shrunk at random behind each layer, and widened again where they are
    read: bounds of Clip then act on fewer of them."""
    random = np.random.default_rng(seed)
    copy = ir.from_proto(ir.to_proto(model))
    for node in copy.graph:
        layer = layer_of(node) if node.op_type in LAYER_OPS else ""
        paths = layer if isinstance(layer, str) else paths_behind(layer)
        if not isinstance(layer, str) and not isinstance(paths, str):
            factors = 2.0 ** random.uniform(0.0, 5.0, layer.outputs).astype(np.float32)
            layer.divide_outputs(factors)
            for reader in paths.readers:
                reader.layer.multiply_inputs(np.repeat(factors, reader.place.repeat))
    return copy


def chain(net_class, kinds, groups=1):
    """Convolutions with what `kinds` names between them, and a Gemm at the end."""
    net = net_class(3)
    x = net.conv(net.input("x", 1, 3, 8, 8), 3, 8)
    for kind in kinds:
        if kind == "clip":
            x = net.clip(x, 0, 6)
        elif kind in ("Relu", "GlobalAveragePool"):
            x = net.op(kind, x)
        elif kind == "LeakyRelu":
            x = net.op(kind, x, alpha=0.1)
        elif kind == "PRelu":
            x = net.op(kind, x, net.const(np.full((8, 1, 1), 0.2, np.float32)))
        elif kind == "MaxPool":
            x = net.op(kind, x, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
        elif kind == "depthwise":
            x = net.conv(x, 8, 8, group=8)
        elif kind == "conv":
            x = net.conv(x, 8, 8, group=groups)
        elif kind == "transposed":
            weight = net.random.normal(0, 0.3, (8, 8 // groups, 3, 3)).astype(np.float32)
            x = net.op("ConvTranspose", x, net.const(weight), pads=[1] * 4, group=groups)
        elif kind == "twice":
            x = net.op("Transpose", net.op("Transpose", x, perm=[0, 2, 3, 1]), perm=[0, 3, 1, 2])
        elif kind == "Pad":
            pads = net.const(np.array([0, 0, 1, 0, 0, 0, 0, 1], np.int64))
            x = net.op("Slice", net.op("Pad", x, pads), *(
                net.const(np.array(v, np.int64)) for v in ([0, 0], [8, 8], [2, 3])))  # fmt: skip
    flat = net.op("Flatten", x)
    return net, flat


KINDS = (
    "clip",
    "Relu",
    "LeakyRelu",
    "PRelu",
    "MaxPool",
    "depthwise",
    "conv",
    "transposed",
    "twice",
)


@settings(max_examples=15, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=6),
    pooled=st.booleans(),
    groups=st.sampled_from((1, 2)),
    granularity=st.sampled_from(("per_channel", "per_tensor")),
)
def test_the_float_function_stays(net_class, kinds, pooled, groups, granularity):
    net, flat = chain(net_class, [*kinds, *(["GlobalAveragePool"] if pooled else [])], groups)
    width = 8 if pooled else 512
    weight = net.random.normal(0, 0.1, (10, width)).astype(np.float32)
    model = unequal(net.model(net.op("Gemm", flat, net.const(weight), transB=1)))
    source = random_source(model)
    done = equalize(model, given_of(model, source, scheme_of(granularity)))
    assert largest_difference(model, done.model, source) < 1e-5


def scheme_of(granularity):
    return Scheme(
        "x", "w8a8", NumberFormat("int8", symmetric=False),
        NumberFormat("int8", symmetric=True, granularity=granularity, narrow_range=True),
        quantized_ops=frozenset({"Conv", "ConvTranspose", "Gemm", "Relu", "Clip", "MaxPool"}),
    )  # fmt: skip


class Pictures:
    """A few random pictures as a data source."""

    description, fingerprint, labelled, class_names, findings = "random", "0" * 64, False, (), []

    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __iter__(self):
        return iter(self.samples)


def random_source(model, count=4):
    random = np.random.default_rng(5)
    shapes = {value.name: list(value.shape) for value in model.graph.inputs}
    return Pictures([
        Sample({n: random.normal(0, 1, s).astype(np.float32) for n, s in shapes.items()}, None, "")
        for _ in range(count)
    ])  # fmt: skip


def sqnr(model, quantized, source):
    one, two = OrtSession(model), OrtSession(quantized)
    signal = error = 0.0
    for sample in source:
        found = two.run(sample.feeds)
        for name, array in one.run(sample.feeds).items():
            signal += float((array.astype(np.float64) ** 2).sum())
            error += float(((array.astype(np.float64) - found[name]) ** 2).sum())
    return 10 * np.log10(signal / error)


@pytest.fixture(scope="module")
def hub():
    return export(Path(digits.__file__).with_name("digits.onnx")).model


@pytest.fixture(scope="module")
def data(hub):
    """Calibration and evaluation pictures."""
    folder = Path(digits.__file__).parent
    settings = DataSettings()
    return (
        open_for(hub, str(folder / "calibration.npz"), settings, limit=48),
        open_for(hub, str(folder / "evaluation.npz"), settings, limit=100),
    )


@pytest.mark.parametrize("target", ["android", "apple", "arm"])
def test_an_unequal_network_of_real_weights_is_saved(hub, data, target):
    calibration, evaluation = data
    model = unequal(hub)
    scheme = edgewise.targets.get(target).scheme("w8a8", {})
    given = given_of(model, calibration, scheme)
    done = equalize(model, given)
    assert largest_difference(model, done.model, calibration) < 1e-5
    before = sqnr(model, quantize(model, given.statistics, scheme), evaluation)
    statistics = collect_statistics(done.model, calibration)
    after = sqnr(model, quantize(done.model, statistics, scheme), evaluation)
    assert after > before + 3.0
    assert done.moves_activations and "calibration/equalize" in {f.rule for f in done.findings}


def test_the_digits_network_is_not_harmed(hub, data):
    calibration, evaluation = data
    scheme = edgewise.targets.get("arm").scheme("w8a8", {})
    given = given_of(hub, calibration, scheme)
    done = equalize(hub, given)
    assert largest_difference(hub, done.model, calibration) < 1e-5
    before = sqnr(hub, quantize(hub, given.statistics, scheme), evaluation)
    statistics = collect_statistics(done.model, calibration)
    assert sqnr(hub, quantize(done.model, statistics, scheme), evaluation) > before - 0.5


def test_a_bound_that_acts_keeps_its_channel(net_class):
    """Channel 0 reaches 6 and stays as it is; channel 1 is far below, and is scaled."""
    net = net_class()
    weight = np.zeros((2, 1, 1, 1), np.float32)
    weight[:, 0, 0, 0] = 40.0, 0.05
    x = net.op("Conv", net.input("x", 1, 1, 8, 8), net.const(weight), name="first")
    x = net.clip(x, 0, 6, name="bounded")
    depthwise = net.const(np.ones((2, 1, 1, 1), np.float32))
    model = net.model(net.op("Conv", x, depthwise, name="second", group=2))
    source = random_source(model)
    done = equalize(model, given_of(model, source, scheme_of("per_channel")))
    found = {node.name: node.inputs[1].const_value.numpy() for node in done.model.graph
             if node.op_type == "Conv"}  # fmt: skip
    assert found["n_first"][0] == weight[0] and found["n_first"][1] > 2 * weight[1]
    assert found["n_first"][1] * found["n_second"][1] == pytest.approx(weight[1], rel=1e-6)
    assert largest_difference(model, done.model, source) < 1e-6


def test_a_residual_branch_declines_with_its_reason(net_class):
    net = net_class()
    x = net.input("x", 1, 4, 8, 8)
    first = net.op("Relu", net.conv(x, 4, 4))
    model = net.model(net.op("Add", net.conv(first, 4, 4), first))
    done = equalize(model, given_of(model, random_source(model), scheme_of("per_channel")))
    assert done.model is model and not done.moves_activations
    assert [finding.rule for finding in done.findings] == ["calibration/equalize-declined"]
    assert "Add reads it, as 1 more" in done.findings[0].message


def test_weights_that_are_computed_decline(net_class):
    net = net_class()
    x = net.input("x", 1, 4, 8, 8)
    weight = net.op("Mul", net.input("w", 4, 4, 3, 3), net.const(np.float32(1.5)))
    model = net.model(net.op("Conv", net.op("Relu", net.conv(x, 4, 4)), weight, pads=[1] * 4))
    done = equalize(model, given_of(model, random_source(model), scheme_of("per_channel")))
    assert done.model is model
    assert any("weights are not constant" in finding.message for finding in done.findings)


def test_several_readers_take_the_factors_back(net_class):
    net = net_class()
    x = net.op("Relu", net.conv(net.input("x", 1, 3, 8, 8), 3, 8))
    model = unequal(net.model(net.conv(x, 8, 4), net.conv(x, 8, 8, group=8)), seed=2)
    source = random_source(model)
    done = equalize(model, given_of(model, source, scheme_of("per_channel")))
    assert done.model is not model and len(done.changed) == 3
    assert largest_difference(model, done.model, source) < 1e-5


def test_scales_of_the_source_are_left_in_peace(net_class):
    net = net_class()
    x = net.op("Relu", net.conv(net.input("x", 1, 3, 8, 8), 3, 8), name="hidden")
    model = unequal(net.model(net.conv(x, 8, 4)))
    given = given_of(model, random_source(model), scheme_of("per_channel"))
    quantization = TensorQuantization(np.array(0.1, np.float32), np.array(0, np.int8))
    attach_known_ranges(model, {"hidden": quantization})
    done = equalize(model, given)
    assert done.model is model and "its own scales" in done.findings[0].message
