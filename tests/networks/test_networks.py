"""Mainstream networks on Android: exported, emitted, and compared with ONNX Runtime.

fp32: outputs within 1e-3 of the largest output. int8: every layer, fed with the QDQ model's own
integers, within its tolerance (1 LSB but for the kernels that are listed with theirs).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from zoo.hub import hub_model
from zoo.source import Samples
from zoo.table import NETWORKS, Network

from edgewise.calibration import collect_statistics, quantize
from edgewise.graph import OrtSession
from edgewise.targets.android import TARGET
from edgewise.targets.validation.layers import compare_layers

_RELATIVE = 1e-3


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow if network.slow else ())
        for name, network in NETWORKS.items()
    ],
)
def exported(request: pytest.FixtureRequest) -> tuple[Network, ir.Model]:
    return NETWORKS[request.param], hub_model(request.param)


def test_fp32(exported: tuple[Network, ir.Model], tmp_path: Path) -> None:
    network, hub = exported
    session = TARGET.open(TARGET.emit(hub, tmp_path, "fp32"))
    reference = OrtSession(hub, optimize="none")
    for sample in Samples(network, 2, seed=2):
        found, expected = session.run(sample.feeds), reference.run(sample.feeds)
        for name, array in expected.items():
            largest = float(np.abs(array).max())
            assert largest > 1e-3, "an output that is nothing proves nothing"
            np.testing.assert_allclose(found[name], array, rtol=0, atol=_RELATIVE * largest)


def test_int8(exported: tuple[Network, ir.Model], tmp_path: Path) -> None:
    network, hub = exported
    statistics = collect_statistics(hub, Samples(network, 4, seed=3))
    qdq = quantize(hub, statistics, TARGET.scheme("w8a8"))
    artifact = TARGET.emit(qdq, tmp_path, "w8a8")
    feeds = [sample.feeds for sample in Samples(network, 2, seed=4)]
    report = compare_layers(qdq, artifact, feeds)
    assert report.layers
    assert not report.beyond, "\n".join(map(str, report.beyond))
