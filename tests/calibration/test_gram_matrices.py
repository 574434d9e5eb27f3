"""The Gram matrix of a layer tells how much a change of its weights changes its output."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgewise.calibration.repairs import gram
from edgewise.calibration.repairs.gram import Layer, gram_matrices, layer_of, passes
from edgewise.calibration.repairs.rounding import Rows, output_change
from edgewise.graph import OrtSession

#: attributes of a convolution of 8 channels, whose output has 64 positions or fewer
CONVOLUTIONS = {
    "plain": {},
    "strides": {"strides": [2, 1], "pads": [1, 0, 1, 2]},
    "dilations": {"dilations": [1, 2]},
    "groups": {"group": 2},
    "depthwise": {"group": 8},
    "auto_pad": {"pads": None, "auto_pad": "SAME_LOWER", "strides": [2, 2]},
}


def layers_of(model: ir.Model) -> list[Layer]:
    return [layer for node in model.graph if isinstance(layer := layer_of(node), Layer)]


def check(model: ir.Model, source) -> None:
    """tr(dW H dW^T), positions counted, is the squared change of the outputs."""
    (layer,) = layers_of(model)
    moments = gram_matrices(model, [layer], source)[layer.name]
    random = np.random.default_rng(5)
    change = random.normal(0, 0.1, layer.array.shape).astype(np.float32)
    parts = ([], [])
    before = OrtSession(model)
    other = ir.from_proto(ir.to_proto(model))
    value = other.graph.initializers[layer.weight.name]
    value.const_value = ir.tensor(layer.array + change, name=value.name)
    after = OrtSession(other)
    for index, sample in enumerate(source):
        one, two = (next(iter(s.run(sample.feeds).values())) for s in (before, after))
        axis = 1 if layer.output_axis is None else -1
        moved = np.moveaxis(two - one, axis, 0).reshape(
            layer.groups, -1, one.size // one.shape[axis]
        )
        parts[index % 4 == 3].append(np.square(moved, dtype=np.float64).mean(axis=2))
    rows = Rows(
        np.zeros_like(layer.rows(change)),
        layer.rows(change),
        np.ones(layer.rows(change).shape, bool),
        np.ones_like(layer.rows(change)),
    )
    for moment, expected in zip((moments.fit, moments.held), parts, strict=True):
        found = output_change(rows, layer.rows(change), moment)
        np.testing.assert_allclose(found, np.mean(expected, axis=0), rtol=1e-4)


@pytest.mark.parametrize("form", sorted(CONVOLUTIONS))
def test_convolutions(net, source_of, form):
    attributes = {"name": "y", **CONVOLUTIONS[form]}
    build = net()
    x = build.input("x", 1, 8, 8, 8)
    weight = build.const(
        build.random.normal(0, 0.2, (8, 8 // attributes.get("group", 1), 3, 3)).astype(np.float32)
    )
    pads = attributes.pop("pads", [1, 1, 1, 1])
    if pads is not None:
        attributes["pads"] = pads
    model = build.model(build.op("Conv", x, weight, **attributes))
    check(model, source_of(model, count=8))


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(net, source_of, transposed):
    build = net()
    x = build.input("x", 6, 6)
    weight = build.const(build.random.normal(0, 0.2, (6, 6)).astype(np.float32))
    bias = build.const(np.ones(6, np.float32))
    model = build.model(build.op("Gemm", x, weight, bias, transB=transposed, transA=1 - transposed))
    check(model, source_of(model, count=5))


def test_matrix_product_of_sequences(net, source_of):
    build = net()
    x = build.input("x", 1, 5, 12)
    weight = build.const(build.random.normal(0, 0.2, (12, 7)).astype(np.float32))
    model = build.model(build.op("MatMul", x, weight))
    check(model, source_of(model, count=5))


def test_inputs_of_later_layers_are_those_of_the_float_model(net, source_of):
    build = net()
    x = build.input("x", 1, 3, 8, 8)
    hidden = build.op("Relu", build.conv(x, 3, 4, name="first"), name="hidden")
    model = build.model(build.conv(hidden, 4, 2, kernel=1, name="second"))
    source = source_of(model, count=3)
    found = gram_matrices(model, layers_of(model), source)["n_second"].fit
    copy = ir.from_proto(ir.to_proto(model))
    copy.graph.outputs.append(next(v for n in copy.graph for v in n.outputs if v.name == "hidden"))
    values = [OrtSession(copy).run(s.feeds)["hidden"].reshape(4, 64) for s in source]
    expected = np.mean([value @ value.T / 64 for value in values], axis=0)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4)


def test_large_outputs_are_looked_at_here_and_there(net, source_of):
    """64 of 1024 positions, and others in each sample, come close to the whole."""
    build = net()
    x = build.input("x", 1, 3, 32, 32)
    model = build.model(build.conv(x, 3, 2, kernel=1))
    source = source_of(model, count=60)
    found = gram_matrices(model, layers_of(model), source)["n_conv_0"].fit[0]
    whole = np.mean(
        [s.feeds["x"].reshape(3, -1) @ s.feeds["x"].reshape(3, -1).T for s in source], 0
    )
    np.testing.assert_allclose(found, whole / 1024, atol=0.1)


def test_what_has_no_rows_says_why(net):
    build = net()
    x = build.input("x", 1, 4, 5, 5)
    weight = build.const(np.ones((4, 2, 2, 2), np.float32))
    transposed = build.op("ConvTranspose", x, weight, name="up")
    model = build.model(build.op("Relu", transposed, name="act"))
    up, act = model.graph
    assert layer_of(up) == "its outputs overlap, which has no rows"
    assert layer_of(act) is None


def test_a_pass_holds_what_fits_in_memory(net, monkeypatch):
    build = net()
    x = build.input("x", 1, 64)
    for _ in range(5):
        x = build.op("MatMul", x, build.const(np.zeros((64, 64), np.float32)))
    layers = layers_of(build.model(x))
    assert [len(lot) for lot in passes(layers)] == [5]
    monkeypatch.setattr(gram, "_PASS_BYTES", 2 * layers[0].gram_bytes)
    assert [len(lot) for lot in passes(layers)] == [2, 2, 1]
