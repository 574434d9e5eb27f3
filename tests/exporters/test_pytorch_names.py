"""The user's names in the exported graph, and the layers of the original under the same names."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.exporters.opened import SourceOptions
from edgewise.exporters.pytorch import open_module, open_program
from edgewise.exporters.quiet import quiet
from edgewise.graph import OrtSession

with quiet():
    torch = pytest.importorskip("torch")
    from torch import nn


class Block(nn.Module):
    """Calls one activation twice, and adds outside of any layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1)
        nn.init.uniform_(self.bn1.running_mean, -1, 1)
        nn.init.uniform_(self.bn1.running_var, 0.5, 2)

    def forward(self, x):
        y = self.conv2(self.relu(self.bn1(self.conv1(x))))
        return self.relu(x + y)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.layer1 = nn.Sequential(Block(8), Block(8))
        self.act = nn.SiLU()
        self.fc = nn.Linear(8, 8)

    def forward(self, x):
        y = self.act(self.layer1(self.stem(x)))
        z = self.fc(y.flatten(2).transpose(1, 2))
        return self.fc(z).mean(1)


SHAPES = {"x": (1, 3, 16, 16)}


@pytest.fixture(scope="module")
def by_dynamo():
    return open_module(Net(), SourceOptions(input_shapes=SHAPES, exporter="dynamo"), "Net")


def values(opened) -> dict[str, np.ndarray]:
    """All values of the exported model, and the layers of the original, on one input."""
    model = opened.model.clone()
    for node in model.graph:
        for value in node.outputs:
            if value not in model.graph.outputs:
                model.graph.outputs.append(value)
    feeds = {"x": np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32)}
    return OrtSession(model).run(feeds), dict(opened.open_layers()(feeds))


def check_layers(opened, names: set[str]) -> None:
    found, layers = values(opened)
    assert names <= found.keys() & layers.keys()
    for name in found.keys() & layers.keys():
        np.testing.assert_allclose(found[name], layers[name], atol=1e-5, err_msg=name)


LAYERS = {
    "stem", "layer1.0.bn1", "layer1.0.relu", "layer1.0.conv2", "layer1.0.relu@1",
    "layer1.1.relu@1", "act", "fc", "fc@1",
}  # fmt: skip


def test_values_are_what_the_layers_of_that_name_give(by_dynamo):
    check_layers(by_dynamo, LAYERS)


def test_nodes_have_the_names_of_their_layers(by_dynamo):
    names = [node.name for node in by_dynamo.model.graph]
    assert len(set(names)) == len(names)
    wanted = {
        "stem", "layer1.0.conv1", "layer1.0.relu", "layer1.0.conv2", "layer1.0/Add",
        "layer1.0.relu@1", "act/Sigmoid", "act/Mul", "fc/MatMul", "fc@1/MatMul",
    }  # fmt: skip
    assert wanted <= set(names)
    assert not any(name.startswith("node_") for name in names)


def test_results_of_blocks_and_order_of_execution(by_dynamo):
    feeds = {"x": np.ones((1, 3, 16, 16), np.float32)}
    names = [name for name, _ in by_dynamo.open_layers()(feeds)]
    assert names[:4] == ["stem", "layer1.0.conv1", "layer1.0.bn1", "layer1.0.relu"]
    assert names.index("layer1.0.relu@1") < names.index("layer1.0") < names.index("layer1")
    assert names[-2:] == ["fc", "fc@1"]


def test_programs_keep_the_names_as_well(tmp_path):
    with quiet():
        program = torch.export.export(Net().eval(), (torch.zeros(1, 3, 16, 16),))
        torch.export.save(program, tmp_path / "net.pt2")
    check_layers(open_program(tmp_path / "net.pt2", SourceOptions()), LAYERS - {"fc@1"})


def test_scopes_of_the_torchscript_exporter():
    options = SourceOptions(input_shapes=SHAPES, exporter="torchscript")
    opened = open_module(Net(), options, "Net")
    names = [node.name for node in opened.model.graph]
    wanted = {"layer1.0.conv1", "layer1.0.relu", "layer1.0.relu@1", "layer1.0/Add", "fc/MatMul"}
    assert wanted <= set(names) and len(set(names)) == len(names)
    found, layers = values(opened)
    assert not found.keys() & layers.keys()  # it may have folded a layer into the one before
