"""Times of the parts of an arm artifact: here, on a stand-in for a device, and not under QEMU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stand_in_device import StandInDevice, stand_in

from edgewise.errors import ModelError, UsageError
from edgewise.targets.arm import TARGET
from edgewise.targets.arm.executed import Executed
from edgewise.targets.arm.opened_file import executed_graph, opened_file
from edgewise.targets.arm.profile import profile_parts
from edgewise.targets.base import LOCAL, Artifact, EmitOptions, Feeds
from edgewise.targets.profiling import ProfilingTarget
from edgewise.targets.validation.devices.bundle.installation import Installation
from edgewise.targets.validation.devices.runner import node_times
from edgewise.targets.validation.validate import validate

__all__ = ["stand_in"]

FEEDS: Feeds = {"image": np.random.default_rng(0).standard_normal((1, 3, 16, 16), np.float32)}


@pytest.fixture(scope="module")
def artifacts(
    cnn: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Artifact, Artifact]:
    """Of the network: w8a8 and fp32."""
    hub, qdq = cnn
    folder = tmp_path_factory.mktemp("profiled")
    return TARGET.emit(qdq, folder / "int8", "w8a8"), TARGET.emit(hub, folder / "fp32", "fp32")


def test_parts_have_twins_in_fp32(artifacts: tuple[Artifact, Artifact]) -> None:
    times = profile_parts(*artifacts, FEEDS)
    assert isinstance(TARGET, ProfilingTarget)
    by_tensor = {part.tensor: part for part in times.parts}
    assert {"mean", "logits"} <= set(by_tensor)
    assert len(by_tensor) == len(times.parts)
    assert all(part.ms >= 0 for part in times.parts) and sum(part.ms for part in times.parts) > 0
    assert all(part.fp32_ms is not None for part in times.parts)
    assert "QGemm" in by_tensor["logits"].operators
    assert "in turns with fp32" in times.method


def test_every_node_is_in_one_part(artifacts: tuple[Artifact, Artifact]) -> None:
    (int8, _) = artifacts
    with opened_file(int8) as file:
        executed = Executed.of(int8, executed_graph(file, LOCAL))
    assert {"r1", "sum", "mean", "logits"} <= executed.named
    for cuts in ([], ["mean"], executed.named):
        parts = executed.parts(cuts)
        assert sorted(n.name for part in parts for n in part.nodes) == sorted(
            node.name for node in executed.nodes
        )
        assert all(part.tensors <= set(cuts) for part in parts)
    assert len(executed.parts([])) == 1


def test_alone(artifacts: tuple[Artifact, Artifact]) -> None:
    parts = profile_parts(artifacts[1], None, FEEDS).parts
    assert parts and all(part.fp32_ms is None for part in parts)


def test_on_a_device(
    artifacts: tuple[Artifact, Artifact],
    stand_in: type[StandInDevice],
) -> None:
    here, there = (
        profile_parts(*artifacts, FEEDS, device=device) for device in (LOCAL, "ssh://board")
    )
    assert [host for host, _ in stand_in.started] == ["board"]
    assert [(p.tensor, p.operators) for p in there.parts] == [
        (p.tensor, p.operators) for p in here.parts
    ]
    assert sum(part.ms for part in there.parts) > 0


@pytest.mark.usefixtures("stand_in")
def test_times_that_mean_nothing_are_not_told(artifacts: tuple[Artifact, Artifact]) -> None:
    with pytest.raises(UsageError, match=r"nothing was timed; ONNX Runtime runs \d+ .+ there"):
        profile_parts(*artifacts, FEEDS, device="ssh://emulated")


def test_under_qemu_there_are_kinds_of_nodes(
    artifacts: tuple[Artifact, Artifact], cnn: tuple[Path, Path], emulator: Installation
) -> None:
    hub, qdq = cnn
    result = validate(
        artifacts[0],
        reference=qdq,
        hub=hub,
        fp32_artifact=artifacts[1],
        device="emulated:cortex-a53",
        profile=True,
    )
    profile = result.profile
    assert profile is not None and not profile.parts and profile.sum_ms is None
    assert profile.reason is not None and "2 QLinearConv" in profile.reason
    (fused,) = [f for f in result.findings if f.rule == "arm/fused-on-device"]
    assert "2 of 2 Conv" in fused.message


def test_ort_format_tells_no_graph(cnn: tuple[Path, Path], tmp_path: Path) -> None:
    options = EmitOptions(options={"ort_format": True})
    artifact = TARGET.emit(cnn[1], tmp_path, "w8a8", options=options)
    with pytest.raises(UsageError, match="a file in ORT format cannot be profiled"):
        profile_parts(artifact, None, FEEDS)


def test_damaged_file(artifacts: tuple[Artifact, Artifact], tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(artifacts[1].path.read_bytes()[:-200])
    with pytest.raises(ModelError):
        profile_parts(Artifact(path, artifacts[1].manifest), None, FEEDS)


def test_nodes_in_loops_are_added_up_and_the_first_run_is_left_out() -> None:
    def event(name: str, microseconds: int) -> dict[str, object]:
        told = {"cat": "Node", "name": f"{name}_kernel_time", "dur": microseconds}
        return {**told, "args": {"op_name": "Abs"}}

    events = [{"cat": "Session", "name": "model_run", "dur": 9}]
    for offset in (100, 0, 10):
        events += [event("a", offset + 1), event("inner", offset + 2), event("inner", offset + 3)]
    assert node_times(events, 2) == [["a", "Abs", [1, 11]], ["inner", "Abs", [5, 25]]]
