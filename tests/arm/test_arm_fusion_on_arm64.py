"""What this machine says that ARM64 fuses, against ONNX Runtime on ARM64 itself."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest
from arm_recipes import RECIPES, WEIGHTED

from edgewise.graph import load, save
from edgewise.graph.quantized import DEQUANTIZE
from edgewise.targets.arm import TARGET
from edgewise.targets.arm.device_fusion import device_findings, fusion_of
from edgewise.targets.arm.fusion import float_islands, optimize_as_on_arm
from edgewise.targets.arm.global_pool import mean_to_global_pool
from edgewise.targets.arm.integer_pad import pad_in_integers
from edgewise.targets.arm.opened_file import executed_graph
from edgewise.targets.validation.devices import connected
from edgewise.targets.validation.devices.bundle.installation import Installation
from edgewise.targets.validation.devices.link import RunnerLink

DEVICE = "emulated:cortex-a53"
#: as `optimize_as_on_arm`: before layouts change
_BEFORE_LAYOUTS = {"graph_optimization_level": "ORT_ENABLE_EXTENDED"}


@pytest.fixture(scope="module")
def arm64(emulator: Installation) -> Iterator[RunnerLink]:
    with connected(DEVICE) as link:
        yield link


def executed(link: RunnerLink, model: ir.Model, folder: Path) -> ir.Model:
    path = folder / "model.onnx"
    save(model, path)
    outputs = [str(value.name) for value in model.graph.outputs]
    file = link.open(path, "onnxruntime", threads=1, outputs=outputs, options=_BEFORE_LAYOUTS)
    try:
        return executed_graph(file, DEVICE)
    finally:
        file.close()


def kinds(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def names(islands: list[list[ir.Node]]) -> list[list[str | None]]:
    return [[node.name for node in nodes] for nodes in islands]


def assert_same(model: ir.Model, there: ir.Model) -> None:
    assert kinds(there) == kinds(optimize_as_on_arm(model))
    assert names(float_islands(model, there)) == names(float_islands(model))


@pytest.mark.parametrize("op_type", sorted(RECIPES))
def test_operators_of_the_scheme(
    op_type: str, qdq_model: Any, arm64: RunnerLink, tmp_path: Path
) -> None:
    model = qdq_model(op_type, **RECIPES[op_type])
    mean_to_global_pool(model)
    pad_in_integers(model)
    there = executed(arm64, model, tmp_path)
    assert_same(model, there)
    assert float_islands(model, there) == []


@pytest.mark.parametrize(("op_type", "attributes"), WEIGHTED)
def test_operators_with_weights(
    op_type: str, attributes: Any, weighted_model: Any, arm64: RunnerLink, tmp_path: Path
) -> None:
    model = weighted_model(op_type, attributes=attributes)
    there = executed(arm64, model, tmp_path)
    assert_same(model, there)
    assert kinds(there)[DEQUANTIZE] == 1


@pytest.mark.parametrize("op_type", ["Tanh", "HardSwish", "MaxPool"])
def test_islands(op_type: str, qdq_model: Any, arm64: RunnerLink, tmp_path: Path) -> None:
    recipe = copy.copy(RECIPES.get(op_type, {}))
    model = qdq_model(op_type, **recipe, out_scale=0.06)
    there = executed(arm64, model, tmp_path)
    assert_same(model, there)
    assert names(float_islands(model, there)) == [["middle"]]
    found = fusion_of(model, there)
    assert str(found) == f"0 of 1 {op_type}"


def test_artifact_of_a_network(cnn: tuple[Path, Path], arm64: RunnerLink, tmp_path: Path) -> None:
    hub, qdq = cnn
    artifact = TARGET.emit(qdq, tmp_path / "int8", "w8a8")
    (found,) = TARGET.device_findings(artifact, DEVICE)
    assert found.rule == "arm/fused-on-device" and found.severity == "info"
    assert "2 of 2 Conv, 1 of 1 Add" in found.message
    assert device_findings(TARGET.emit(hub, tmp_path / "fp32", "fp32"), DEVICE) == ()
    assert load(artifact.path).graph.name == "cnn"
