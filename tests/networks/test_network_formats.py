"""Mainstream networks in the other precisions of the android target.

fp16: outputs within 2e-3 of the largest fp32 output, four float16 steps. w8a16: every layer within
its tolerance, and outputs within 1e-3 of the QDQ model. w8 and w4: outputs within 1e-2 of the
weight-only model, since the kernels round each row of their input to 8 bits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from zoo.hub import hub_model
from zoo.source import Samples
from zoo.table import NETWORKS, Network

from edgewise.calibration import collect_statistics
from edgewise.calibration.quantize_for import quantize_for
from edgewise.graph import OrtSession
from edgewise.targets.android import TARGET
from edgewise.targets.validation import compare_layers

pytestmark = pytest.mark.slow

#: convolutions, products, recurrent layers, a detection head; of some, no product is large enough
_NAMES = ("ds_cnn", "minilm", "gpt2_static_cache", "lstm_tagger", "unet", "yolo_dfl")
_WITHOUT_PRODUCTS = ("unet", "yolo_dfl")


@pytest.fixture(scope="module", params=_NAMES)
def exported(request: pytest.FixtureRequest) -> tuple[str, Network, ir.Model]:
    return request.param, NETWORKS[request.param], hub_model(request.param)


def _difference(network: Network, model: ir.Model, precision: str, folder: Path) -> float:
    """The largest one between file and model, over the largest output."""
    session = TARGET.open(TARGET.emit(model, folder, precision))
    reference = OrtSession(model)
    worst = 0.0
    for sample in Samples(network, 2, seed=2):
        found, expected = session.run(sample.feeds), reference.run(sample.feeds)
        for name, array in expected.items():
            if array.dtype == np.float32:
                worst = max(worst, float(np.abs(found[name] - array).max() / np.abs(array).max()))
    return worst


def test_fp16(exported: tuple[str, Network, ir.Model], tmp_path: Path) -> None:
    _, network, hub = exported
    assert 0 < _difference(network, hub, "fp16", tmp_path) <= 2e-3


def test_w8a16(exported: tuple[str, Network, ir.Model], tmp_path: Path) -> None:
    _, network, hub = exported
    statistics = collect_statistics(hub, Samples(network, 4, seed=3))
    qdq = quantize_for(hub, statistics, TARGET.scheme("w8a16")).model
    assert _difference(network, qdq, "w8a16", tmp_path) <= 1e-3
    feeds = [sample.feeds for sample in Samples(network, 1, seed=4)]
    report = compare_layers(qdq, TARGET.emit(qdq, tmp_path, "w8a16"), feeds)
    assert report.layers and not report.beyond, "\n".join(map(str, report.beyond))


@pytest.mark.parametrize("precision", ["w8", "w4"])
def test_weights_alone(
    exported: tuple[str, Network, ir.Model], tmp_path: Path, precision: str
) -> None:
    name, network, hub = exported
    if name in _WITHOUT_PRODUCTS:
        pytest.skip("it has no product with a large constant matrix")
    model = quantize_for(hub, None, TARGET.scheme(precision)).model
    assert 0 < _difference(network, model, precision, tmp_path) <= 1e-2
