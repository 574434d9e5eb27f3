"""From a module through training to a QDQ file, and from the file to each target's integers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from edgewise import qat, stages
from edgewise.errors import ModelError, UnsupportedPrecision, UsageError
from edgewise.exporters import export
from edgewise.graph import OrtSession, constant, quantization_of
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE
from edgewise.qat.fake_quantize import LearnedScale

TARGETS = ("android", "apple", "arm")


class Net(nn.Module):
    """Convolutions with batch normalization, a residual sum and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6))
        self.depth = nn.Sequential(
            nn.Conv2d(6, 6, 3, 1, 1, groups=6), nn.BatchNorm2d(6), nn.ReLU6()
        )
        self.head = nn.Linear(6, 4)
        self.drop = nn.Dropout(0.5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(image))
        x = x + self.depth(x)
        return self.head(self.drop(x.mean((2, 3))))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def module(images: torch.Tensor) -> Net:
    torch.manual_seed(1)
    net = Net()
    net(images)  # statistics of the batch normalizations
    return net


@pytest.fixture(scope="module")
def hub(images: torch.Tensor):
    """The module's hub model, which is quicker to prepare than the module."""
    torch.manual_seed(1)
    net = Net()
    net(images)
    return export(net, input_shapes={"image": ("batch", 1, 8, 8)}).model


def train(
    network: nn.Module, images: torch.Tensor, wanted: torch.Tensor, steps: int
) -> list[float]:
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(steps):
        loss = nn.functional.mse_loss(network(images), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def stored(model):
    """Scale and zero point of each activation, and integers and scales of each constant."""
    activations, constants = {}, {}
    for node in model.graph:
        if node.op_type == QUANTIZE:
            found = quantization_of(node)
            name = node.inputs[0].name.removesuffix("_QuantizeLinear_Input")
            activations[name] = float(found.scale), int(found.zero_point)
        elif node.op_type in ("Conv", "Gemm"):
            for slot in (1, 2):
                maker = node.inputs[slot].producer()
                assert maker.op_type == DEQUANTIZE
                integers = constant(maker.inputs[0])
                constants[node.name, slot] = integers, quantization_of(maker).scale
    return activations, constants


@pytest.mark.parametrize("target, bits", [("android", 8), ("apple", 4), ("arm", 3)])
def test_what_was_trained_is_what_the_target_gets_to_the_bit(hub, images, target, bits, tmp_path):
    network = qat.prepare(hub, images, target=target, weight_bits=bits)
    before = stored(qat.export(network))[0]
    losses = train(network, images, torch.randn(32, 4), 6)
    assert losses[-1] < losses[0]
    path = tmp_path / "trained.onnx"
    trained = qat.export(network, path)
    wanted, constants = stored(trained)
    moved = sum(wanted[name][0] != scale for name, (scale, _) in before.items())
    assert moved > len(before) / 2, "scales are learned"
    with torch.no_grad():
        computed = network(images).numpy()
    (output,) = OrtSession(trained).run({"image": images.numpy()}).values()
    np.testing.assert_allclose(computed, output, atol=1.01 * max(s for s, _ in wanted.values()))

    result = export(path)
    assert result.parity.max_rel_error < 1e-3
    findings = []
    found, found_constants = stored(stages.quantize(result.model, target=target, findings=findings))
    assert found == wanted
    assert found_constants.keys() == constants.keys() and len(constants) == 6
    for place, (integers, scale) in constants.items():
        np.testing.assert_array_equal(found_constants[place][0], integers)
        np.testing.assert_array_equal(found_constants[place][1].ravel(), scale.ravel())
        if place[1] == 1:
            assert np.abs(integers.astype(int)).max() <= 2 ** (bits - 1) - 1
    assert not [f for f in findings if "/known-" in f.rule], findings


def test_what_was_trained_for_apple_suits_every_target(hub, images):
    network = qat.prepare(hub, images, target="apple")
    train(network, images, torch.randn(32, 4), 3)
    trained = qat.export(network)
    wanted, _ = stored(trained)
    assert all(float(np.float16(scale)) == scale for scale, _ in wanted.values())
    hub = export(trained).model
    for target in TARGETS:
        found, _ = stored(stages.quantize(hub, target=target))
        common = found.keys() & wanted.keys()
        assert len(common) >= 4
        assert {name: found[name] for name in common} == {name: wanted[name] for name in common}


def test_the_module_is_not_changed_and_the_network_begins_at_its_function(module, images):
    module.train()
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    network = qat.prepare(module, {"image": images}, target="android")
    assert module.training
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
    with torch.no_grad():
        wanted, found = module.eval()(images), network(image=images)
    assert float((wanted - found).square().mean() / wanted.square().mean()) < 1e-3


def test_sixteen_bit_activations_can_be_trained_for(hub, images):
    network = qat.prepare(hub, images, target="android", precision="w8a16")
    train(network, images, torch.randn(32, 4), 2)
    hub = export(trained := qat.export(network)).model
    found, _ = stored(stages.quantize(hub, target="android", precision="w8a16"))
    wanted, _ = stored(trained)
    assert {name: found[name] for name in wanted} == wanted


def test_prescribed_scales_stay(images):
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Softmax(1))
    network = qat.prepare(classifier, images, target="android")
    train(network, images, torch.rand(32, 3), 3)
    found, _ = stored(qat.export(network))
    assert (1 / 256, -128) in found.values()


def test_scales_can_have_an_optimizer_of_their_own(hub, images):
    network = qat.prepare(hub, images, target="android")
    scales = network.scales()
    learned = [m for m in network.modules() if isinstance(m, LearnedScale)]
    assert 0 < len(scales) == sum(m.log2_change.requires_grad for m in learned)
    names = dict(network.named_parameters())
    assert {id(scale) for scale in scales} <= {id(parameter) for parameter in names.values()}


def test_a_trained_network_comes_back_from_its_state(hub, images):
    network = qat.prepare(hub, images, target="arm")
    train(network, images, torch.randn(32, 4), 2)
    other = qat.prepare(hub, images, target="arm")
    other.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(network(images), other(images))


def test_what_cannot_be_trained_is_told(hub, images):
    with pytest.raises(UnsupportedPrecision, match="its activations are float"):
        qat.prepare(hub, images, target="android", precision="w8")
    with pytest.raises(UsageError, match="2 to 8 bits, not 9"):
        qat.prepare(hub, images, target="android", weight_bits=9)
    with pytest.raises(UsageError, match="which input an example is for"):
        qat.prepare(hub, [images, images], target="android")
    network = qat.prepare(hub, images, target="android")
    with pytest.raises(UsageError, match="the network takes image"):
        network()


def test_operators_without_a_torch_form_are_told_with_their_node(hub, images):
    model = ir.from_proto(ir.to_proto(hub))
    last = model.graph.outputs[0].producer()
    sines = ir.node("Sin", [last.outputs[0]], name="sines")
    sines.outputs[0].name = "y"
    sines.outputs[0].type, sines.outputs[0].shape = last.outputs[0].type, last.outputs[0].shape
    model.graph.append(sines)
    model.graph.outputs[0] = sines.outputs[0]
    with pytest.raises(ModelError, match="Sin cannot be trained") as refused:
        qat.prepare(model, images, target="android")
    assert "node 'sines'" in str(refused.value) and "\n" not in str(refused.value)


def test_the_core_does_not_bring_torch_in():
    code = (
        "import edgewise.qat, sys; print([m for m in ('torch', 'tensorflow') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
