"""The residual stream of a transformer block: its sums stay in float, and layers of few wide
channels compute each channel in a unit of its own."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from edgewise.calibration import collect_statistics
from edgewise.calibration.float_form import name_nodes
from edgewise.calibration.quantize_for import quantize_for
from edgewise.calibration.residual_stream import residual_sums, scale_stretched_outputs
from edgewise.graph import OrtSession, quantization_of

WIDTH, HIDDEN, POSITIONS = 16, 32, 6


def block(net, form="MatMul, Add", *, wide=100.0, rank=3):
    """norm(Linear(Relu(Linear(n))) + n) with n = norm(x), and a product behind it; channel 5 of the
    second linear layer is wide."""
    random = np.random.default_rng(3)
    widths = np.where(np.arange(WIDTH) == 5, wide, 1.0)

    def const(array):
        return net.const(np.asarray(array, np.float32))

    def normalized(value, name):
        ones, zeros = const(np.ones(WIDTH)), const(np.zeros(WIDTH))
        return net.op("LayerNormalization", value, ones, zeros, name=name)

    x = net.input("x", *([1] if rank == 3 else []), POSITIONS, WIDTH)
    n = normalized(x, "norm")
    first = const(random.normal(size=(WIDTH, HIDDEN)) / 4)
    hidden = net.op("Relu", net.op("MatMul", n, first), name="hidden")
    matrix = random.normal(size=(HIDDEN, WIDTH)) / 6 * widths
    bias = const(random.normal(size=WIDTH) / 3 * widths)
    if form == "Gemm":
        layer = net.op("Gemm", hidden, const(matrix.T), bias, name="layer", transB=1)
    else:
        layer = net.op(
            "MatMul", hidden, const(matrix), name="product" if "Add" in form else "layer"
        )
        layer = net.op("Add", bias, layer, name="layer") if "Add" in form else layer
    total = net.op("Add", layer, n, name="total")
    last = const(random.normal(size=(WIDTH, WIDTH)) / 4)
    return net.model(net.op("MatMul", normalized(total, "after"), last, name="out"))


FORMS = [("MatMul, Add", 3), ("MatMul", 3), ("Gemm", 2)]


@pytest.mark.parametrize(("form", "rank"), FORMS)
def test_units_change_no_float_result(net, source_of, android, form, rank):
    model = block(net(), form, rank=rank)
    statistics = collect_statistics(model, source_of(model))
    work = ir.from_proto(ir.to_proto(model))
    name_nodes(work)
    scaled = scale_stretched_outputs(work, statistics, android, residual_sums(work), ())
    assert set(scaled.undone) and scaled.findings[0].rule == "calibration/stretched-range"
    for feeds in source_of(model, seed=9).samples:
        wanted, found = OrtSession(model).run(feeds), OrtSession(work).run(feeds)
        np.testing.assert_array_equal(found["out"], wanted["out"])


@pytest.mark.parametrize(("form", "rank"), FORMS)
def test_the_narrow_channels_of_a_wide_layer_keep_their_bits(trial, net, scheme, form, rank):
    made = trial(block(net(), form, rank=rank), count=24)
    with_wide = made.sqnr(quantize_for(made.model, made.statistics, scheme).model)
    per_tensor = replace(scheme, weight=replace(scheme.weight, granularity="per_tensor"))
    stretched = made.sqnr(quantize_for(made.model, made.statistics, per_tensor).model)
    assert with_wide > stretched + 6


def test_sums_are_float_and_products_integer(net, source_of, scheme):
    model = block(net())
    quantized = quantize_for(model, collect_statistics(model, source_of(model)), scheme).model
    nodes = {node.name: node for node in quantized.graph}
    total = nodes["n_total"]
    assert not any(use.node.op_type == "QuantizeLinear" for use in total.outputs[0].uses())
    products = [n for n in quantized.graph if n.op_type in ("MatMul", "Gemm")]
    assert len(products) == 3
    for product in products:
        assert all(v.producer().op_type == "DequantizeLinear" for v in product.inputs[:2])


def test_a_range_in_units_holds_every_channel(net, source_of, android):
    model = block(net())
    statistics = collect_statistics(model, source_of(model))
    quantized = quantize_for(model, statistics, android).model
    (undo,) = [node for node in quantized.graph if node.name.endswith("_from_units")]
    units = next(v.const_value.numpy() for v in undo.inputs if v.const_value is not None)
    assert (np.log2(units) % 1 == 0).all() and units.max() == 1.0
    seen = statistics.tensors["layer"]
    found = quantization_of(next(v.producer() for v in undo.inputs if v.const_value is None))
    high = (127 - int(found.zero_point)) * float(found.scale)
    assert high >= (seen.channel_maximum / units).max() - float(found.scale)
    assert high <= (seen.channel_maximum / units).max() + float(found.scale)


def test_even_channels_excluded_layers_and_other_readers_keep_their_form(net, source_of, android):
    def undone(model, exclude=()):
        statistics = collect_statistics(model, source_of(model))
        work = ir.from_proto(ir.to_proto(model))
        name_nodes(work)
        sums = residual_sums(work)
        return scale_stretched_outputs(work, statistics, android, sums, exclude).undone

    assert undone(block(net())) == {"n_layer_from_units"}
    assert not undone(block(net(), wide=1.0))
    assert not undone(block(net()), exclude=["n_layer"])
    assert not undone(block(net()), exclude=["n_product"])
    read_twice = net()
    block(read_twice)
    assert not undone(read_twice.model("out", "layer"))


def test_sums_that_an_integer_operator_reads_are_no_residual_stream(net):
    made = net()
    x = made.input("x", 1, 4, 8, 8)
    one, two = made.conv(x, 4, 4), made.conv(x, 4, 4)
    total = made.op("Add", one, two, name="total")
    assert residual_sums(made.model(made.conv(made.op("Relu", total), 4, 4))) == frozenset()


def test_a_chain_of_sums_before_normalizations_is_the_stream(net):
    """h1 = h0 + f(norm(h0)), h2 = h1 + g(norm(h1)), as blocks that normalize first have it."""
    made = net()
    ones, zeros = made.const(np.ones(8, np.float32)), made.const(np.zeros(8, np.float32))
    state = made.op("Relu", made.input("x", 1, 4, 8))
    for index in range(2):
        n = made.op("LayerNormalization", state, ones, zeros)
        weight = made.const(made.random.normal(size=(8, 8)).astype(np.float32))
        state = made.op("Add", state, made.op("MatMul", n, weight), name=f"h{index}")
    last = made.op("LayerNormalization", state, ones, zeros, name="last")
    assert residual_sums(made.model(last)) == {"n_h0", "n_h1"}
