"""Counts of instructions as figures and as gates; the emulator is not asked."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgewise.errors import DeviceError, UsageError
from edgewise.targets.base import Artifact, Target
from edgewise.targets.validation import (
    Accuracy,
    Budget,
    BudgetResult,
    InstructionBaseline,
    Instructions,
    Latency,
    check_budget,
)
from edgewise.targets.validation.devices.address import DeviceAddress
from edgewise.targets.validation.devices.bundle.installation import (
    CACHE_VARIABLE,
    Bundle,
    Installation,
)
from edgewise.targets.validation.devices.counter.count import count_runs, fewest
from edgewise.targets.validation.devices.counter.device import CountingDevice, Region
from edgewise.targets.validation.devices.link import RemoteModel
from edgewise.targets.validation.instruction_baseline import Rise
from edgewise.targets.validation.instructions import count_instructions

CPU = "emulated:cortex-a53"
COUNTED = Instructions(CPU, 1000, {"dot": 1000}, 2000, 0.5, 3, runtime="ONNX Runtime 1.32.0")
RESULT = {
    "target": "arm",
    "precision": "w8a8",
    "instructions": {"device": CPU, "total": 1000, "runtime": "ONNX Runtime 1.32.0"},
}


def installation(folder: Path) -> Installation:
    bundle = Bundle(folder, folder / "bundle.tar.gz", "digest", {"onnxruntime": "1.32.0"})
    return Installation(bundle, folder / "qemu", "10.0.2")


class ScriptedDevice(CountingDevice):
    """Gives the regions that a test wrote down; implements what `count_runs` asks."""

    def __init__(self, batches: list[list[Region]]) -> None:
        self.address, self._batches = CPU, batches

    def regions(self) -> list[Region]:
        return self._batches.pop(0)


def counted(regions: list[Region], runs: int = 3) -> list[Region]:
    link = SimpleNamespace(device=ScriptedDevice([[Region({"dot": 99})], regions]))
    model = cast(RemoteModel, SimpleNamespace(link=link, count=lambda warmup, runs: None))
    return count_runs(model, runs)


def regions_of(*totals: int, elsewhere: int = 0) -> list[Region]:
    return [Region({"dot": total}, elsewhere) for total in totals]


def test_the_fewest_of_the_runs_less_what_marks_cost() -> None:
    warmup = regions_of(500, 400)
    regions = counted([*warmup, *regions_of(11, 10, 12), *regions_of(110, 111, 140)])
    assert [region.total for region in regions] == [100, 101, 130]
    assert fewest(regions).by_class == {"dot": 100}


def test_a_region_that_is_missing_is_told() -> None:
    with pytest.raises(DeviceError, match="5 of 6 regions were counted"):
        counted(regions_of(10, 10, 10, 110, 110))


def test_work_on_other_threads_is_told() -> None:
    empty = regions_of(10, 10, 10)
    with pytest.raises(DeviceError, match="50 instructions of an inference ran on other threads"):
        counted([*empty, *regions_of(110, 110, 110, elsewhere=50)])
    assert len(counted([*empty, *regions_of(110, 110, elsewhere=50), *regions_of(110)])) == 3


@pytest.mark.parametrize("device", ["local", "ssh://pi@board"])
def test_only_emulated_devices_count(device: str) -> None:
    found = count_instructions(cast(Target, None), cast(Artifact, None), None, device, {})
    assert found == Instructions.not_counted(
        device, "instructions are counted on emulated devices only, such as emulated:cortex-a53"
    )


def test_without_a_counter_the_reason_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = {"root": str(tmp_path), "archive": str(tmp_path), "digest": "x", "versions": {}}
    record = {"bundle": bundle, "qemu": str(tmp_path), "qemu_version": "10.0.2"}
    (tmp_path / "emulator.json").write_text(json.dumps(record))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    found = count_instructions(
        cast(Target, None),
        SimpleNamespace(target="arm"),
        None,
        CPU,
        {},  # type: ignore[arg-type]
    )
    assert (found.total, found.runs) == (None, 0)
    assert "edgewise emulator install --counter" in str(found.reason)
    with pytest.raises(DeviceError, match="the counter is not installed"):
        CountingDevice(DeviceAddress.of(CPU), installation(tmp_path))


def check(budget: Budget, instructions: Instructions, rise: Rise | None) -> dict[str, BudgetResult]:
    results = check_budget(
        budget,
        accuracy=Accuracy(None, None, None, None, None, 0),
        latency=Latency("local", 1, None, None, None, None, None),
        size_bytes=1,
        instructions=instructions,
        rise=rise,
    )
    return {result.name: result for result in results}


def test_a_limit_on_instructions() -> None:
    for limit, ok in ((1000, True), (999, False)):
        found = check(Budget(max_instructions=limit), COUNTED, None)
        assert found == {"max_instructions": BudgetResult("max_instructions", limit, 1000, ok)}


def test_instructions_that_were_not_counted_miss_their_limit() -> None:
    missing = Instructions.not_counted("local", "the reason")
    found = check(Budget(max_instructions=10), missing, None)["max_instructions"]
    assert (found.ok, found.value, found.reason) == (False, None, "the reason")


@pytest.mark.parametrize(
    ("rise", "allowed", "ok"),
    [(0.005, None, True), (0.0051, None, False), (-0.2, None, True), (0.03, 0.03, True),
     (0.001, 0.0, False)],
)  # fmt: skip
def test_a_rise_is_judged_by_the_users_limit_or_half_a_percent(
    rise: float, allowed: float | None, ok: bool
) -> None:
    found = check(Budget(max_instructions_rise=allowed), COUNTED, Rise(rise))
    assert found["max_instructions_rise"].ok is ok


def test_a_limit_on_the_rise_is_no_budget_without_a_baseline() -> None:
    assert check(Budget(max_instructions_rise=0.01), COUNTED, None) == {}


def baseline(folder: Path, *results: Any) -> InstructionBaseline:
    path = folder / "earlier.json"
    path.write_text(json.dumps({"targets": dict(enumerate(results))}))
    return InstructionBaseline.read(path)


def test_a_rise_is_a_share_of_what_it_was(tmp_path: Path) -> None:
    earlier = baseline(tmp_path, {"instructions": None}, RESULT)
    assert earlier.rise_of("arm", "w8a8", COUNTED) == Rise(0.0)
    more = Instructions(CPU, 1010, {}, None, None, 3, runtime="ONNX Runtime 1.32.0")
    assert earlier.rise_of("arm", "w8a8", more).value == pytest.approx(0.01)


def test_counts_of_something_else_do_not_compare(tmp_path: Path) -> None:
    earlier = baseline(tmp_path, RESULT)
    wanted = "earlier.json has no counts of"
    assert earlier.rise_of("android", "w8a8", COUNTED).reason == (f"{wanted} android w8a8 on {CPU}")
    assert earlier.rise_of("arm", "fp32", COUNTED).reason == f"{wanted} arm fp32 on {CPU}"
    elsewhere = Instructions("emulated:max", 1, {}, None, None, 3)
    assert earlier.rise_of("arm", "w8a8", elsewhere) == Rise(
        None, f"{wanted} arm w8a8 on emulated:max"
    )
    newer = Instructions(CPU, 1000, {}, None, None, 3, runtime="ONNX Runtime 1.33.0")
    assert earlier.rise_of("arm", "w8a8", newer) == Rise(
        None, "earlier.json was counted with ONNX Runtime 1.32.0, this is ONNX Runtime 1.33.0"
    )
    missing = Instructions.not_counted(CPU, "no counter")
    assert earlier.rise_of("arm", "w8a8", missing) == Rise(None, "no counter")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the baseline is no report"),
        ("[]", "the baseline is no report"),
        ('{"targets": {"arm": {"instructions": {"total": 1}}}}', "the baseline is no report"),
        ('{"targets": {"arm": 3}}', "the baseline is no report"),
        ('{"targets": {"arm": {}}}', "the baseline has no instruction counts"),
    ],
)
def test_a_file_that_is_no_baseline_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        InstructionBaseline.read(path)


def test_a_count_that_is_no_number_is_refused(tmp_path: Path) -> None:
    damaged = {**RESULT, "instructions": {**RESULT["instructions"], "total": "many"}}  # type: ignore[dict-item]
    with pytest.raises(UsageError, match="the baseline is no report"):
        baseline(tmp_path, damaged)


def test_a_baseline_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the baseline"):
        InstructionBaseline.read(tmp_path / "report.json")
