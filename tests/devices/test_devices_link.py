"""A link to a runner: what goes wrong on the way is mended once, told in one line, and ended."""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from plain_runner import BABBLE, CHANGED_WRITING, DIE, HANG, PlainDevice, doubling_model, sample

from edgewise.errors import DeviceError, ModelError, UsageError
from edgewise.targets.validation.devices.link import RemoteModel, RunnerLink
from edgewise.targets.validation.devices.patience import Patience


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "doubling.onnx"
    path.write_bytes(doubling_model())
    return path


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """Neither open files nor threads."""
    files, threads = len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) == files
    assert threading.active_count() == threads


def opened(link: RunnerLink, path: Path) -> RemoteModel:
    return link.open(path, "onnxruntime", threads=1, outputs=["y"])


def values(outputs: list[dict[str, Any]]) -> list[list[float]]:
    return [output["y"].tolist() for output in outputs]


def ended(device: PlainDevice) -> bool:
    return all(process.returncode is not None for process in device.started)


def test_runs_samples_and_times_them(model: Path) -> None:
    link = RunnerLink(device := PlainDevice())
    remote = opened(link, model)
    assert values(remote.run([sample(1, 2), sample(3)])) == [[2, 4], [6]]
    remote.load(sample(5))
    assert len(remote.time(4)) == 4 and min(remote.time(4)) > 0
    assert link.findings == ()
    remote.close()
    link.close()
    assert ended(device)


def test_outputs_can_be_written(model: Path) -> None:
    link = RunnerLink(PlainDevice())
    (output,) = opened(link, model).run([sample(1)])
    output["y"] += 1
    link.close()


def test_a_greeting_on_the_way_is_put_aside(model: Path) -> None:
    greeting = "os.write(1, b'Welcome to the board!\\n{not json\\n[1]\\n')"
    link = RunnerLink(PlainDevice([greeting]))
    assert values(opened(link, model).run([sample(1)])) == [[2]]
    link.close()


@pytest.mark.parametrize("do", ["open", "put", "keep", "run", "load"])
def test_a_line_that_breaks_is_mended(model: Path, do: str) -> None:
    device = PlainDevice([DIE.format(do=do)])
    link = RunnerLink(device)
    remote = opened(link, model)
    remote.load(sample(4))
    assert values(remote.run([sample(1, 2)])) == [[2, 4]]
    assert len(remote.time(2)) == 2  # what was loaded is loaded again
    assert len(device.started) == 2
    (finding,) = link.findings
    assert finding.rule == "device/retried" and "ended with code 3" in finding.message
    link.close()


def test_all_that_was_open_is_opened_again(model: Path, tmp_path: Path) -> None:
    other = shutil.copy(model, tmp_path / "other.onnx")
    link = RunnerLink(PlainDevice([DIE.format(do="run")]))
    first, second = opened(link, model), opened(link, Path(other))
    assert values(first.run([sample(1)])) == [[2]]
    assert values(second.run([sample(2)])) == [[4]]
    link.close()


def test_a_second_break_is_an_error(model: Path) -> None:
    device = PlainDevice([DIE.format(do="run")] * 2)
    link = RunnerLink(device)
    remote = opened(link, model)
    with pytest.raises(DeviceError, match="plain: the runner ended: it ended with code 3"):
        remote.run([sample(1)])
    assert len(device.started) == 2
    remote.close()  # there is nothing to forget, and nobody to tell
    link.close()
    assert ended(device)


def test_times_are_not_taken_again(model: Path) -> None:
    device = PlainDevice([DIE.format(do="time")])
    link = RunnerLink(device)
    remote = opened(link, model)
    remote.load(sample(1))
    with pytest.raises(DeviceError, match="the runner ended"):
        remote.time(3)
    assert len(device.started) == 1
    link.close()


def test_a_device_that_hangs_is_given_up(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = RunnerLink(device := PlainDevice([HANG.format(do="run")]))
    remote = opened(link, model)
    link.patience.answer = 0.3
    with pytest.raises(DeviceError, match=r"no answer to 'run' in 0.3 s.*EDGEWISE_DEVICE_TIMEOUT"):
        remote.run([sample(1)])
    assert len(device.started) == 1 and ended(device)
    link.close()


def test_giving_up_ends_the_whole_group(model: Path) -> None:
    # a shell between, which ignores that it is asked to end, and something it started
    wrapper = ["sh", "-c", 'trap "" TERM; sleep 500 & "$@"; wait', "sh"]
    link = RunnerLink(device := PlainDevice([HANG.format(do="run")], wrapper=wrapper))
    remote = opened(link, model)
    link.patience.answer = 0.3
    with pytest.raises(DeviceError, match="no answer"):
        remote.run([sample(1)])
    link.close()
    group = device.started[0].pid
    assert _ends(lambda: _members(group) == []), _members(group)


def _members(group: int) -> list[str]:
    found = subprocess.run(
        ["ps", "-o", "stat=,args=", "--no-headers", "-g", str(group)],
        capture_output=True,
        text=True,
    )
    return [line for line in found.stdout.splitlines() if not line.startswith("Z")]


def _ends(condition: Any, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(condition())


def test_what_babbles_is_no_runner(model: Path) -> None:
    link = RunnerLink(PlainDevice([BABBLE.format(do="run")] * 2))
    remote = opened(link, model)
    with pytest.raises(DeviceError, match="this is no answer"):
        remote.run([sample(1)])
    link.close()


def test_an_answer_that_is_cut_off(model: Path) -> None:
    half = """on('run', lambda: (os.write(out, b'{"size": 100}\\nabc'), os._exit(0)))"""
    link = RunnerLink(PlainDevice([half] * 2))
    remote = opened(link, model)
    with pytest.raises(DeviceError, match="it ended with code 0"):
        remote.run([sample(1)])
    link.close()


def test_a_runtime_that_crashes_is_named(model: Path) -> None:
    crash = "on('run', lambda: os.kill(os.getpid(), 4))"
    link = RunnerLink(PlainDevice([crash] * 2))
    remote = opened(link, model)
    with pytest.raises(DeviceError, match="does not know an instruction"):
        remote.run([sample(1)])
    link.close()


def test_a_file_is_sent_once_and_again_when_it_changed(model: Path) -> None:
    counting = "on('put', lambda: os.write(2, b'put\\n'))"
    link = RunnerLink(PlainDevice([counting]))
    first, second = opened(link, model), opened(link, model)
    assert link._line.last_words().count("put") == 1
    first.close()
    assert values(second.run([sample(1)])) == [[2]]
    model.unlink()
    model.write_bytes(doubling_model(dim=1))
    third = opened(link, model)
    assert link._line.last_words().count("put") == 2
    with pytest.raises(ModelError, match="cannot run"):
        third.run([sample(1, 2)])
    for remote in (second, third):
        remote.close()
    opened(link, model)  # what nobody had open has left the device
    assert link._line.last_words().count("put") == 3
    link.close()


def test_a_large_file_goes_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    path.write_bytes(bytes(10 << 20))
    link = RunnerLink(PlainDevice(["on('put', lambda: os.write(2, b'put\\n'))"]))
    with pytest.raises(ModelError, match="cannot load"):
        opened(link, path)
    assert link._line.last_words().count("put") == 3
    link.close()


def test_a_file_that_does_not_arrive_as_it_was_sent(model: Path) -> None:
    damage = CHANGED_WRITING.format(act="data = bytes(len(data))")
    link = RunnerLink(PlainDevice([damage]))
    with pytest.raises(DeviceError, match="did not arrive as it was sent"):
        opened(link, model)
    link.close()


def test_no_space_there_is_told(model: Path) -> None:
    full = CHANGED_WRITING.format(act="raise OSError(28, 'No space left on device')")
    link = RunnerLink(PlainDevice([full]))
    with pytest.raises(DeviceError, match=r"no space left on the device.*Free space") as raised:
        opened(link, model)
    assert raised.value.exit_code == 5
    link.close()


def test_what_the_runtime_refuses_ends_as_it_does_here(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"no model at all")
    link = RunnerLink(PlainDevice())
    with pytest.raises(
        ModelError, match=r"model on plain: ONNX Runtime cannot load the artifact: \S"
    ):
        opened(link, path)
    with pytest.raises(DeviceError, match=r"LiteRT refuses the file: \S"):
        link.open(path, "litert", threads=1, outputs=[])
    with pytest.raises(ModelError, match="cannot read the artifact: No such file"):
        opened(link, tmp_path / "nothing")
    path.write_bytes(doubling_model(TensorProto.STRING, op="Identity"))
    with pytest.raises(ModelError, match="only numbers are run"):
        opened(link, path)
    path.write_bytes(doubling_model())
    with pytest.raises(ModelError, match="no z; it has y"):
        link.open(path, "onnxruntime", threads=1, outputs=["z"])
    link.close()


def test_threads_take_turns(model: Path) -> None:
    link = RunnerLink(PlainDevice([DIE.format(do="run")]))
    remotes = [opened(link, model) for _ in range(4)]
    found: dict[int, list[list[float]]] = {}

    def run(index: int) -> None:
        found[index] = [values(remotes[index].run([sample(index)]))[0] for _ in range(20)]

    threads = [threading.Thread(target=run, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {index: [[2.0 * index]] * 20 for index in range(4)}
    assert len(link.findings) == 1
    link.close()


def test_an_interrupt_ends_the_far_side(model: Path) -> None:
    link = RunnerLink(device := PlainDevice([HANG.format(do="run")]))
    remote = opened(link, model)

    def press(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, press)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            remote.run([sample(1)])
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert ended(device)
    remote.close()
    link.close()


def test_another_thread_can_end_it(model: Path) -> None:
    device = PlainDevice([HANG.format(do="run")])
    link = RunnerLink(device)
    remote = opened(link, model)
    timer = threading.Timer(0.3, link.interrupt)
    timer.start()
    with pytest.raises(DeviceError, match="asked to end"):
        remote.run([sample(1)])
    timer.join()
    assert len(device.started) == 1  # nobody wants another
    link.close()


def test_patience_grows_with_what_is_known(model: Path) -> None:
    link = RunnerLink(PlainDevice(["on('run', lambda: time.sleep(0))"]))
    remote = opened(link, model)
    before = link.patience.runs(remote.identity, 32)
    link.patience.learn(remote.identity, 2.0)
    assert link.patience.runs(remote.identity, 32) == before + 20 * 32 * 2.0
    link.close()


def test_a_board_that_turns_out_to_be_emulated_is_given_more_time() -> None:
    class Emulated(PlainDevice):
        def start(self) -> subprocess.Popen[bytes]:
            self.latency_reason = "emulated there"
            return super().start()

    link = RunnerLink(Emulated())
    assert link.patience.answer == Patience.of(emulated=True).answer
    link.close()


@pytest.mark.parametrize("text", ["soon", "-1", "0", "inf"])
def test_seconds_must_be_a_number(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWISE_DEVICE_TIMEOUT", text)
    with pytest.raises(UsageError, match="EDGEWISE_DEVICE_TIMEOUT"):
        RunnerLink(PlainDevice())


def test_seconds_of_the_user_hold_for_all(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEWISE_DEVICE_TIMEOUT", "7.5")
    link = RunnerLink(PlainDevice())
    assert link.patience.runs("any", 10**6) == link.patience.greeting == link.patience.answer == 7.5
    link.close()


def test_what_does_not_start_leaves_nothing(model: Path) -> None:
    device = PlainDevice(["sys.exit('no numpy there')"])
    with pytest.raises(DeviceError, match="no numpy there"):
        RunnerLink(device)
    assert ended(device)


def test_another_protocol_is_no_runner() -> None:
    device = PlainDevice(["names['PROTOCOL'] = -1"])
    with pytest.raises(DeviceError, match="no runner"):
        RunnerLink(device)
    assert ended(device)


def test_a_runner_that_ended_in_silence_is_replaced(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = PlainDevice(silence="0.2")
    link = RunnerLink(device)
    remote = opened(link, model)
    device.started[0].wait(timeout=5)
    monkeypatch.setattr("edgewise.targets.validation.devices.link._IDLE_SECONDS", 0.0)
    assert values(remote.run([sample(1)])) == [[2]]
    assert link.findings == ()  # nothing went wrong
    assert len(device.started) == 2
    link.close()


def test_many_bytes_pass_both_ways(model: Path) -> None:
    link = RunnerLink(PlainDevice())
    given = np.arange(2 << 20, dtype=np.float32)
    (output,) = opened(link, model).run([{"x": given}])
    assert np.array_equal(output["y"], given * 2)
    link.close()
