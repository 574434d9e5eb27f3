"""Files of PyTorch by what is in them, and not by their suffix."""

from __future__ import annotations

import shutil
import sys
import zipfile

import pytest

from edgewise.data import input_specs
from edgewise.errors import ModelError, UsageError
from edgewise.exporters import SourceOptions, export
from edgewise.exporters.quiet import quiet

with quiet():
    torch = pytest.importorskip("torch")

NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, width, 3, 2, 1), nn.Linear(width, 5)

    def forward(self, x):
        if x.mean() > 5:
            x = x - 5
        return self.head(self.conv(x).relu().mean((2, 3)))

class Straight(Net):
    def forward(self, x):
        return self.head(self.conv(x).relu().mean((2, 3)))

class Wide(nn.Module):
    def __init__(self, width):
        super().__init__()
"""
SHAPE = {"x": (1, 3, 16, 16)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """One network in every kind of file."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "saved_nets.py").write_text(NETS)
    sys.path.insert(0, str(folder))
    try:
        import saved_nets

        torch.manual_seed(0)
        net = saved_nets.Straight().eval()
        with quiet():
            torch.jit.trace(net, torch.zeros(1, 3, 16, 16)).save(folder / "traced.pt")
            torch.jit.script(saved_nets.Net().eval()).save(folder / "scripted.pt")
            dims = {"x": {0: torch.export.Dim("n")}}
            program = torch.export.export(net, (torch.zeros(2, 3, 16, 16),), dynamic_shapes=dims)
            torch.export.save(program, folder / "net.pt2")
            shutil.copy(folder / "net.pt2", folder / "program.pt")
        torch.save(net.state_dict(), folder / "weights.pth")
        torch.save(net, folder / "whole.pt")
        yield folder
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("saved_nets", None)


@pytest.mark.parametrize("name", ["traced.pt", "scripted.pt"])
def test_torchscript(saved, name):
    with pytest.raises(UsageError, match="not known: forward takes x"):
        export(saved / name)
    result = export(saved / name, input_shapes={"x": ("batch", 3, 16, 16)})
    assert result.source_kind == "torch-script" and "TorchScript" in result.exporter
    assert input_specs(result.model)[0].shape == ("batch", 3, 16, 16)
    assert result.parity.max_rel_error < 1e-5
    assert result.findings == ()


def test_control_flow_that_was_scripted_stays(saved):
    result = export(saved / "scripted.pt", input_shapes=SHAPE)
    assert "If" in {node.op_type for node in result.model.graph}


def test_dynamo_does_not_read_torchscript(saved):
    with pytest.raises(UsageError, match="dynamo does not export TorchScript"):
        export(saved / "traced.pt", options=SourceOptions(exporter="dynamo"))


@pytest.mark.parametrize(
    ("shapes", "found"),
    [
        ({}, ("batch", 3, 16, 16)),
        ({"x": ("pictures", 3, 16, 16)}, ("pictures", 3, 16, 16)),
        (SHAPE, (1, 3, 16, 16)),
    ],
    ids=["as saved", "named", "fixed"],
)
def test_programs_keep_free_dimensions(saved, shapes, found):
    result = export(saved / "program.pt", input_shapes=shapes)
    assert result.source_kind == "torch-program"
    assert input_specs(result.model)[0].shape == found
    assert result.model.graph.outputs[0].shape[0] == found[0]
    assert result.parity.max_rel_error < 1e-5


def test_programs_with_other_shapes(saved):
    with pytest.raises(UsageError, match="has its shapes already: input 'x' is free,3,16,16"):
        export(saved / "net.pt2", input_shapes={"x": (1, 3, 8, 8)})


def test_a_checkpoint_alone_says_what_is_missing(saved):
    with pytest.raises(UsageError, match=r"holds 4 arrays \(conv\.weight.*nets\.py:Net --weights"):
        export(saved / "weights.pth")


def test_weights_and_their_class(saved):
    options = SourceOptions(weights=str(saved / "weights.pth"), base=saved)
    result = export("saved_nets.py:Straight", input_shapes=SHAPE, options=options)
    assert result.source_kind == "torch-module" and result.parity.max_rel_error < 1e-5


def test_a_whole_module_runs_code(saved):
    with pytest.raises(ModelError, match=r"holds code: it needs 'saved_nets\.Straight'"):
        export(saved / "whole.pt", input_shapes=SHAPE)
    options = SourceOptions(allow_code=True)
    result = export(saved / "whole.pt", input_shapes=SHAPE, options=options)
    assert result.source_kind == "torch-module" and result.parity.max_rel_error < 1e-5


def test_a_class_that_takes_arguments(saved):
    with pytest.raises(
        UsageError, match=r"it needs width, and is called with none.*Wide\(\.\.\.\)"
    ):
        export("saved_nets.py:Wide", base=saved)


def test_damaged_torchscript(tmp_path):
    with zipfile.ZipFile(tmp_path / "broken.pt", "w") as archive:
        archive.writestr("broken/constants.pkl", b"junk")
    with pytest.raises(ModelError, match="cannot read the TorchScript file"):
        export(tmp_path / "broken.pt", input_shapes=SHAPE)
