"""Core ML on a Mac, with a stand-in for the framework: everything but Core ML itself is real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgewise.errors import DeviceError
from edgewise.targets import EmitOptions
from edgewise.targets.apple import TARGET
from edgewise.targets.apple.mac.link import MacAddress, MacLink
from edgewise.targets.apple.mac.placement import Placement, placement_findings
from edgewise.targets.apple.mac.session import NO_MAC, MacSession
from edgewise.targets.apple.neural_engine import Forecast
from edgewise.targets.validation.latency import LatencyPlan, measure_latency

QUICK = LatencyPlan(0.0, 2, 3, 0.0, (3, 3), 1)

pytestmark = pytest.mark.slow  # each starts a Python on the far side


@pytest.fixture
def cnn(make: Any, tmp_path: Path) -> Any:
    return TARGET.emit(make.quantized_cnn(), tmp_path / "cnn", "w8a8")


def _feeds(make: Any, seed: int = 0) -> Any:
    return {"x": make.random(1, 3, 12, 12, seed=seed)}


def _open(artifact: Any, python: str, host: str = "user@mac") -> MacSession:
    session = TARGET.open(artifact, f"mac:{host}:{python}")
    assert isinstance(session, MacSession)
    return session


def test_results_are_those_of_the_far_side(
    make: Any, cnn: Any, far_python: str, loopback: None
) -> None:
    session, local = _open(cnn, far_python), TARGET.open(cnn)
    assert session.device == "mac (macOS 26.1)" and session.latency_reason is None
    for seed in range(3):
        found, expected = session.run(_feeds(make, seed)), local.run(_feeds(make, seed))
        np.testing.assert_array_equal(found["y_d"], expected["y_d"])
    session.close()
    with pytest.raises(DeviceError, match="closed"):
        session.run(_feeds(make))


def test_over_a_real_ssh(make: Any, cnn: Any, far_python: str, real_ssh: str) -> None:
    session, local = _open(cnn, far_python, real_ssh), TARGET.open(cnn)
    found, expected = session.run(_feeds(make)), local.run(_feeds(make))
    np.testing.assert_array_equal(found["y_d"], expected["y_d"])
    session.close()


def test_times_are_those_of_the_far_side(
    make: Any, cnn: Any, far_python: str, loopback: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def time_runs(session: MacSession, runs: int) -> list[int]:
        taken.append(runs)
        return [2_000_000] * runs

    monkeypatch.setattr(MacSession, "time_runs", time_runs)
    latency = measure_latency(lambda: _open(cnn, far_python), None, _feeds(make), plan=QUICK)
    assert latency.median_ms == 2.0 and latency.runs == 9
    assert taken == [2, 4, 4, 4]  # warm-up, then blocks of three behind one that settles


def test_placement_and_compute_units_are_told(
    make: Any, tmp_path: Path, far_python: str, loopback: None
) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="layer"),
        helper.make_node("Tan", ["a"], ["b"], name="tangent"),
        helper.make_node("Relu", ["b"], ["y"], name="cut"),
    ]
    model = make.build_model(
        nodes, {"x": make.random(1, 2, 6, 6)}, ["y"], {"w": make.random(3, 2, 3, 3)}
    )
    session = _open(TARGET.emit(model, tmp_path / "net", "fp16"), far_python)
    session.run({"x": make.random(1, 2, 6, 6)})
    told = {(f.rule, f.severity): f.message for f in session.findings}
    session.close()
    placed = told["apple/mac-placement", "info"]
    assert "2 on NeuralEngine, 1 on CPU of 3 operations; 100% of the cost" in placed
    assert "1 x relu run on CPU" in told["apple/mac-placement-differs", "warning"]
    assert "1 x tan run on NeuralEngine" in told["apple/mac-placement-differs", "info"]
    latency = told["apple/mac-latency", "info"]
    assert all(unit in latency for unit in ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE"))


def test_what_is_no_mac_gives_no_latency(
    make: Any, cnn: Any, far_python: str, loopback: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_SYSTEM", "Linux")
    session = _open(cnn, far_python)
    session.run(_feeds(make))
    assert session.latency_reason == NO_MAC
    assert any("not measured" in f.message for f in session.findings)
    session.close()


def test_pictures_classifiers_and_metadata_pass_the_line(
    make: Any, tmp_path: Path, far_python: str, loopback: None
) -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"], axis=1),
    ]
    model = make.build_model(nodes, {"x": make.random(1, 3, 4, 4)}, ["y"])
    options = EmitOptions(
        labels=("a", "b", "c"),
        preprocessing={"mean": [0.5] * 3, "std": [0.25] * 3, "scale": 1 / 255},
        options={"classifier": True},
    )
    artifact = TARGET.emit(model, tmp_path / "net", "fp32", options=options)
    feeds = {"x": make.random(1, 3, 4, 4)}
    session, local = _open(artifact, far_python), TARGET.open(artifact)
    np.testing.assert_array_equal(session.run(feeds)["y"], local.run(feeds)["y"])
    session.close()


@pytest.mark.parametrize(
    ("device", "part"),
    [
        ("mac:", "no host that ssh can be given"),
        ("mac:-oProxyCommand=x", "no host that ssh can be given"),
        ("mac:user@unreachable", "cannot reach the Mac"),
        ("mac:user@mac:/no/such/python", "the agent on the Mac ended"),
    ],
)
def test_a_mac_that_cannot_be_used_is_one_line(
    cnn: Any, loopback: None, device: str, part: str
) -> None:
    with pytest.raises(DeviceError, match=part) as caught:
        TARGET.open(cnn, device)
    assert caught.value.exit_code == 5 and "\n" not in str(caught.value)


def test_faults_of_the_far_side_are_told(
    cnn: Any, far_python: str, loopback: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_FAULT", "compile")
    with pytest.raises(DeviceError, match="Error compiling model: in operation conv_1"):
        _open(cnn, far_python)


def test_a_far_python_without_coremltools_and_one_that_is_silent(
    tmp_path: Path, loopback: None
) -> None:
    bare = tmp_path / "bare"
    bare.write_text("#!/bin/sh\nexec sleep 30\n", encoding="utf-8")
    bare.chmod(0o755)
    with pytest.raises(DeviceError, match=r"no answer to 'hello' in 0\.5 s"):
        MacLink(MacAddress("mac", str(bare)), timeout=0.5)
    bare.write_text(
        '#!/bin/sh\necho "ModuleNotFoundError: No module named coremltools" >&2\nexit 1\n',
        encoding="utf-8",
    )
    with pytest.raises(DeviceError, match=r"No module named coremltools.*coremltools and numpy"):
        MacLink(MacAddress("mac", str(bare)))


def test_forecasts_that_only_may_leave_are_no_surprise() -> None:
    placed = [Placement("y", "resize", "CPU", ("CPU",), None)]
    forecast = Forecast("y", "resize", "n", "may leave", ("apple/ane-a14",))
    (summary,) = placement_findings(placed, [forecast])
    assert summary.message == "MLComputePlan: 1 on CPU of 1 operations"
    assert placement_findings([], []) == []
