"""Mainstream networks on ARM64: what runs in integers there is what this machine foretells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir
import pytest
from zoo.hub import hub_model
from zoo.source import Samples
from zoo.table import NETWORKS

from edgewise.calibration import collect_statistics, quantize
from edgewise.graph import load
from edgewise.targets.arm import TARGET
from edgewise.targets.arm.device_fusion import fusion_of
from edgewise.targets.arm.fusion import float_islands
from edgewise.targets.arm.opened_file import executed_graph, opened_file
from edgewise.targets.arm.schemes import KERNEL_OPS, SHARED_SCALE_OPS
from edgewise.targets.validation.devices import connected
from edgewise.targets.validation.devices.bundle.installation import Installation

DEVICE = "emulated:cortex-a53"
#: networks whose Resize is linear: ONNX Runtime drops Q and DQ around the nearest only
LINEAR_RESIZES = {"aspp": 2, "deeplab_mobilenet": 1, "unet": 1}


@pytest.fixture(scope="module", autouse=True)
def arm64(emulator: Installation) -> Iterator[None]:
    with connected(DEVICE):
        yield


def names(islands: list[list[ir.Node]]) -> list[list[str | None]]:
    """Without transposes, which ONNX Runtime moves to where they cost least."""
    kept = ([node.name for node in nodes if node.op_type != "Transpose"] for nodes in islands)
    return [nodes for nodes in kept if nodes]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if network.slow else ())
        for name, network in NETWORKS.items()
    ],
)
def test_network(name: str, tmp_path: Path) -> None:
    network, hub = NETWORKS[name], hub_model(name)
    statistics = collect_statistics(hub, Samples(network, 2, seed=3))
    qdq = quantize(hub, statistics, TARGET.scheme("w8a8"))
    artifact = TARGET.emit(qdq, tmp_path, "w8a8")
    model = load(artifact.path)
    with opened_file(artifact, DEVICE) as file:
        there = executed_graph(file, DEVICE)
    assert names(float_islands(model, there)) == names(float_islands(model))
    found = fusion_of(model, there)
    fallen = {
        kind: count
        for kind, count in (found.quantized - found.integer).items()
        if kind in KERNEL_OPS | SHARED_SCALE_OPS
    }
    resizes = LINEAR_RESIZES.get(name)
    assert fallen == ({} if resizes is None else {"Resize": resizes})
    if name == "mobilenet_v2":
        assert (found.quantized["Conv"], found.integer["Conv"]) == (52, 52)
