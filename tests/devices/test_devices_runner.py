"""The runner by itself: what passes the line, what it tells of a machine, and how it ends."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from plain_runner import PlainDevice, doubling_model, sample

from edgewise.targets.validation.devices import runner
from edgewise.targets.validation.devices.bundle.installation import runner_source
from edgewise.targets.validation.devices.line import Line
from edgewise.targets.validation.devices.runner import Failure, Gone, Runner, packed, unpacked

RUNNER = Path(runner.__file__)


@pytest.mark.parametrize(
    "dtype",
    [
        "bool", "float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64",
        ml_dtypes.bfloat16, ml_dtypes.int4, ml_dtypes.uint4, ml_dtypes.float8_e4m3fn, ">f4",
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_arrays_pass_the_line(dtype: Any, shape: tuple[int, ...]) -> None:
    array = (np.arange(np.prod(shape, dtype=int)) % 2).reshape(shape).astype(dtype)
    given = [{"a": array, "b": np.float32([1.5])}, {"a": array.T}]
    tensors, data = packed(given)
    found = unpacked(json.loads(json.dumps(tensors)), data)
    assert [list(item) for item in found] == [["a", "b"], ["a"]]
    for mine, theirs in zip(given, found, strict=True):
        for name in mine:
            assert theirs[name].dtype == mine[name].dtype.newbyteorder("=")
            assert theirs[name].shape == mine[name].shape
            assert np.array_equal(theirs[name], mine[name])


def test_arrays_lie_as_those_of_this_machine_do() -> None:
    given = [{"a": np.uint8([1, 2, 3]), "b": np.float64([1, 2])}, {"b": np.float64([3])}]
    tensors, data = packed(given)
    for found in unpacked(tensors, bytearray(data)):
        for array in found.values():
            assert array.flags.aligned and array.flags.writeable and array.flags.c_contiguous


@pytest.mark.parametrize("array", [np.asarray(["text"]), np.asarray([b"text"]), np.asarray([{}])])
def test_text_does_not_pass(array: Any) -> None:
    with pytest.raises(Failure, match="only numbers are run") as raised:
        packed([{"a": array}])
    assert raised.value.kind == "model"


def ask(target: Runner, do: str, payload: bytes = b"", **fields: Any) -> dict[str, Any]:
    return target.answer({"do": do, **fields}, payload)[0]


def test_pieces_become_a_file_that_has_no_name(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    target, content = Runner(), doubling_model()
    ask(target, "put", content[:10], file="f", offset=0)
    ask(target, "put", content[10:], file="f", offset=10)
    assert list(tmp_path.iterdir()) == []
    assert ask(target, "keep", file="f", digest=hashlib.sha256(content).hexdigest()) == {}
    answer = ask(
        target, "open", id="m", file="f", runtime="onnxruntime", threads=1, outputs=None, options={}
    )
    assert answer["load_seconds"] > 0
    ask(target, "drop", file="f")  # what was loaded stays
    tensors, data = packed([sample(1, 2)])
    told, attached = target.answer({"do": "run", "id": "m", "tensors": tensors}, data)
    assert unpacked(told["tensors"], attached)[0]["y"].tolist() == [2, 4]
    assert told["seconds"] > 0


def test_a_missing_piece_is_told() -> None:
    target = Runner()
    ask(target, "put", b"abc", file="f", offset=0)
    assert "missing at 3" in ask(target, "put", b"abc", file="f", offset=4)["error"]
    answer = ask(target, "keep", file="f", digest="0")
    assert "did not arrive" in answer["error"] and answer["kind"] == "internal"
    assert "KeyError" in ask(target, "keep", file="f", digest="0")["error"]  # it is forgotten


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(28, "No space left on device"), "space"),
        (OSError(122, "Disk quota exceeded"), "space"),
        (MemoryError(), "memory"),
        (RuntimeError("std::bad_alloc"), "memory"),
        (RuntimeError("other"), "internal"),
    ],
)
def test_kinds_of_errors(error: Exception, kind: str, monkeypatch: Any) -> None:
    def fails(descriptor: int, data: bytes) -> None:
        raise error

    monkeypatch.setattr(runner, "write_all", fails)
    target = Runner()
    assert ask(target, "put", b"abc", file="f", offset=0)["kind"] == kind


def test_nobody_waits_for_the_next_inference(monkeypatch: Any) -> None:
    watch = runner.Watch.__new__(runner.Watch)
    watch._parent = -1  # it has ended, and another is our parent now
    with pytest.raises(Gone):
        watch.check()


def test_it_stops_between_two_inferences_when_the_host_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(doubling_model())
    process = PlainDevice(["names['_GLANCE'] = 0.2"]).start()
    line = Line(process, runner_source())
    content = path.read_bytes()
    line.request("put", content, timeout=60, file="f", offset=0)
    opening = {"runtime": "onnxruntime", "threads": 1, "outputs": None, "options": {}}
    line.request("open", timeout=60, id="m", file="f", **opening)
    tensors, data = packed([sample(*range(2_000_000))])
    line.request("load", data, timeout=60, id="m", tensors=tensors)
    assert process.stdin is not None
    os.set_blocking(process.stdin.fileno(), True)
    process.stdin.write(b'{"do": "time", "id": "m", "runs": 1000000, "size": 0}\n')
    process.stdin.flush()
    process.stdin.close()
    assert process.wait(timeout=30) == 1
    line.close()


def test_it_ends_after_a_silence() -> None:
    process = PlainDevice(silence="0.3").start()
    line = Line(process, runner_source())
    line.request("hello", timeout=60)
    assert process.wait(timeout=10) == 1
    line.close()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_it_ends_when_it_is_asked_to(number: int) -> None:
    process = PlainDevice().start()
    line = Line(process, runner_source())
    line.request("hello", timeout=60)
    process.send_signal(number)
    assert process.wait(timeout=10) == 128 + number
    line.close()


def test_what_libraries_print_is_no_answer() -> None:
    process = PlainDevice(["on('status', lambda: os.write(1, b'{\"size\": 0}\\n'))"]).start()
    line = Line(process, runner_source())
    assert "load" in line.request("status", timeout=60)[0]
    assert line.last_words() == '{"size": 0}'
    line.close()


CPUINFO = """processor : 0
Features : fp asimd
CPU implementer : 0x41
CPU part : 0xd05

processor : 1
Features : fp asimd
CPU implementer : 0x41
CPU part : 0xd0b

Hardware : Qualcomm
"""


def test_cores_are_read(monkeypatch: Any) -> None:
    monkeypatch.setattr(runner, "_text", lambda path: CPUINFO)
    facts = runner.cpu_facts()
    assert facts == {"cpus": [["0x41", "0xd05"], ["0x41", "0xd0b"]], "features": ["fp", "asimd"]}


@pytest.mark.parametrize(
    ("zones", "hottest"),
    [
        ({"cpu-thermal": "48312\n", "gpu": "70000\n"}, 48.312),
        ({"battery": "31", "case": "29000"}, 31.0),
        ({"cpu0": "-274000", "x": "200000"}, None),
        ({}, None),
    ],
)
def test_temperature(zones: dict[str, str], hottest: float | None, monkeypatch: Any) -> None:
    files = {f"/z/thermal_zone{i}": item for i, item in enumerate(zones.items())}
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [Path(name) for name in files])
    monkeypatch.setattr(
        runner, "_text", lambda path: files[str(path.parent)][0 if path.name == "type" else 1]
    )
    assert runner.temperature() == hottest


def run_job(job: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-I", str(RUNNER), str(folder / "job.json")]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_a_job_by_hand(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(doubling_model())
    np.savez(tmp_path / "in.npz", **sample(1, 2))
    job = {"artifact": "m.onnx", "inputs": "in.npz", "outputs": "out.npz", "timings": "times.json"}
    done = run_job({**job, "repetitions": 7}, tmp_path)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as outputs:
        assert outputs["y"].tolist() == [2, 4]
    times = json.loads((tmp_path / "times.json").read_text())
    assert len(times["runs_ms"]) == 7 and times["median_ms"] > 0 and times["load_ms"] > 0
    assert times["machine"]["machine"] == os.uname().machine
    assert "load" in times["before"] and times["after"]["peak_bytes"] > 1 << 20
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "in.npz", "job.json", "m.onnx", "out.npz", "times.json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "kernel",
    [
        {"/proc/sys/kernel/arch": "x86_64\n"},
        {
            "/proc/sys/kernel/arch": "",
            "/sys/devices/system/cpu/modalias": "cpu:type:x86,ven0002fam",
        },
    ],
)
def test_a_job_under_emulation_is_not_timed(
    tmp_path: Path, monkeypatch: Any, capsys: Any, kernel: dict[str, str]
) -> None:
    (tmp_path / "m.onnx").write_bytes(doubling_model())
    np.savez(tmp_path / "in.npz", **sample(1, 2))
    (tmp_path / "job.json").write_text('{"artifact": "m.onnx", "inputs": "in.npz"}')
    text = runner._text
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr(runner, "_text", lambda path: kernel.get(str(path), text(path)))
    runner.run_job(tmp_path / "job.json")
    told = json.loads(capsys.readouterr().out)
    assert [told[key] for key in ("load_ms", "median_ms", "p90_ms", "runs_ms")] == [None] * 3 + [[]]
    assert "emulated" in told["reason"]


def test_a_job_that_cannot_be_run(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"damaged")
    np.savez(tmp_path / "in.npz", **sample(1))
    job = {"artifact": "m.onnx", "inputs": "in.npz", "outputs": "out.npz"}
    done = run_job(job, tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "job.json: " in done.stderr
    assert not (tmp_path / "out.npz").exists()
    assert "in2.npz" in run_job({**job, "inputs": "in2.npz"}, tmp_path).stderr


def test_versions_are_known_without_loading_anything() -> None:
    began = time.perf_counter()
    assert set(runner.versions()) == {"ai-edge-litert", "numpy", "onnxruntime"}
    assert time.perf_counter() - began < 5
