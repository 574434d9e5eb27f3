"""Two exporters, what the second is for, and what neither can take, told in one line."""

from __future__ import annotations

import os
import tempfile

import numpy as np
import pytest

from edgewise.data import input_specs
from edgewise.errors import ModelError, UsageError
from edgewise.exporters import SourceOptions, export
from edgewise.exporters.quiet import quiet

with quiet():
    torch = pytest.importorskip("torch")
    from torch import nn

    @torch.library.custom_op("edgewise_tests::twice", mutates_args=())
    def twice(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    @twice.register_fake
    def _(x):
        return torch.empty_like(x)

    @torch.library.custom_op("edgewise_tests::opaque", mutates_args=())
    def opaque(x: torch.Tensor) -> torch.Tensor:
        return x * 2


class Gradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return twice(x)

    @staticmethod
    def backward(ctx, grad):
        return grad


class Custom(nn.Module):
    def forward(self, x):
        return twice(x) + 1


class Opaque(nn.Module):
    def forward(self, x):
        return opaque(x) + 1


class Differentiated(nn.Module):
    def forward(self, x):
        return Gradient.apply(x) + 1


class Item(nn.Module):
    def forward(self, x):
        return x * 2 if x.sum().item() > 0 else x - 1


class Choice(nn.Module):
    def forward(self, x):
        if x.mean() > 0:
            return x
        return -x


class Halves(nn.Module):
    def forward(self, x):
        return 2 * x.reshape(2, 12)


class Leaky(nn.Module):
    """An operator that TorchScript's exporter knows, and dynamo's does not."""

    def forward(self, x):
        return torch.rrelu(x)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x)[0]


def exported(module, shape, exporter="auto"):
    return export(module, input_shapes={"x": shape}, options=SourceOptions(exporter=exporter))


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_named_dimensions_stay_free(exporter):
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net.forward = lambda x: nn.Sequential.forward(net, x)  # the input of a Sequential is "input"
    result = exported(net, ("pictures", 3, "height", "width"), exporter)
    (spec,) = input_specs(result.model)
    assert spec.shape == ("pictures", 3, "height", "width")
    assert exporter in result.exporter.lower() and torch.__version__ in result.exporter
    assert result.parity.max_rel_error < 1e-5 and "pictures 3" in str(result.parity.sizes)


def test_torchscript_takes_over_and_a_finding_says_why():
    result = exported(Leaky(), ("batch", 4))
    assert input_specs(result.model)[0].shape == ("batch", 4)
    assert "TorchScript" in result.exporter and result.parity.max_rel_error < 1e-5
    (finding,) = [f for f in result.findings if f.rule == "export/torchscript"]
    assert "since dynamo failed" in finding.message and "'aten::rrelu" in finding.message
    with pytest.raises(ModelError, match=r"'aten::rrelu.*' has no ONNX form"):
        exported(Leaky(), ("batch", 4), "dynamo")


def test_a_recurrent_layer_over_a_free_number_of_steps():
    torch.manual_seed(0)
    module = nn.LSTM(4, 8, batch_first=True)
    module.forward = lambda x: nn.LSTM.forward(module, x)[0]
    result = exported(module, ("batch", "steps", 4), "torchscript")
    assert input_specs(result.model)[0].shape == ("batch", "steps", 4)
    assert result.parity.max_rel_error < 1e-5 and "steps 64" in str(result.parity.sizes)


def test_nothing_is_left_in_the_folder_for_temporary_files(tmp_path, monkeypatch):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    export(nn.Linear(4, 4), options=SourceOptions(exporter="dynamo"))
    assert list(tmp_path.iterdir()) == []
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ


def test_attention_without_its_fast_kernel():
    fast = torch.backends.mha.get_fastpath_enabled()
    assert exported(Attention(), (1, 5, 8), "torchscript").parity.max_rel_error < 1e-5
    assert torch.backends.mha.get_fastpath_enabled() == fast


CHOICE = r"Choice: forward decides by the values of a tensor.*tracing\.py, line \d+: if x\.mean\(\)"


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (Choice(), (1, 4), CHOICE),
        (Item(), (1, 4), r"values of a tensor, .*_tracing\.py, line \d+\. Use torch\.where"),
        (Custom(), (1, 4), "the operator 'edgewise_tests::twice' has no ONNX form"),
        (
            Opaque(),
            (1, 4),
            "dynamo: the custom operator 'edgewise_tests::opaque' has no fake implementation.*; "
            "TorchScript: the operator 'edgewise_tests::opaque' has no ONNX form",
        ),
        (Differentiated(), (1, 4), "TorchScript: the autograd function 'Gradient' has no ONNX"),
        (Halves(), ("batch", 12), "dimension 0 of input 'x' cannot stay free.*a size of 2 only"),
    ],
    ids=[
        "control flow",
        "item",
        "custom operator",
        "opaque operator",
        "autograd function",
        "one size",
    ],
)
def test_what_cannot_be_exported(module, shape, message):
    with pytest.raises(ModelError, match=message) as caught:
        exported(module, shape)
    assert "\n" not in str(caught.value)


def test_a_size_that_forward_itself_fixes_is_refused_for_torchscript():
    with pytest.raises(ModelError, match="dimension 0 of input 'x' cannot stay free"):
        exported(Halves(), ("batch", 12), "torchscript")


def test_a_choice_that_a_trace_froze_is_a_finding():
    class Shift(nn.Module):
        def forward(self, x):
            return x + (1 if x.abs().mean() >= 0 else 2)

    result = exported(Shift(), (1, 4), "torchscript")
    (finding,) = [f for f in result.findings if f.rule == "export/frozen-value"]
    assert "test_pytorch_tracing.py, line" in finding.message


@pytest.mark.parametrize(
    ("device", "message"), [("meta", "has no weights.*--weights"), ("cuda:0", r"module\.cpu\(\)")]
)
def test_weights_that_are_not_in_memory(device, message, monkeypatch):
    net = nn.Linear(4, 3, device="meta")
    if device != "meta":  # there is no such device here: only its name is asked
        monkeypatch.setattr(torch.Tensor, "device", property(lambda _self: device))
    with pytest.raises(ModelError, match=message):
        export(net, input_shapes={"input": (1, 4)})


def test_inputs_of_one_size_under_two_names():
    class Sum(nn.Module):
        def forward(self, x, y):
            return x + y

    with pytest.raises(ModelError, match="input 'y' cannot be 'm': it is always that of 'n'"):
        export(Sum(), input_shapes={"x": (1, "n"), "y": (1, "m")})
    both = export(Sum(), input_shapes={"x": ("batch", "n"), "y": ("batch", "n")})
    assert {spec.shape for spec in input_specs(both.model)} == {("batch", "n")}


def test_weights_fill_a_copy(tmp_path):
    net = nn.Linear(4, 3)
    before = net.weight.detach().clone()
    torch.save({"weight": torch.ones(3, 4), "bias": torch.zeros(3)}, tmp_path / "w.pth")
    options = SourceOptions(weights="w.pth", base=tmp_path)
    result = export(net, input_shapes={"input": (1, 4)}, options=options)
    assert torch.equal(net.weight, before)
    weights = [v.const_value.numpy() for v in result.model.graph.initializers.values()]
    assert any(w.size == 12 and np.all(w == 1) for w in weights)
    with pytest.raises(UsageError, match="no such file"):
        export(net, options=SourceOptions(weights="v.pth", base=tmp_path))
