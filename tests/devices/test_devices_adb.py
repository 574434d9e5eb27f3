"""Artifacts on a phone: Android's own adbd on an ARM64 user land, and the real adb.

The computer of these tests is a network namespace of its own with its own adb server. The phone is
shared by the tests of this file, as a phone on a desk is.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from adb_phone.phone import ADDRESS, Phone, phone
from adb_phone.system import phone_system

from edgewise.errors import DeviceError
from edgewise.targets.validation.devices.bundle.installation import Installation

pytestmark = pytest.mark.slow
_SAMPLE = Path(__file__).parents[2] / "sample_models" / "digits"

_TOOL = """#!/bin/sh
# A stand-in for benchmark_model: it prints what the real one does (test_devices_benchmark_output).
[ -s model.tflite ] && [ "$1" = --graph=model.tflite ] && [ "$3" = --num_threads=2 ] || exit 9
applied() { echo "INFO: Explicitly applied $1 delegate, and the model graph will be $2" >&2; }
case "$2" in
  --use_xnnpack=true) applied XNNPACK "completely executed by the delegate.";;
  --use_gpu=true) applied GPU "partially executed by the delegate w/ 3 delegate kernels.";;
  --use_nnapi=true) echo "INFO: Though NNAPI delegate is explicitly applied, the model graph will \
not be executed by the delegate.";;
  --use_xnnpack=false) echo "ERROR: Didn't find op for builtin opcode 'CONV_2D'"; exit 1;;
esac
echo "INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate"
echo "INFO: count=1 curr=7070 p5=7070 median=7070 p95=7070"
echo "INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate"
echo "INFO: count=50 first=2100 curr=2000 min=1900 max=2500 avg=2050.5 std=9 p5=1950 median=2040 \
p95=2400"
echo "INFO: Inference timings in us: Init: 31000, First inference: 7070, Warmup (avg): 7070, \
Inference (avg): 2050.5"
echo "INFO: Memory footprint delta from the start of the tool (MB): init=4.5 overall=5.25"
"""


@pytest.fixture(scope="module")
def system(pytestconfig: pytest.Config, emulator: Installation) -> Path:
    """The phone's user land, kept in pytest's cache."""
    try:
        return phone_system(pytestconfig.cache.mkdir("adb_phone"))
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def attached(
    system: Path, emulator: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Phone]:
    with phone(system, emulator, tmp_path_factory.mktemp("phone")) as made:
        yield made
        assert made.programs() == []


def _options(digits: Path, *targets: str, on: str = ADDRESS) -> list[str | Path]:
    chosen = [word for target in targets for word in ("--target", target)]
    data = ("--evaluation", _SAMPLE / "evaluation.npz", "--limit", "8")
    return ["validate", digits, *data, *chosen, "--on", on, "--json"]


def _stored(made: Phone) -> list[Path]:
    """What lies in the phone's folder for Edgewise."""
    return sorted(made.data.glob("edgewise/*"))


def _bundle(made: Phone) -> Path:
    """The bundle on the phone, brought there where no test did so before."""
    if not _stored(made):
        assert made.edgewise("devices", "test", ADDRESS).returncode == 0
    (bundle,) = _stored(made)
    return bundle


def _wait(found: Callable[[], object], seconds: float = 60) -> None:
    patience = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < patience
        time.sleep(0.05)


def test_artifacts_are_validated_on_a_phone(
    attached: Phone, digits: Path, emulator: Installation, tmp_path: Path
) -> None:
    tool = tmp_path / "benchmark_model"
    tool.write_text(_TOOL)
    config = {"EDGEWISE_CONFIG": str(tmp_path)}
    add = ("devices", "add", "desk", ADDRESS, "--benchmark-model", tool, "--no-test")
    assert attached.edgewise(*add, **config).returncode == 0
    done = attached.edgewise(*_options(digits, "android", "arm", on="desk"), **config)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["targets"]
    assert set(results) == {"android", "arm"}
    for result in results.values():
        assert result["device"] == "desk"
        assert result["facts"]["description"] == f"{ADDRESS} (Acme Phone 7, Android 14)"
        assert result["facts"]["machine"] == "aarch64"
        assert result["facts"]["model"] == "Acme Phone 7"
        assert result["facts"]["system"].startswith("Android 14")
        # a phone on an ARM64 machine is one; here its instructions are emulated
        assert (result["latency"]["median_ms"] is None) == (emulator.qemu is not None)
        assert result["equivalence"]["argmax_agreement"] == 1.0
        assert result["equivalence"]["max_lsb"] <= 2
        assert result["accuracy"]["samples"] == 8
    assert results["arm"]["delegates"] == []
    asked = [(row["delegate"], row["median_ms"]) for row in results["android"]["delegates"]]
    if emulator.qemu is not None:
        assert asked == [("xnnpack", None), ("gpu", None), ("nnapi", None)]
        assert "emulated" in results["android"]["delegates"][0]["reason"]
    # what was there before is there after it, and nothing else but the bundle
    (bundle,) = _stored(attached)
    assert bundle.name == emulator.bundle.digest
    assert attached.programs() == []
    assert attached.adb("forward", "--list").strip() == ""
    assert attached.adb("reverse", "--list").strip() == ""
    assert attached.adb("get-state").strip() == "device"


def test_a_phone_that_is_unplugged_in_a_run_is_told(attached: Phone, digits: Path) -> None:
    before = _bundle(attached).stat()
    command = [sys.executable, "-m", "edgewise", *_options(digits, "android"), "--verbose"]
    run = attached.start(command)
    try:
        assert run.stderr is not None
        assert any("validating android" in line for line in run.stderr)
        attached.tell("unplug")
        _, said = run.communicate(timeout=60)
        assert run.returncode == 5
        (line,) = [line for line in said.splitlines() if line.startswith("error")]
        assert f"{ADDRESS}: the phone is" in line
        assert "Plug it in again" in line
        _wait(lambda: len(_stored(attached)) == 1, 20)  # the bundle, and no temporary files
        _wait(lambda: attached.programs() == [], 20)
    finally:
        attached.plug()
    after = _stored(attached)[0].stat()  # the bundle that the first run sent
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)


def test_a_phone_of_another_processor_takes_nothing(attached: Phone, digits: Path) -> None:
    own, before = attached.own / "uname", _stored(attached)
    own.write_text("#!/bin/sh\necho x86_64\n")
    own.chmod(0o755)
    try:
        done = attached.edgewise(*_options(digits, "android"))
    finally:
        own.unlink()
    assert done.returncode == 5
    assert "the phone has no 64-bit ARM kernel: it is x86_64, with the ABI arm64-v8a" in done.stderr
    assert _stored(attached) == before


@pytest.mark.parametrize("claimed", ["nothing", "much"])
def test_a_phone_without_space_takes_nothing(
    claimed: str, system: Path, emulator: Installation, digits: Path, tmp_path: Path
) -> None:
    with phone(system, emulator, tmp_path, size="12m") as full:
        if claimed == "much":  # so that the space ends while the bundle arrives
            own = full.own / "df"
            own.write_text("#!/bin/sh\necho head; echo data 99999999 0 99999999 0% /data\n")
            own.chmod(0o755)
        done = full.edgewise(*_options(digits, "android"))
        assert done.returncode == 5
        told = {"nothing": "no place for the bundle", "much": "the disk of the device is full"}
        assert told[claimed] in done.stderr
        left = full.adb("shell", "ls -A /data/local/tmp /data/local/tmp/edgewise 2>&1; true")
        assert "part" not in left and emulator.bundle.digest not in left
        assert full.programs() == []


_MEASURE = """
import dataclasses, json, sys
from pathlib import Path
from edgewise.targets.validation.devices.adb import AdbDevice
from edgewise.targets.validation.devices.address import DeviceAddress
from edgewise.targets.validation.devices.benchmark_model import measure_delegates
shell = AdbDevice(DeviceAddress.of(sys.argv[1])).shell()
delegates = ("xnnpack", "gpu", "nnapi", "cpu")
found = measure_delegates(shell, Path(sys.argv[2]), Path(sys.argv[3]), delegates=delegates,
                          threads=2, arguments=["--max_secs=5 $(reboot)"])
print(json.dumps([dataclasses.asdict(item) for item in found]))
"""


def test_delegates_are_timed_by_the_vendors_tool(
    attached: Phone, digits: Path, tmp_path: Path
) -> None:
    tool = tmp_path / "benchmark model"
    tool.write_text(_TOOL)
    (model,) = (digits / "android").glob("*.tflite")
    before = _stored(attached)
    done = attached.run([sys.executable, "-c", _MEASURE, ADDRESS, tool, model])
    assert done.returncode == 0, done.stderr
    xnnpack, gpu, nnapi, cpu = json.loads(done.stdout)
    assert (xnnpack["applied"], xnnpack["kernels"]) == ("completely", 1)
    assert (gpu["applied"], gpu["kernels"]) == ("partially", 3)
    assert (gpu["median_ms"], gpu["average_ms"], gpu["p95_ms"]) == (2.04, 2.0505, 2.4)
    assert (gpu["init_ms"], gpu["first_ms"], gpu["runs"]) == (31.0, 7.07, 50)
    assert (gpu["memory_mb"], gpu["reason"]) == (5.25, None)
    assert nnapi["median_ms"] is None and nnapi["applied"] == "not"
    assert nnapi["reason"] == "the NNAPI delegate does not run the graph, the processor did"
    assert cpu["median_ms"] is None
    assert cpu["reason"].startswith("benchmark_model failed with code 1: Didn't find op")
    assert _stored(attached) == before
    assert attached.programs() == []


def test_a_phone_is_left_as_it_was(attached: Phone, tmp_path: Path) -> None:
    config = {"EDGEWISE_CONFIG": str(tmp_path)}
    add = ("devices", "add", "desk", ADDRESS, "--no-test")
    assert attached.edgewise(*add, **config).returncode == 0
    done = attached.edgewise("devices", "remove", "desk", **config)
    assert done.returncode == 0, done.stderr
    assert list(attached.data.iterdir()) == []
