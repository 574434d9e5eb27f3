"""Weights in files: where the state dict lies, which keys fit, and what is refused."""

from __future__ import annotations

import argparse
import io
import pickle
import sys

import numpy as np
import pytest

from edgewise.errors import EdgewiseError, ModelError, UsageError
from edgewise.exporters.pytorch.checkpoint import fill, read_checkpoint, read_weights
from edgewise.exporters.quiet import quiet

with quiet():
    torch = pytest.importorskip("torch")
    from torch import nn


class Small(nn.Module):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.first = nn.Linear(4, width)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x):
        return self.norm(self.first(x))


def trained() -> Small:
    torch.manual_seed(1)
    module = Small()
    nn.init.normal_(module.norm.weight)
    return module


def prefixed(prefix: str) -> dict:
    return {prefix + key: value for key, value in trained().state_dict().items()}


def old_counters() -> dict:
    return {k: v for k, v in trained().state_dict().items() if "num_batches" not in k}


@pytest.mark.parametrize(
    "content",
    [
        trained().state_dict(),
        {"state_dict": prefixed("module."), "epoch": 3, "best": np.float64(0.5)},
        {"model_state_dict": prefixed("_orig_mod.module."), "args": argparse.Namespace(lr=0.1)},
        {"model": prefixed("model."), "optimizer": {"state": {}}},
        {"state_dict": {"module": prefixed("model.")}},
        old_counters(),
    ],
    ids=["plain", "data-parallel", "compiled", "lightning", "deep", "no counters"],
)
def test_weights_are_found_and_fit(content, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    module = Small()
    fill(module, read_weights(path, allow_code=False), "weights.pth", "nets:Small")
    for key, value in trained().state_dict().items():
        if "num_batches" not in key:
            assert torch.equal(module.state_dict()[key], value), key


def test_safetensors_and_a_module_without_memory(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "weights.safetensors"
    safetensors.save_file(prefixed("module."), path)
    with torch.device("meta"):
        module = Small()
    fill(module, read_weights(path, allow_code=False), "weights.safetensors", "nets:Small")
    assert torch.equal(module.first.weight, trained().first.weight)


def test_tied_weights_may_be_stored_once():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
            self.head.weight = self.table.weight

    module, wanted = Tied(), torch.ones(5, 4)
    fill(module, {"table.weight": wanted}, "w", "t")
    assert torch.equal(module.head.weight, wanted)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (lambda: {"first.weight": torch.zeros(3, 4)}, r"5 missing \(first\.bias, norm\.weight"),
        (lambda: {**trained().state_dict(), "head.bias": torch.zeros(1)}, r"1 not in the module"),
        (
            lambda: Small(7).state_dict(),
            r"6 of another shape \(first\.weight is \[7, 4\] in the file and \[3, 4\] in the",
        ),
    ],
)
def test_weights_of_another_network(weights, message):
    with pytest.raises(ModelError, match=message) as caught:
        fill(Small(), weights(), "w.pth", "nets:Small")
    assert "\n" not in str(caught.value)


class Runs:
    """Pickles to a call: what a harmful file does."""

    def __reduce__(self):
        return (sys.setrecursionlimit, (sys.getrecursionlimit(),))


def test_code_is_refused_unless_allowed(tmp_path):
    path = tmp_path / "whole.pt"
    torch.save({"state_dict": trained().state_dict(), "x": Runs()}, path)
    with pytest.raises(ModelError, match=r"holds code: it needs 'sys\.setrecursionlimit'.*--allow"):
        read_checkpoint(path, allow_code=False)
    assert len(read_weights(path, allow_code=True)) == 7


def truncated() -> bytes:
    file = io.BytesIO()
    torch.save(trained().state_dict(), file)
    return file.getvalue()[:200]


def listed() -> bytes:
    file = io.BytesIO()
    torch.save([1, 2], file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"junk" * 9, ModelError, "cannot read the checkpoint: it is truncated, or not written"),
        (truncated(), ModelError, "cannot read the checkpoint: it is truncated, or not written"),
        (listed(), ModelError, "there are no weights in this file"),
        (pickle.dumps({"a": 1}), ModelError, "cannot read the checkpoint"),
        (None, UsageError, "no such file"),
    ],
)
def test_files_that_are_no_checkpoint(content, error, message, tmp_path):
    path = tmp_path / "weights.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=message) as caught:
        read_weights(path, allow_code=False)
    assert isinstance(caught.value, EdgewiseError) and "\n" not in str(caught.value)


def test_missing_package_of_safetensors(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    (tmp_path / "w.safetensors").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"pip install 'edgewise\[torch\]'"):
        read_weights(tmp_path / "w.safetensors", allow_code=False)
