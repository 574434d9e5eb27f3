"""An export that differs from its source: the error names the first layer, and who did it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgewise.errors import EdgewiseError, InternalError, ModelError
from edgewise.exporters import export
from edgewise.exporters.divergence import first_layer
from edgewise.exporters.opened import OpenedModel, SourceOptions
from edgewise.exporters.passes import PASSES, PassOutcome
from edgewise.exporters.source import open_source_model
from edgewise.graph import OrtSession, prepare

Damage = Callable[[ir.Model], None]
rng = np.random.default_rng(0)


def convolutions(model: ir.Model) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type == "Conv"]


def wrong_weight(model: ir.Model) -> None:
    """A weight of the third convolution is too large."""
    weights = convolutions(model)[2].inputs[1]
    assert weights is not None and weights.const_value is not None
    array = weights.const_value.numpy().copy()
    array.flat[0] += 1
    weights.const_value = ir.tensor(array, name=weights.name)


def wrong_padding(model: ir.Model) -> None:
    """The third convolution pads at one side only."""
    node = convolutions(model)[2]
    node.attributes["auto_pad"] = ir.AttrString("auto_pad", "NOTSET")
    node.attributes["pads"] = ir.AttrInt64s("pads", [2, 2, 0, 0])


def swapped_axes(model: ir.Model) -> None:
    """Height and width change places behind the third convolution."""
    node = convolutions(model)[2]
    result = node.outputs[0]
    swap = ir.node("Transpose", [result], {"perm": [0, 1, 3, 2]}, name="swap")
    ir.convenience.replace_all_uses_with(result, swap.outputs[0])
    swap.replace_input_with(0, result)
    node.graph.insert_after(node, swap)


DAMAGES = [wrong_weight, wrong_padding, swapped_axes]


@pytest.fixture(scope="module")
def opened_torch() -> OpenedModel:
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = ((3, 6), (6, 7), (7, 8))
            self.features = nn.Sequential(
                *(
                    nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.SiLU())
                    for i, o in widths
                )
            )
            self.head = nn.Linear(8 * 12, 5)

        def forward(self, image: Any) -> Any:
            return self.head(self.features(image).mean(3).flatten(1))

    torch.manual_seed(0)
    return open_source_model(Net(), SourceOptions(input_shapes={"image": (1, 3, 12, 12)}))


@pytest.fixture(scope="module")
def opened_keras() -> OpenedModel:
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    keras = pytest.importorskip("keras")
    layers = keras.layers
    keras.utils.set_random_seed(0)
    x = image = keras.Input((12, 12, 3), name="image")
    for index, width in enumerate((6, 7, 8)):
        x = layers.Conv2D(width, 3, padding="same", name=f"conv{index}")(x)
        x = layers.Activation("swish", name=f"act{index}")(x)
    x = layers.Flatten(name="flat")(x)
    return open_source_model(keras.Model(image, layers.Dense(5, name="head")(x)), SourceOptions())


@pytest.fixture(scope="module")
def onnx_net() -> ir.Model:
    text = """<ir_version: 10, opset_import: ["": 21]>
        g (float[1, 3, 12, 12] image) => (float[1, 5] scores) {
          c0 = Conv <pads = [1, 1, 1, 1]> (image, w0)
          a0 = Sigmoid (c0)
          c1 = Conv <pads = [1, 1, 1, 1]> (a0, w1)
          a1 = Sigmoid (c1)
          c2 = Conv <pads = [1, 1, 1, 1]> (a1, w2)
          a2 = Sigmoid (c2)
          flat = Flatten (a2)
          scores = MatMul (flat, w3) }"""
    model = ir.from_onnx_text(text)
    shapes = {"w0": (6, 3, 3, 3), "w1": (7, 6, 3, 3), "w2": (8, 7, 3, 3), "w3": (1152, 5)}
    for name, shape in shapes.items():
        array = (0.3 * rng.standard_normal(shape)).astype(np.float32)
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        for node in model.graph:
            for index, read in enumerate(node.inputs):
                if read is not None and read.name == name:
                    node.replace_input_with(index, value)
        model.graph.initializers[name] = value
    return model


def spoiled(opened: OpenedModel, damage: Damage) -> OpenedModel:
    """The same source with another ONNX, as a faulty exporter would write it."""
    model = ir.from_proto(ir.to_proto(opened.model))
    damage(model)
    return replace(opened, model=model)


@pytest.fixture
def failure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[OpenedModel], EdgewiseError]]:
    """The error of an export whose source was opened so."""

    def run(opened: OpenedModel) -> EdgewiseError:
        def found(source: object, options: SourceOptions) -> OpenedModel:
            return opened

        monkeypatch.setitem(export.__globals__, "open_source_model", found)
        with pytest.raises(EdgewiseError) as raised:
            export("anything")
        return raised.value

    yield run


@pytest.mark.parametrize("damage", DAMAGES)
def test_pytorch_layer_is_named(opened_torch, failure, damage):
    error = failure(spoiled(opened_torch, damage))
    assert isinstance(error, ModelError)
    if damage is swapped_axes:  # the convolution itself still agrees
        assert "layer 'features.2.2' (Sigmoid, Mul) is the first that differs, by" in error.why
        assert "the one before, 'features.2.1', agrees within" in error.why
    else:
        assert "layer 'features.2.0' (Conv) is the first that differs, by" in error.why
        assert "the one before, 'features.1', agrees within" in error.why
    assert "torch.onnx (dynamo)" in error.why
    assert error.remedy == "Try the other exporter: --exporter torchscript."


@pytest.mark.slow  # TensorFlow takes seconds to import
@pytest.mark.parametrize("damage", DAMAGES)
def test_keras_layer_is_named(opened_keras, failure, damage):
    error = failure(spoiled(opened_keras, damage))
    assert isinstance(error, ModelError)
    layer, before = ("act2", "conv2") if damage is swapped_axes else ("conv2", "act1")
    assert f"layer '{layer}' (" in error.why
    assert f"the one before, '{before}', agrees within" in error.why
    assert "tf2onnx" in error.why


@pytest.mark.parametrize("damage", DAMAGES)
def test_our_own_pass_is_told_as_a_defect(onnx_net, monkeypatch, damage):
    def bad(model: ir.Model) -> PassOutcome:
        if "bad" in model.graph.meta:
            return PassOutcome(model, False)
        model.graph.meta["bad"] = True
        damage(model)
        return PassOutcome(model, True)

    monkeypatch.setitem(PASSES, "bad", bad)
    with pytest.raises(InternalError, match=r"the pass bad.*layer '[ac]2' "):
        export(onnx_net)


@pytest.mark.parametrize("damage", DAMAGES)
def test_values_of_an_onnx_source_are_layers(onnx_net, damage):
    opened = open_source_model(onnx_net, SourceOptions())
    feed = {"image": rng.standard_normal((1, 3, 12, 12)).astype(np.float32)}
    damaged = prepare(onnx_net)
    assert opened.open_layers is not None
    layers = list(opened.open_layers()(feed))
    assert [name for name, _ in layers] == ["c0", "a0", "c1", "a1", "c2", "a2", "flat", "scores"]
    assert first_layer(layers, damaged, feed, 1e-4) is None
    damage(damaged)
    found = first_layer(layers, damaged, feed, 1e-4)
    assert found is not None and found.before is not None
    # behind a swap the convolution itself still agrees
    assert found.name == ("a2" if damage is swapped_axes else "c2")
    assert found.before[0] == ("c2" if damage is swapped_axes else "a1")


def test_a_fused_layer_does_not_count_as_different(opened_torch):
    """BatchNormalization is part of the convolution in the ONNX graph: the convolution's own
    result is nowhere in it."""
    assert opened_torch.open_layers is not None
    feed = {"image": rng.standard_normal((1, 3, 12, 12)).astype(np.float32)}
    layers = list(opened_torch.open_layers()(feed))
    wanted = opened_torch.open_runner()(feed)
    (found,) = OrtSession(opened_torch.model).run(feed).values()
    np.testing.assert_allclose(found, wanted[0], atol=1e-5)
    assert first_layer(layers, opened_torch.model, feed, 1e-4) is None


def test_a_source_whose_layers_cannot_be_run_is_told_without(opened_torch, failure):
    def broken() -> Any:
        raise RuntimeError("no hooks here")

    error = failure(replace(spoiled(opened_torch, wrong_weight), open_layers=broken))
    assert isinstance(error, ModelError) and "layer" not in error.why
    error = failure(replace(spoiled(opened_torch, wrong_weight), open_layers=None))
    assert isinstance(error, ModelError) and "of its range" in error.why


def test_other_numbers_of_outputs(onnx_net, failure):
    opened = open_source_model(onnx_net, SourceOptions())
    twice = replace(opened, open_runner=lambda: lambda feeds: [np.zeros((1, 5))] * 2)
    assert "other outputs than its source" in str(failure(twice))
