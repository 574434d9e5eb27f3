"""What a phone says of itself, and which device its delegates are timed on."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewise.errors import DeviceError
from edgewise.targets.base import Artifact, Manifest
from edgewise.targets.validation import delegates
from edgewise.targets.validation.devices.benchmark_model import measure_delegates
from edgewise.targets.validation.devices.phone import phone_facts
from edgewise.targets.validation.devices.store import Said

_SAID = """\
ro.product.manufacturer=Google
ro.product.model=Pixel 7
ro.product.cpu.abi=arm64-v8a
ro.product.cpu.abilist=arm64-v8a,armeabi-v7a,armeabi
ro.build.version.release=14
ro.build.version.sdk=34
machine=aarch64
Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  level: 93
  scale: 100
  voltage: 4312
  temperature: 287
IsStatusOverride: false
Thermal Status: 3
"""


def test_a_phone_tells_its_battery_and_heat() -> None:
    facts = phone_facts(_SAID)
    assert str(facts) == "Google Pixel 7, Android 14"
    assert (facts.sdk, facts.machine, facts.abi) == (34, "aarch64", "arm64-v8a,armeabi-v7a,armeabi")
    assert (facts.battery_percent, facts.battery_c, facts.powered) == (93, 28.7, True)
    assert facts.thermal == "severe"
    assert facts.told() == {
        "model": "Google Pixel 7",
        "system": "Android 14",
        "battery": "93 %, 28.7 °C, plugged in",
        "throttling": "severe",
    }


def test_what_a_phone_does_not_tell_is_none() -> None:
    facts = phone_facts("ro.product.manufacturer=\nro.product.model=\nmachine=aarch64\n")
    assert str(facts) == "Android"
    assert facts.sdk is None and facts.battery_percent is None and facts.battery_c is None
    assert facts.powered is None and facts.thermal is None
    assert facts.told() == {"system": "Android"}


def test_a_maker_in_the_models_name_is_told_once() -> None:
    said = "ro.product.manufacturer=samsung\nro.product.model=Samsung SM-G991B\n"
    assert phone_facts(said).model == "Samsung SM-G991B"


class _Shell:
    """A phone whose shell answers the same to everything."""

    address = "adb:XYZ"

    def __init__(self, said: Said) -> None:
        self.said = said
        self.scripts: list[str] = []

    def run(self, script: str, *, source: Path | None = None, timeout: float) -> Said:
        self.scripts.append(script)
        return self.said


def _measure(said: Said, tmp_path: Path, tool: bytes = b"#!/bin/sh\n", **options: object):
    files = tmp_path / "benchmark_model", tmp_path / "model.tflite"
    for path, content in zip(files, (tool, b"TFL3"), strict=True):
        path.write_bytes(content)
    shell = _Shell(said)
    return measure_delegates(shell, *files, delegates=("gpu",), **options), shell.scripts


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (Said(139, "INFO: STARTING!\n", ""), "benchmark_model was ended by signal 11: INFO: START"),
        (Said(1, "ERROR: Failed to apply GPU delegate.\n", ""), "failed with code 1: Failed to"),
        (
            Said(0, "INFO: GPU acceleration is unsupported on this platform.\n", ""),
            "the GPU delegate does not run the graph, the processor did",
        ),
        (
            Said(
                0,
                "Explicitly applied GPU delegate, and the model graph will be completely executed "
                "by the delegate.\nlast words\n",
                "",
            ),
            "benchmark_model printed no times: last words",
        ),
    ],
)
def test_what_is_not_measured_has_a_reason(said: Said, reason: str, tmp_path: Path) -> None:
    ((gpu,), _) = _measure(said, tmp_path)
    assert reason in gpu.reason
    assert gpu.median_ms is None and gpu.average_ms is None and gpu.operators == ()


def test_options_of_the_tool_reach_it_quoted(tmp_path: Path) -> None:
    _, (script,) = _measure(
        Said(0, "", ""), tmp_path, threads=4, profile=True, arguments=["--gpu_backend=cl; reboot"]
    )
    assert "--use_gpu=true --num_threads=4 --enable_op_profiling=true" in script
    assert "'--gpu_backend=cl; reboot'" in script


def test_a_tool_for_another_processor_is_refused(tmp_path: Path) -> None:
    x86_64 = b"\x7fELF\x02\x01\x01" + bytes(11) + (62).to_bytes(2, "little")
    with pytest.raises(DeviceError, match="the benchmark tool is no ARM64 program"):
        _measure(Said(0, "", ""), tmp_path, x86_64)


def test_a_device_without_the_tool_times_no_delegates() -> None:
    assert delegates.time_delegates("local", _artifact()) == ()


def _artifact() -> Artifact:
    manifest = Manifest("net", "android", "w8a8", (), (), files={}, versions={})
    return Artifact(Path("net.tflite"), manifest)
