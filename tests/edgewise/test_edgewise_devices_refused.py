"""What `edgewise devices add` refuses before it connects to anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stand_in_device import StandInDevice, stand_in

from edgewise.targets.validation.devices import registry
from edgewise.targets.validation.devices.registry import NamedDevice

__all__ = ["stand_in"]

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: object) -> None:
    monkeypatch.setenv(registry.CONFIG_VARIABLE, str(tmp_path / "config"))


def test_a_name_that_is_taken(run: Run) -> None:
    registry.add(NamedDevice("pi", "ssh://board"))
    outcome = run("devices", "add", "pi", "ssh://other")
    assert outcome.code == 2
    assert "there is a device 'pi' already: it is ssh://board" in outcome.line
    assert StandInDevice.started == []


def test_the_vendors_tool_of_what_is_no_phone(run: Run, tmp_path: Path) -> None:
    tool = tmp_path / "benchmark_model"
    tool.touch()
    outcome = run("devices", "add", "pi", "ssh://board", "--benchmark-model", str(tool))
    assert outcome.code == 2
    assert "benchmark_model is for phones only: ssh://board is none" in outcome.line
    assert registry.registered() == {} and StandInDevice.started == []
