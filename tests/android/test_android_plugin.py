"""The vendors' compilers through LiteRT's plug-ins: what is told with the SDK, and without."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise.errors import UsageError
from edgewise.targets.android import TARGET
from edgewise.targets.android.delegates import plugin as plugins
from edgewise.targets.android.delegates.plugin import VENDORS, Plugin, plugin_findings
from edgewise.targets.base import EmitOptions

#: what the tool says where a plug-in takes 60 of 64 operators in two subgraphs
_SAID = """
Partitioned subgraph<0>, selected 50 ops, from a total of 54 ops. resulted in 2 partitions.
Partitioned subgraph<1>, selected 10 ops, from a total of 10 ops. resulted in 1 partitions.
"""


@pytest.fixture
def artifact(kit: Any, tmp_path: Path, rng: Any) -> Any:
    x = rng.standard_normal((1, 3, 8, 8)).astype(np.float32)
    weights = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    layer = kit.node("Conv", ["x", "w"], ["y"])
    source = kit.model([layer], {"x": x}, {"y": np.float32}, {"w": weights})
    return TARGET.emit(kit.calibrated(source, [{"x": x}]), tmp_path, "w8a8")


@pytest.mark.parametrize(
    "text", ["", "qualcomm", "qualcomm:", "nvidia:A100", "qualcomm:SM8750:cpu"]
)
def test_other_plugins_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"vendor:chip, such as qualcomm:SM8750"):
        Plugin.of(text)


def test_vendor_chip_and_device() -> None:
    assert Plugin.of("mediatek:mt6991") == Plugin(VENDORS["mediatek"], "mt6991")
    assert Plugin.of("intel:PTL:cpu") == Plugin(VENDORS["intel"], "PTL", "cpu")


def _saying(monkeypatch: pytest.MonkeyPatch, code: int, text: str) -> list[list[str]]:
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        return subprocess.CompletedProcess(command, code, text.encode())

    monkeypatch.setattr(plugins.subprocess, "run", run)
    return commands


def test_what_a_compiler_takes_is_summed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands = _saying(monkeypatch, 0, _SAID)
    (found,) = plugin_findings(tmp_path / "m.tflite", Plugin.of("intel:PTL:cpu"))
    assert (found.rule, found.severity) == ("android/plugin", "info")
    assert "compiles 60 of 64 operators for PTL, in 3 group(s)" in found.message
    assert "--soc_model=PTL" in commands[0]
    assert "--intel_openvino_graph_backends=cpu" in commands[0]
    assert f"--model={tmp_path / 'm.tflite'}" in commands[0]


@pytest.mark.parametrize(
    ("code", "said", "rule", "reason"),
    [
        (6, "└ Could not load shared library a.so: b.so: no such file", "unavailable", "b.so"),
        (3, "nothing to go by", "unavailable", "exit code 3"),
        (8, f"{_SAID}\nERROR: [x.cc:1] no such tile", "failed", "no such tile"),
    ],
)
def test_failures_give_the_tools_reason(
    monkeypatch: pytest.MonkeyPatch, code: int, said: str, rule: str, reason: str
) -> None:
    _saying(monkeypatch, code, said)
    (found,) = plugin_findings(Path("m.tflite"), Plugin.of("qualcomm:SM8750"))
    assert (found.rule, found.severity) == (f"android/plugin-{rule}", "warning")
    assert reason in found.message
    assert ("ai-edge-litert-sdk-qualcomm" in found.remedy) == (rule == "unavailable")


def test_a_tool_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, 1)

    monkeypatch.setattr(plugins.subprocess, "run", run)
    (found,) = plugin_findings(Path("m.tflite"), Plugin.of("intel:PTL"))
    assert found.rule == "android/plugin-failed" and "did not finish" in found.message


def test_a_package_without_the_tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(plugins, "_package_folder", lambda module: tmp_path)
    (found,) = plugin_findings(Path("m.tflite"), Plugin.of("intel:PTL"))
    assert found.rule == "android/plugin-unavailable" and "cannot be run" in found.message


def _has(vendor: str) -> bool:
    return importlib.util.find_spec(VENDORS[vendor].module) is not None


@pytest.mark.skipif(_has("qualcomm"), reason="the Qualcomm SDK is installed")
def test_without_the_sdk_the_missing_library_is_named(artifact: Any) -> None:
    (found,) = plugin_findings(artifact.path, Plugin.of("qualcomm:SM8750"))
    assert found.rule == "android/plugin-unavailable"
    assert "libQnnHtp.so" in found.message


@pytest.mark.skipif(not _has("intel"), reason="openvino, Intel's SDK, is not installed")
def test_openvino_compiles_the_file(artifact: Any) -> None:
    (found,) = plugin_findings(artifact.path, Plugin.of("intel:PTL:cpu"))
    assert found.rule == "android/plugin", found.message
    assert "compiles 1 of 1 operators for PTL, in 1 group(s)" in found.message


def test_emission_asks_and_tells(monkeypatch: pytest.MonkeyPatch, kit: Any, tmp_path: Path) -> None:
    x = np.zeros((2, 3), np.float32)
    source = kit.model([kit.node("Abs", ["x"], ["y"])], {"x": x}, {"y": np.float32})
    commands = _saying(monkeypatch, 0, _SAID)
    options = EmitOptions(options={"plugin": "mediatek:mt6991"})
    artifact = TARGET.emit(source, tmp_path, options=options)
    assert "android/plugin" in [finding.rule for finding in artifact.findings]
    assert f"--model={artifact.path.absolute()}" in commands[0]
    assert artifact.manifest.options["plugin"] == "mediatek:mt6991"
