"""Builds and validation on several devices, which stand-ins play: one runner in a Python here."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stand_in_device import StandInDevice, stand_in

import edgewise
from edgewise.errors import DeviceError
from edgewise.targets.validation import LatencyPlan, latency
from edgewise.targets.validation.devices import registry
from edgewise.targets.validation.devices.adb_client import COMMAND_VARIABLE
from edgewise.targets.validation.devices.registry import NamedDevice

__all__ = ["stand_in"]

Run = Callable[..., Any]
_QUICK = LatencyPlan(0.0, 1, 2, 0.001, (2, 3), 0)


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: object) -> None:
    """Devices with names, and latency that takes no time."""
    monkeypatch.setenv(registry.CONFIG_VARIABLE, str(tmp_path / "config"))
    registry.add(NamedDevice("pi", "ssh://board", threads=2))
    registry.add(NamedDevice("core", "ssh://emulated"))
    monkeypatch.setattr(latency, "LatencyPlan", lambda: _QUICK)


@pytest.fixture(scope="module")
def built(shared_tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build for two targets."""
    out = tmp_path_factory.mktemp("built") / "dist"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "LatencyPlan", lambda: _QUICK)
        edgewise.build(shared_tiny.project, targets=["arm", "apple"], out=out)
    return out


def validated(run: Run, *arguments: str | Path) -> Any:
    outcome = run("validate", *arguments, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    return json.loads(outcome.out)


def test_one_result_for_each_target_and_device(run: Run, shared_tiny: Any, built: Path) -> None:
    data = "--evaluation", shared_tiny.evaluation
    devices = "--on", "pi", "--on", "local", "--on", "core"
    document = validated(run, built, *data, *devices)
    targets = document["targets"]
    assert {key: (row["target"], row["device"]) for key, row in targets.items()} == {
        "apple": ("apple", "local"),
        "arm": ("arm", "pi"),
        "arm@local": ("arm", "local"),
        "arm@core": ("arm", "core"),
    }
    assert (document["failed"], document["skipped"]) == ({}, {})
    assert targets["arm"]["accuracy"] == targets["arm@core"]["accuracy"]
    assert targets["arm"]["accuracy"]["samples"] == 16
    # the named device's own threads, and its own time
    assert targets["arm"]["latency"]["threads"] == 2
    assert targets["arm@local"]["latency"]["threads"] == 1
    assert targets["arm"]["latency"]["median_ms"] > 0
    assert targets["arm@core"]["latency"]["median_ms"] is None
    assert "nothing was timed" in targets["arm@core"]["latency"]["reason"]


def test_each_row_names_its_device(run: Run, built: Path) -> None:
    outcome = run("validate", built, "--on", "local", "--on", "pi", "--threads", "1")
    assert (outcome.code, outcome.err) == (0, "")
    assert "on pi" in outcome.out and "on local" in outcome.out
    assert "latency of arm@pi: ssh://board (stand-in), threads 1" in outcome.out


def test_this_machine_is_measured_alone(
    run: Run, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    from edgewise import validation_runs

    def record(artifact: Any, *, device: str, **_: Any) -> Any:
        events.append(f"{artifact.target} on {device} begins, {len(StandInDevice.started)} started")
        raise DeviceError("that is enough", where=device)

    monkeypatch.setattr(validation_runs, "validate_artifact", record)
    outcome = run("validate", built, "--on", "pi", "--on", "local")
    assert outcome.code == 5
    assert events == [
        "apple on local begins, 0 started",
        "arm on local begins, 0 started",
        "arm on pi begins, 1 started",
    ]


def test_devices_work_side_by_side(run: Run, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from edgewise import validation_runs

    both = threading.Barrier(2, timeout=30)  # breaks where one waits for the other to end

    def meet(artifact: Any, *, device: str, **_: Any) -> Any:
        both.wait()
        raise DeviceError("that is enough", where=device)

    monkeypatch.setattr(validation_runs, "validate_artifact", meet)
    outcome = run("validate", built / "arm", "--on", "pi", "--on", "core")
    assert outcome.line.count("that is enough") == 2


def test_an_interrupt_ends_those_that_are_being_reached(
    run: Run, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgewise import validation_runs

    adb, asked = tmp_path / "adb", tmp_path / "asked"
    listed = r"List of devices attached\nA\tdevice\nB\tdevice\n"
    adb.write_text(
        f"#!/bin/sh\ncase $* in\ndevices*) printf '{listed}';;\n*features) echo shell_v2;;\n"
        f"*shell*) echo >> {asked}; exec sleep 30;;\nesac\n"
    )
    adb.chmod(0o755)
    monkeypatch.setenv(COMMAND_VARIABLE, str(adb))

    def press(artifact: Any, *, device: str, **_: Any) -> Any:
        while not (asked.exists() and len(asked.read_text()) >= 2):
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(validation_runs, "validate_artifact", press)
    began = time.monotonic()
    outcome = run("validate", built / "arm", "--on", "adb:A", "--on", "pi", "--on", "adb:B")
    assert time.monotonic() - began < 15
    assert (outcome.code, outcome.line) == (130, "error: interrupted")


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("ssh://dead", "ssh://dead: cannot be reached. Switch it on."),
        ("ssh://breaks", "ssh://breaks: the runner ended"),
    ],
)
def test_a_failing_device_hides_no_other(run: Run, built: Path, broken: str, said: str) -> None:
    outcome = run("validate", built / "arm", "--on", broken, "--on", "core", "--json")
    assert outcome.code == 5
    (line,) = outcome.err.splitlines()
    assert line.startswith(f"error: {said}")
    document = json.loads(outcome.out)
    assert list(document["targets"]) == ["arm@core"]
    assert document["targets"]["arm@core"]["equivalence"]["reason"] == "no data"
    assert document["ok"] is False
    assert list(document["failed"]) == [broken] and said in document["failed"][broken]


def test_a_device_that_fails_is_told_by_its_name(run: Run, built: Path) -> None:
    registry.add(NamedDevice("attic", "ssh://dead"))
    outcome = run("validate", built / "arm", "--on", "attic")
    assert outcome.code == 5
    assert outcome.line == "error: attic (ssh://dead): cannot be reached. Switch it on."


def test_an_artifact_that_runs_nowhere_is_told(run: Run, built: Path) -> None:
    outcome = run("validate", built, "--on", "core")
    assert (outcome.code, outcome.err) == (0, "")
    assert "apple was not validated: it does not run on core\n" in outcome.out
    document = validated(run, built, "--on", "core")
    assert document["skipped"] == {"apple": "it does not run on core"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["arm", "--on", "mac"], 5, "no artifact for arm runs there"),
        (["apple", "--on", "pi"], 5, "no artifact for apple runs there"),
        (["", "--on", "pie"], 5, "there is no device 'pie': did you mean 'pi'?"),
        (["", "--on", "pi", "--on", "pi"], 2, "the device 'pi' is named twice"),
        (["", "--on", "pi", "--on", "ssh://board"], 2, "'ssh://board' is 'pi'"),
        (["", "--target", "andriod"], 2, "Did you mean 'android'?"),
        (["", "--target", "android"], 2, "there is no artifact for android"),
    ],
)
def test_what_cannot_be_asked_for(
    run: Run, built: Path, arguments: list[str], code: int, said: str
) -> None:
    outcome = run("validate", built / arguments[0], *arguments[1:])
    assert outcome.code == code
    assert said in outcome.line
    assert StandInDevice.started == []


def test_a_damaged_list_of_devices(run: Run, built: Path) -> None:
    registry.registry_path().write_text("pi = [")
    outcome = run("validate", built, "--on", "pi")
    assert outcome.code == 2
    assert "devices.toml: the list of devices is damaged" in outcome.line
    assert list(validated(run, built / "arm", "--on", "ssh://emulated")["targets"]) == ["arm"]


def test_one_target_of_a_build(run: Run, built: Path) -> None:
    assert list(validated(run, built, "--target", "arm", "--on", "core")["targets"]) == ["arm"]


def test_a_budget_on_latency_is_judged_where_it_can_be(run: Run, built: Path) -> None:
    limits = "--max-latency-ms", "10000", "--max-size-mb", "1"
    outcome = run(
        "validate", built / "arm", "--on", "core", "--on", "pi", *limits, "--json"
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    rows = {
        key: [row["name"] for row in result["budget"]]
        for key, result in json.loads(outcome.out)["targets"].items()
    }
    assert rows == {"arm": ["max_size_mb"], "arm@pi": ["max_latency_ms", "max_size_mb"]}
    outcome = run("validate", built / "arm", "--on", "core", *limits)
    assert outcome.code == 1
    assert "arm max_latency_ms: not measured (nothing was timed)" in outcome.err


@pytest.fixture
def project(tiny: Any) -> Path:
    text = tiny.project.read_text()
    tiny.project.write_text(f'{text}devices = ["local", "pi", "core"]\n')
    return Path(tiny.project)


def test_the_project_names_devices(run: Run, project: Path, tmp_path: Path) -> None:
    outcome = run("build", project, "--out", tmp_path / "dist")
    assert (outcome.code, outcome.err) == (0, "")
    report = json.loads((tmp_path / "dist" / "report.json").read_text())
    assert list(report["targets"]) == ["arm", "arm@pi", "arm@core"]
    assert {row["artifact"] for row in report["targets"].values()} == {"arm/tiny.onnx"}
    assert {"validation arm", "validation arm@pi", "validation arm@core"} <= set(report["timings"])
    page = (tmp_path / "dist" / "report.html").read_text()
    assert "on pi" in page and "on core" in page
    # each device was asked before any work, and used again afterwards
    hosts = [host for host, _ in StandInDevice.started]
    assert sorted(hosts) == ["board", "board", "emulated", "emulated"]
    # the project's devices also serve a later validation of its artifacts
    again = validated(run, tmp_path / "dist", "--project", project)
    assert list(again["targets"]) == ["arm", "arm@pi", "arm@core"]


def test_flags_and_arguments_win_over_the_project(run: Run, project: Path, tmp_path: Path) -> None:
    outcome = run("build", project, "--on", "core", "--out", tmp_path / "flags", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    targets = json.loads(outcome.out)["targets"]
    assert {key: row["device"] for key, row in targets.items()} == {"arm": "core"}
    result = edgewise.build(project, devices=["core"], out=tmp_path / "arguments")
    assert [row.device for row in result.report.targets.values()] == ["core"]


@pytest.mark.parametrize("broken", ["ssh://dead", "nobody"])
def test_a_device_that_is_not_there_ends_a_build_before_any_work(
    run: Run, tiny: Any, broken: str, tmp_path: Path
) -> None:
    tiny.model.write_text("never read")  # a model error would show that work had begun
    out = tmp_path / "dist"
    outcome = run(*tiny.build_flags(out), "--on", "core", "--on", broken)
    assert outcome.code == 5
    assert broken in outcome.line
    assert not out.exists()


@pytest.mark.parametrize(
    ("devices", "code", "said"),
    [
        ('["mac"]', 2, "artifacts for arm do not run on 'mac'"),
        ('["pi", "pi"]', 2, "'pi' is named twice"),
        ('["pie"]', 5, "did you mean 'pi'"),
        ("[]", 2, "found []; allowed: a list of devices"),
        ('"pi"', 2, "found 'pi'; allowed: a list of devices"),
    ],
)
def test_devices_of_a_project_that_cannot_be(
    run: Run, tiny: Any, devices: str, code: int, said: str, tmp_path: Path
) -> None:
    tiny.project.write_text(f"{tiny.project.read_text()}devices = {devices}\n")
    outcome = run("build", tiny.project, "--out", tmp_path / "dist")
    assert outcome.code == code
    assert said in outcome.line
    assert not (tmp_path / "dist").exists()


def test_python_validates_on_a_named_device(shared_tiny: Any, built: Path) -> None:
    result = edgewise.validate(built / "arm", evaluation=shared_tiny.evaluation, device="pi")
    assert (result.device, result.latency.threads) == ("pi", 2)
    here = edgewise.validate(built / "arm", evaluation=shared_tiny.evaluation)
    assert result.accuracy == here.accuracy
    assert replace(result.equivalence, floor=None) == replace(here.equivalence, floor=None)


def test_a_file_runs_on_a_device(run: Run, built: Path, tmp_path: Path) -> None:
    feeds = {"image": np.linspace(0, 1, 192, dtype=np.float32).reshape(1, 3, 8, 8)}
    alone = tmp_path / "alone.onnx"
    shutil.copy(built / "arm" / "tiny.onnx", alone)
    here = edgewise.run(alone, feeds)
    for path in (alone, built / "arm"):
        there = edgewise.run(path, feeds, device="pi")
        np.testing.assert_array_equal(there["scores"], here["scores"])
    np.savez(tmp_path / "x.npz", **feeds)
    outcome = run("run", alone, "--on", "pi", "--input", tmp_path / "x.npz")
    assert outcome.code == 0 and outcome.out.splitlines()[1].startswith("scores")
    outcome = run("run", built / "apple", "--on", "pi")
    assert outcome.code == 5 and "the file does not run there" in outcome.line
    assert len(StandInDevice.started) == 3


def test_emulated_cores_agree(run: Run, shared_tiny: Any, built: Path, emulator: object) -> None:
    cores = "--on", "emulated:cortex-a53", "--on", "emulated:cortex-a76"
    data = "--evaluation", shared_tiny.evaluation
    targets = validated(run, built / "arm", *data, *cores)["targets"]
    assert list(targets) == ["arm", "arm@emulated:cortex-a76"]
    small, large = targets.values()
    assert small["accuracy"] == large["accuracy"]
    assert small["equivalence"] == large["equivalence"]
    assert (small["facts"]["cpu"], large["facts"]["cpu"]) == ("Cortex-A53", "Cortex-A76")
    assert small["latency"]["median_ms"] is None
