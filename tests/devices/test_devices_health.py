"""What a device's own words and the course of its times say of how fit it was to be timed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgewise.targets.validation.devices.cpu_names import core_name, cores_named
from edgewise.targets.validation.devices.facts import device_facts
from edgewise.targets.validation.devices.health import health_findings

CALM: dict[str, Any] = {
    "temperature_c": 40.0,
    "governor": "schedutil",
    "mhz": [1800.0],
    "load": 0.1,
    "throttled": 0,
}


def blocks(*medians: float, runs: int = 20, seed: int = 0) -> list[list[float]]:
    noise = np.random.default_rng(seed)
    return [(median * noise.uniform(0.98, 1.02, runs)).tolist() for median in medians]


STEADY = blocks(*[10.0] * 10)


def rules(before: dict[str, Any], after: dict[str, Any], times: list[list[float]]) -> list[str]:
    found = health_findings({**CALM, **before}, {**CALM, **after}, times, cores=4, threads=1)
    assert all(finding.remedy for finding in found)
    return [finding.rule for finding in found]


def test_a_calm_device_needs_no_words() -> None:
    assert rules({}, {}, STEADY) == []


def test_late_runs_that_take_longer_are_throttling() -> None:
    drifting = blocks(*np.linspace(10, 14, 10))
    after = {**CALM, "temperature_c": 82.4, "mhz": [1200.0]}
    (finding,) = health_findings(CALM, after, drifting, cores=4, threads=1)
    assert finding.rule == "device/throttling"
    assert "40 to 82 °C" in finding.message and "1800 to 1200 MHz" in finding.message
    assert "13.7 ms for 10.5 ms" in finding.message


@pytest.mark.parametrize(
    "medians",
    [
        [14, 12, 10, 10, 10, 10, 10, 10, 10, 10],  # it warmed up
        [10, 10, 10, 10, 30, 10, 10, 10, 10, 10],  # one slow moment
        [10, 10, 10, 10, 10, 10, 10, 10, 10, 30],  # at the very end
        [10, 15, 10, 10, 10, 10, 10, 15, 10, 15],  # noise
        [10.0, 10.0, 10.0, 10.2, 10.3, 10.4, 10.4, 10.5, 10.5, 10.6],  # hardly
        [10, 20, 30],  # too few to say
        [],
    ],
)
def test_what_is_no_drift(medians: list[float]) -> None:
    assert "device/throttling" not in rules({}, {}, blocks(*medians))


def test_the_flags_of_a_board_are_read() -> None:
    capped = {"throttled": 0x2 | 0x20000}
    (finding,) = health_findings(CALM, {**CALM, **capped}, STEADY, cores=4, threads=1)
    assert "its clock is capped" in finding.message
    # since the boot, but before the runs
    assert rules({"throttled": 0x50000}, {"throttled": 0x50000}, STEADY) == []
    assert rules({"throttled": 0}, {"throttled": 0x50000}, STEADY) == ["device/throttling"]
    assert rules({"throttled": None}, {"throttled": None}, STEADY) == []


def test_a_load_before_the_runs_is_told() -> None:
    (finding,) = health_findings({**CALM, "load": 3.6}, CALM, STEADY, cores=4, threads=1)
    assert finding.rule == "device/busy" and "a load of 3.6 on 4 cores" in finding.message
    assert rules({"load": 2.9}, {}, STEADY) == []
    assert rules({"load": None}, {"load": 9.0}, STEADY) == []


def test_a_clock_that_is_held_down_is_told() -> None:
    assert rules({"governor": "powersave"}, {}, STEADY) == ["device/governor"]
    assert rules({"governor": None}, {}, STEADY) == []


def test_long_tails_are_told() -> None:
    noisy = [[10.0] * 19 + [45.0] for _ in range(10)]
    (finding,) = health_findings(CALM, CALM, noisy, cores=4, threads=1)
    assert finding.rule == "device/noisy" and "4.5 times the median of 10 ms" in finding.message


def test_cores_have_names() -> None:
    assert core_name("0x41", "0xd03") == "Cortex-A53"
    assert core_name("0x51", "0x804") == "Kryo 4xx Gold (Cortex-A76)"
    assert core_name("0x41", "0xfff") == "ARM part 0xfff"
    assert core_name("0x77", "0x001") == "maker 0x77 part 0x001"
    assert core_name("", "") == ""
    assert cores_named([["0x41", "0xd08"]] * 4) == "Cortex-A72"
    clusters = [["0x41", "0xd05"]] * 4 + [["0x41", "0xd0b"]] * 2
    assert cores_named(clusters) == "4x Cortex-A55 + 2x Cortex-A76"
    assert cores_named([]) == ""


HELLO = {
    "machine": "aarch64",
    "system": "6.1.0",
    "cores": 4,
    "cpus": [["0x41", "0xd08"]] * 4,
    "features": ["asimd"],
    "max_mhz": [1500.0],
    "model": "Raspberry Pi 4",
    "versions": {"onnxruntime": "1.32.0"},
}


def test_a_phone_names_its_model_also_where_it_is_emulated() -> None:
    about = {"model": "Acme Phone 7", "system": "Android 14", "battery": "81 %"}
    for emulated, system in ((True, "Android 14"), (False, "Android 14, Linux 6.1.0")):
        facts = device_facts("a", "litert", HELLO, CALM, CALM, emulated=emulated, about=about)
        assert (facts.model, facts.system) == ("Acme Phone 7", system)


def test_facts_of_a_board() -> None:
    after = {**CALM, "temperature_c": 61.0, "load": 1.3}
    facts = device_facts("a board", "onnxruntime", HELLO, CALM, after, emulated=False)
    assert facts.cpu == "Cortex-A72, up to 1.5 GHz" and facts.cores == 4
    assert facts.model == "Raspberry Pi 4" and facts.system == "Linux 6.1.0"
    assert facts.runtime == "ONNX Runtime 1.32.0"
    assert (facts.temperature_before_c, facts.temperature_after_c) == (40.0, 61.0)
    assert (facts.load, facts.governor) == (0.1, "schedutil")


def test_what_is_this_machines_is_no_fact_of_an_emulated_core() -> None:
    facts = device_facts("emulated", "litert", HELLO, CALM, CALM, emulated=True)
    assert facts.cpu == "Cortex-A72" and facts.runtime == "LiteRT"
    told = (facts.cores, facts.load, facts.governor, facts.system, facts.temperature_before_c)
    assert told == (None,) * 5
