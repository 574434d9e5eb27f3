"""PyTorch modules and exported programs through the exporter."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from edgewise.data import input_specs
from edgewise.data.source import Sample
from edgewise.errors import ModelError, UsageError
from edgewise.exporters import export
from edgewise.exporters.quiet import quiet
from edgewise.graph import OrtSession, to_bytes

with quiet():
    torch = pytest.importorskip("torch")
    from torch import nn


class Net(nn.Module):
    """Every kind of fold in one: batch norms, Hardswish, two inputs, one of them optional."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish()
        )
        self.tail = nn.Sequential(
            nn.ConvTranspose2d(8, 4, 2, 2), nn.BatchNorm2d(4), nn.Dropout(0.5)
        )
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-1, 1)
                module.running_var.uniform_(0.5, 2)

    def forward(self, image, unused=None, shift=None):
        features = self.tail(self.stem(image))
        if shift is not None:
            features = features + shift
        return {"map": features, "mean": features.mean((2, 3))}


MODULE = """
import sys
import torch
from torch import nn

def module():
    print("chatter"); print("chatter", file=sys.stderr)
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU())
module.input_shapes = {"input": (1, 4)}

def shapeless():
    return nn.Conv2d(3, 4, 3)

def broken():
    raise FileNotFoundError("weights.pth")

def number():
    return 3

class Branching(nn.Module):
    input_shapes = {"x": (1, 4)}
    def forward(self, x):
        return x if x.sum() > 0 else 2 * x

class Failing(nn.Module):
    input_shapes = {"x": (1, 4)}
    def forward(self, x):
        return x.reshape(7)

instance = Branching()
"""


@pytest.fixture
def factories(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "nets.py").write_text(MODULE)
    yield tmp_path
    sys.modules.pop("nets", None)


def operators(model) -> set[str]:
    return {node.op_type for node in model.graph}


def test_module_keeps_names_and_computes_the_same():
    net = Net().train()
    net.tail[2].eval()
    result = export(net, input_shapes={"image": (1, 3, 16, 16)})
    assert result.source_kind == "torch-module"
    assert result.parity.samples == 2 and result.parity.max_rel_error < 1e-5
    assert [v.name for v in result.model.graph.inputs] == ["image"]
    assert [v.name for v in result.model.graph.outputs] == ["map", "mean"]
    assert "BatchNormalization" not in operators(result.model)
    assert "HardSwish" in operators(result.model)
    assert net.training and net.stem.training and not net.tail[2].training  # left as it was
    x = np.random.default_rng(1).normal(size=(1, 3, 16, 16)).astype(np.float32)
    with torch.no_grad():
        expected = net.eval()(torch.from_numpy(x))
    found = OrtSession(result.model).run({"image": x})
    np.testing.assert_allclose(found["map"], expected["map"].numpy(), atol=1e-5)


def test_optional_inputs_are_passed_by_name():
    shapes = {"shift": (1, 4, 16, 16), "image": (1, 3, 16, 16)}
    result = export(Net(), input_shapes=shapes)
    assert [s.name for s in input_specs(result.model)] == ["image", "shift"]
    assert result.parity.max_rel_error < 1e-5


def test_shapes_and_types_from_examples():
    class Embed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(10, 4)

        def forward(self, ids):
            return self.table(ids).sum(1), ids.max()

    example = [Sample({"ids": np.array([[1, 9, 3]])}), Sample({"ids": np.array([[0, 1, 2]])})]
    result = export(Embed(), example=example)
    (spec,) = input_specs(result.model)
    assert (spec.shape, spec.dtype) == ((1, 3), np.int64)
    assert (result.parity.inputs, result.parity.samples) == ("real", 2)
    assert [v.name for v in result.model.graph.outputs] == ["output_0", "output_1"]


def test_a_random_module_is_reported():
    class Noisy(nn.Module):
        def forward(self, x):
            return x + torch.rand_like(x)

    result = export(Noisy(), input_shapes={"x": (1, 4)})
    assert result.parity.max_abs_error is None
    assert "draws random numbers" in result.parity.reason
    assert [finding.rule for finding in result.findings] == ["export/parity"]


@pytest.mark.parametrize("reference", ["nets:module", "nets.py:module"])
def test_factory_carries_its_shapes_and_is_silent(factories, reference, capfd):
    result = export(reference, base=factories)
    assert input_specs(result.model)[0].shape == (1, 4)
    assert [v.name for v in result.model.graph.outputs] == ["output"]
    assert operators(result.model) == {"Gemm", "Relu"}
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""


def test_same_bytes_twice_and_no_path_inside(factories):
    torch.manual_seed(0)
    net = Net()
    shapes = {"image": (1, 3, 16, 16)}
    first, second = (to_bytes(export(net, input_shapes=shapes).model) for _ in range(2))
    assert first == second
    assert b".py" not in first and b"site-packages" not in first


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("shapeless", UsageError, r"shapes.*not known.*forward takes input.*input_shapes"),
        (
            "broken",
            ModelError,
            r"factory failed.*FileNotFoundError: weights\.pth \(nets\.py, line 15\)",
        ),
        ("number", ModelError, "found int"),
        ("Branching", ModelError, r"values of a tensor.*nets\.py, line 23: return x if x\.sum"),
        ("instance", ModelError, r"values of a tensor.*nets\.py, line 23"),
        ("Failing", ModelError, r"forward failed.*shape '\[7\]'"),
        ("absent", UsageError, "has no 'absent'"),
    ],
)
def test_factories_that_fail(factories, name, error, message):
    with pytest.raises(error, match=message) as caught:
        export(f"nets:{name}", base=factories)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"picture": (1, 3, 16, 16)}, "no input 'picture'.*forward takes image"),
        ({"shift": (1, 4, 16, 16)}, "shape of input 'image' is not given"),
    ],
)
def test_wrong_input_names(shapes, message):
    with pytest.raises(UsageError, match=message):
        export(Net(), input_shapes=shapes)


def test_exported_program(tmp_path):
    with quiet():
        batch = torch.export.Dim("batch", max=64)
        program = torch.export.export(
            Net().eval(),
            (torch.zeros(2, 3, 16, 16),),
            dynamic_shapes={"image": {0: batch}},
        )
        torch.export.save(program, tmp_path / "net.pt2")
    result = export(tmp_path / "net.pt2")
    assert result.source_kind == "torch-program"
    assert result.parity.samples == 2 and result.parity.max_rel_error < 1e-5
    (spec,) = input_specs(result.model)
    assert spec.name == "image" and isinstance(spec.shape[0], str)
    assert [v.name for v in result.model.graph.outputs] == ["map", "mean"]
    with pytest.raises(UsageError, match="has its shapes already"):
        export(tmp_path / "net.pt2", input_shapes={"image": (1, 3, 8, 8)})


def test_damaged_program(tmp_path):
    (tmp_path / "net.pt2").write_bytes(b"not a program")
    with pytest.raises(ModelError, match="cannot read the exported program"):
        export(tmp_path / "net.pt2")


def test_missing_torch_says_what_to_install(factories, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (factories / "net.pt2").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"pip install 'edgewise\[torch\]'"):
        export("net.pt2", base=factories)
