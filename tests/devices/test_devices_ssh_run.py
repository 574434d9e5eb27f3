"""Artifacts on a board of ARM64 programs behind a real sshd, from the command line on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from arm_board.server import free_port
from arm_board.ssh_board import SshBoard

from edgewise.errors import DeviceError
from edgewise.targets.validation.devices.bundle.installation import CACHE_VARIABLE, Installation
from edgewise.targets.validation.devices.link import RunnerLink
from edgewise.targets.validation.devices.openssh import COMMAND_VARIABLE

pytestmark = pytest.mark.slow
_SAMPLE = Path(__file__).parents[2] / "sample_models" / "digits"


def edgewise(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgewise", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def link(ssh_board: SshBoard, emulator: Installation) -> Iterator[RunnerLink]:
    running = RunnerLink(ssh_board.device(emulator))
    yield running
    running.close()


def test_both_artifacts_are_validated_and_the_bundle_is_sent_once(
    ssh_board: SshBoard, digits: Path
) -> None:
    before = ssh_board.server.pushes()
    data = "--evaluation", _SAMPLE / "evaluation.npz", "--limit", "40"
    done = edgewise("validate", digits, *data, "--on", ssh_board.address, "--json")
    assert done.returncode == 0, done.stderr
    assert ssh_board.server.pushes() <= before + 1
    assert len([name for name in ssh_board.files(ssh_board.place) if "-" not in name]) == 1
    targets = json.loads(done.stdout)["targets"]
    assert set(targets) == {"android", "arm"}
    for result in targets.values():
        assert result["device"].startswith(ssh_board.address)
        assert result["accuracy"]["samples"] == 40
        assert result["accuracy"]["drop"] <= 0.025
        assert result["equivalence"]["argmax_agreement"] >= 0.995
        # the board of this test is emulated, and says so: no time is shown
        assert result["latency"]["median_ms"] is None
        assert "emulated" in result["latency"]["reason"]


def test_a_line_that_breaks_in_mid_run_is_mended_once(
    ssh_board: SshBoard, link: RunnerLink, digits: Path
) -> None:
    pushes = ssh_board.server.pushes()
    model = link.open(digits / "arm" / "digits.onnx", "onnxruntime", threads=1, outputs=["logits"])
    with np.load(_SAMPLE / "evaluation.npz") as stored:
        picture = stored["image"][:1]
    (expected,) = model.run([{"image": picture}])
    ssh_board.server.cut()
    (again,) = model.run([{"image": picture}])
    assert np.array_equal(again["logits"], expected["logits"])
    assert [finding.rule for finding in link.findings] == ["device/retried"]
    assert "the connection broke" in link.findings[0].message
    assert ssh_board.server.pushes() == pushes
    ssh_board.server.cut()
    with pytest.raises(DeviceError, match="the connection broke") as caught:
        model.run([{"image": picture}])
    assert caught.value.exit_code == 5


def test_a_dead_host_ends_the_command_with_one_line(ssh_board: SshBoard, digits: Path) -> None:
    address = f"ssh://127.0.0.1:{free_port()}"
    done = edgewise("validate", digits, "--target", "arm", "--on", address)
    assert done.returncode == 5
    (line,) = done.stderr.strip().splitlines()
    assert f"{address}: the host answers, but no ssh server does" in line


def test_a_key_that_is_not_let_in_ends_the_command_with_one_line(
    ssh_board: SshBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(COMMAND_VARIABLE, ssh_board.server.ssh_of_a_stranger())
    done = edgewise("devices", "test", ssh_board.address)
    assert done.returncode == 5
    (line,) = done.stderr.strip().splitlines()
    assert f"{ssh_board.address}: the host does not let this user in" in line


def test_cleaning_takes_everything_away_with_nothing_installed_here(
    ssh_board: SshBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    ssh_board.device().clean()
    assert ssh_board.files(ssh_board.place) == []
    assert ssh_board.files("/root/.cache /tmp /var/tmp") == ["/root/.cache:", "/tmp:", "/var/tmp:"]
