"""The hub model never has more nodes than onnxslim leaves, and keeps the names of layers."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx
import onnx_ir as ir
import onnxslim
import pytest
from zoo.written import written_model

from edgewise.data import input_specs
from edgewise.exporters.passes import PASSES
from edgewise.exporters.pipeline import canonicalize, wrong_pass
from edgewise.exporters.quiet import quiet
from edgewise.exporters.trial_inputs import random_feeds
from edgewise.graph import prepare

#: network, exporter, and whether the batch is free
CASES = [
    ("crnn_gru", "dynamo", False),
    ("gpt2_static_cache", "dynamo", False),
    ("lstm_tagger", "dynamo", False),
    ("minilm", "torchscript", True),
    ("ssd_head", "torchscript", True),
    ("yolo_dfl", "torchscript", True),
]
SLOW_CASES = [
    ("inception_v3", "auto", False),
    ("swin_tiny", "dynamo", False),
]
LAYERS = ("Conv", "ConvTranspose", "Gemm")


@pytest.fixture(
    scope="module",
    params=[*CASES, *[pytest.param(case, marks=pytest.mark.slow) for case in SLOW_CASES]],
    ids=lambda case: f"{case[0]} by {case[1]}",
)
def written(request: pytest.FixtureRequest) -> Path:
    name, exporter, free_batch = request.param
    return written_model(name, exporter, free_batch=free_batch)


def hub_of(path: Path) -> ir.Model:
    with quiet():
        hub = prepare(path)
        canonicalize(hub)
    return hub


def test_no_more_nodes_than_onnxslim_leaves(written: Path) -> None:
    logging.getLogger("onnxslim").disabled = True
    slim = onnxslim.slim(onnx.load(written))
    count = len(list(hub_of(written).graph.all_nodes()))
    assert 0 < count <= len(slim.graph.node)


def test_every_pass_computes_the_same(written: Path) -> None:
    with quiet():
        prepared = prepare(written, batch=2)
    feeds = next(iter(random_feeds(input_specs(prepared), 1)))
    assert wrong_pass(prepared, feeds) is None


def test_names_of_layers_survive(written: Path) -> None:
    source, hub = prepare(written), hub_of(written)
    names = {node.name for node in hub.graph}
    layers = [node.name for node in source.graph if node.op_type in LAYERS]
    assert [name for name in layers if name not in names] == []


def test_nothing_is_left_to_find(written: Path) -> None:
    hub = hub_of(written)
    assert [name for name, run in PASSES.items() if run(hub).modified] == []
