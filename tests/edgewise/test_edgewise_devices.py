"""`edgewise devices`: the list, and names added, tested and removed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stand_in_device import StandInDevice, stand_in

from edgewise.targets.validation.devices import registry
from edgewise.targets.validation.devices.adb_client import COMMAND_VARIABLE
from edgewise.targets.validation.devices.bundle.installation import CACHE_VARIABLE
from edgewise.targets.validation.devices.registry import NamedDevice

__all__ = ["stand_in"]

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: object) -> None:
    monkeypatch.setenv(registry.CONFIG_VARIABLE, str(tmp_path / "config"))
    monkeypatch.setenv(COMMAND_VARIABLE, str(tmp_path / "no-adb"))


def test_a_device_is_added_once_it_answered(run: Run) -> None:
    outcome = run("devices", "add", "pi", "ssh://board", "--threads", "4")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("pi: ssh://board (threads 4)\n")
    assert "ssh://board (stand-in)" in outcome.out and "round trip" in outcome.out
    assert "bundle        /far/away/bundle, sent now\n" in outcome.out
    assert registry.registered() == {"pi": NamedDevice("pi", "ssh://board", 4)}


def test_a_device_that_does_not_answer_is_not_added(run: Run) -> None:
    outcome = run("devices", "add", "attic", "ssh://dead")
    assert outcome.code == 5
    assert "ssh://dead: cannot be reached" in outcome.line
    assert "It was not added; --no-test" in outcome.line
    assert registry.registered() == {}
    outcome = run("devices", "add", "attic", "ssh://dead", "--no-test")
    assert (outcome.code, outcome.out) == (0, "attic: ssh://dead\n")
    assert StandInDevice.started == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("local", "ssh://board"), 2, "cannot be named 'local'"),
        (("pi", "board"), 5, "there is no device 'board'"),
        (("pi", "ssh://board", "--threads", "0"), 2, "at least 1"),
        (("pi", "adb", "--benchmark-model", "/no/such/tool"), 2, "/no/such/tool: no such file"),
    ],
)
def test_what_cannot_be_added(run: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    outcome = run("devices", "add", *arguments)
    assert outcome.code == code
    assert said in outcome.line
    assert registry.registered() == {}
    assert StandInDevice.started == []


def test_lost_comments_are_told(run: Run) -> None:
    registry.registry_path().parent.mkdir()
    registry.registry_path().write_text('# my board\n[pi]\naddress = "ssh://board"\n')
    outcome = run("devices", "add", "core", "ssh://emulated", "--no-test")
    assert outcome.out.endswith("note: comments in devices.toml were not kept\n")


def test_the_list_connects_to_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add(NamedDevice("pi", "ssh://dead", 2))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "empty"))
    outcome = run("devices")
    assert (outcome.code, outcome.err) == (0, "")
    assert "pi     ssh://dead  threads 2\n" in outcome.out
    assert "no emulated cores: the ARM64 bundle is not installed" in outcome.out
    assert "Run `edgewise emulator install` once" in outcome.out
    assert "no phones: adb is not installed" in outcome.out
    document = json.loads(run("devices", "--json").out)
    assert [row["device"] for row in document["devices"]] == ["local", "pi"]
    assert len(document["hints"]) == 2
    assert StandInDevice.started == []


def test_attached_phones_are_listed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adb = tmp_path / "adb"
    adb.write_text(
        "#!/bin/sh\n[ $1 = devices ] || exit 0\n"
        "printf 'List of devices attached\\nXY12 device model:Pixel_8\\nZZ unauthorized\\n'\n"
    )
    adb.chmod(0o700)
    monkeypatch.setenv(COMMAND_VARIABLE, str(adb))
    outcome = run("devices", "--json")
    rows = {row["device"]: row["note"] for row in json.loads(outcome.out)["devices"]}
    assert rows["adb:XY12"] == "Pixel 8"
    assert rows["adb:ZZ"] == "unauthorized"


@pytest.mark.parametrize("text", ["pi", "ssh://board"])
def test_a_device_tells_of_itself(run: Run, text: str) -> None:
    registry.add(NamedDevice("pi", "ssh://board"))
    document = json.loads(run("devices", "test", text, "--json").out)
    assert (document["device"], document["address"]) == (text, "ssh://board")
    assert document["description"] == "ssh://board (stand-in)"
    assert document["machine"]["cores"] >= 1 and document["runtimes"]["onnxruntime"]
    assert document["round_trip_ms"] > 0 and document["connect_seconds"] > 0


def test_an_emulated_core_tells_nothing_of_this_machine_and_no_times(run: Run) -> None:
    document = json.loads(run("devices", "test", "ssh://emulated", "--json").out)
    assert document["latency_reason"] == "nothing was timed"
    assert (document["status"], document["round_trip_ms"]) == ({}, None)
    told = {"cpus", "features", "machine", "python", "versions"}
    assert document["machine"].keys() == told and document["runtimes"]["onnxruntime"]
    outcome = run("devices", "test", "ssh://emulated")
    assert "not measured there: nothing was timed" in outcome.out
    for label in ("load", "clock", "round trip", "memory", "cores"):
        assert label not in outcome.out


def test_this_machine_tells_of_itself(run: Run) -> None:
    outcome = run("devices", "test", "local")
    assert outcome.code == 0
    assert outcome.out.startswith("device    this machine\n") and "onnxruntime" in outcome.out


@pytest.mark.parametrize(
    ("text", "said"),
    [("ssh://dead", "ssh://dead: cannot be reached"), ("nobody", "there is no device 'nobody'")],
)
def test_a_device_that_is_not_there(run: Run, text: str, said: str) -> None:
    outcome = run("devices", "test", text)
    assert outcome.code == 5
    assert said in outcome.line


def test_removing_a_device_deletes_its_files(run: Run) -> None:
    registry.add(NamedDevice("pi", "ssh://board"))
    outcome = run("devices", "remove", "pi")
    assert (outcome.code, outcome.err) == (0, "")
    assert "deleted there: /far/away/bundle" in outcome.out
    assert StandInDevice.cleaned == ["board"]
    assert registry.registered() == {}


def test_files_can_be_kept(run: Run) -> None:
    registry.add(NamedDevice("pi", "ssh://board"))
    outcome = run("devices", "remove", "pi", "--keep-files")
    assert outcome.out == "pi is no name of a device any more\n"
    assert StandInDevice.cleaned == []


def test_files_that_stay_are_told(run: Run) -> None:
    registry.add(NamedDevice("attic", "ssh://dead"))
    outcome = run("devices", "remove", "attic")
    assert outcome.code == 0
    assert "could not be deleted: ssh://dead: cannot be reached" in outcome.out
    assert registry.registered() == {}


def test_a_name_that_is_none(run: Run) -> None:
    registry.add(NamedDevice("board", "ssh://board"))
    outcome = run("devices", "remove", "bord")
    assert outcome.code == 2
    assert "no device is named 'bord': did you mean 'board'?" in outcome.line


def test_an_emulated_core_by_name(run: Run, emulator: object) -> None:
    registry.add(NamedDevice("small", "emulated:cortex-a53"))
    outcome = run("devices", "test", "small")
    assert (outcome.code, outcome.err) == (0, "")
    assert "emulated:cortex-a53" in outcome.out and "Cortex-A53" in outcome.out
    assert "not measured there" in outcome.out
    assert "emulated:cortex-a53" in run("devices").out
