"""How a bundle comes to a board, stays there, and leaves; the bundles are of a few bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from arm_board.bundle import KILLED, WAITS, tiny
from arm_board.ssh_board import SshBoard

from edgewise.errors import DeviceError
from edgewise.progress import Silent
from edgewise.targets.validation.devices.bundle.installation import Installation
from edgewise.targets.validation.devices.openssh import SshHost
from edgewise.targets.validation.devices.ssh import SshDevice
from edgewise.targets.validation.devices.ssh_shell import SshShell
from edgewise.targets.validation.devices.store import Store


class Steps(Silent):
    """Implements `edgewise.progress.Progress`."""

    def __init__(self) -> None:
        self.labels: list[str] = []

    def step(self, label: str) -> None:
        self.labels.append(label)


@contextmanager
def started(device: SshDevice) -> Iterator[subprocess.Popen[bytes]]:
    """A runner that runs; its end is waited for."""
    process = device.start()
    try:
        yield process
    finally:
        process.communicate()
        device.close()


def refused(device: SshDevice) -> str:
    with pytest.raises(DeviceError) as caught:
        device.start()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def stored(board: SshBoard, installation: Installation, *places: str) -> str:
    """What is said of a bundle that has to go to these places, and of nothing else."""
    shell = SshShell(SshHost.of(board.address.removeprefix("ssh://")), board.address)
    try:
        with pytest.raises(DeviceError) as caught:
            Store(shell, installation.bundle, places).prepare()
    finally:
        shell.close()
    return str(caught.value)


def test_a_bundle_is_sent_once_and_replaces_an_older_one(
    empty_board: SshBoard, tmp_path: Path
) -> None:
    first, second = tiny(tmp_path, digest="aaaa"), tiny(tmp_path, digest="bbbb")
    before = empty_board.server.pushes()
    for _ in range(2):
        with started(empty_board.device(first)):
            assert sum("run-" in name for name in empty_board.files(empty_board.place)) == 1
    assert empty_board.server.pushes() == before + 1
    with started(empty_board.device(second)):
        pass
    assert empty_board.files(empty_board.place) == ["bbbb"]


def test_a_bundle_that_somebody_uses_stays(empty_board: SshBoard, tmp_path: Path) -> None:
    first, second = tiny(tmp_path, digest="aaaa"), tiny(tmp_path, digest="bbbb")
    with started(empty_board.device(first)):
        with started(empty_board.device(second)):
            assert {"aaaa", "bbbb"} <= set(empty_board.files(empty_board.place))
        with pytest.raises(DeviceError, match="another run uses the device"):
            empty_board.device(second).clean()
    removed = empty_board.device(second).clean()
    assert sorted(removed) == [f"{empty_board.place}/aaaa", f"{empty_board.place}/bbbb"]
    assert empty_board.files(empty_board.place) == []
    assert empty_board.device(second).clean() == ()


@pytest.mark.parametrize(
    "damage",
    [
        "echo > {root}/bin/python3",
        "rm {root}/bin/python3",
        "printf '#!/bin/sh\nexit 1 %0{pad}d\n' 0 > {root}/lib/ld-linux-aarch64.so.1",
    ],
    ids=["cut off", "missing", "other content"],
)
def test_a_damaged_bundle_is_sent_again(empty_board: SshBoard, tmp_path: Path, damage: str) -> None:
    installation = tiny(tmp_path)
    with started(empty_board.device(installation)):
        pass
    before = empty_board.server.pushes()
    size = len(f"#!/bin/sh\n{WAITS}\n") - len("#!/bin/sh\nexit 1 \n")
    empty_board.board.run(damage.format(root=f"{empty_board.place}/0123abcd", pad=size))
    with started(empty_board.device(installation)):
        pass
    assert empty_board.server.pushes() == before + 1


def test_a_bundle_that_always_arrives_damaged(empty_board: SshBoard, tmp_path: Path) -> None:
    installation = tiny(tmp_path)
    (installation.bundle.root / "lib" / "more").write_text("not in the archive")
    before = empty_board.server.pushes()
    assert "the bundle arrives damaged" in refused(empty_board.device(installation))
    assert empty_board.server.pushes() == before + 2


def test_what_killed_runs_left_is_deleted(empty_board: SshBoard, tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1)
    pid = dead.stdout.decode().strip()
    place = empty_board.place
    empty_board.board.run(f"umask 77; mkdir -p {place}/run-{pid} {place}/0123abcd.part-{pid}/lib")
    with started(empty_board.device(tiny(tmp_path))):
        assert f"run-{pid}" not in empty_board.files(empty_board.place)
    assert empty_board.files(empty_board.place) == ["0123abcd"]


@pytest.mark.parametrize("home", ["noexec", "small", "programs/sh"])
def test_a_home_that_will_not_do_is_passed_over(
    empty_board: SshBoard, tmp_path: Path, home: str
) -> None:
    empty_board.keep_in(empty_board.path(home))
    with started(empty_board.device(tiny(tmp_path))):
        pass
    assert empty_board.files("/var/tmp/edgewise-device-0") == ["0123abcd"]
    assert empty_board.files(f"{empty_board.path(home)}/") == []


def test_it_is_told_whether_the_bundle_was_sent_and_where_it_could_not_lie(
    empty_board: SshBoard, tmp_path: Path
) -> None:
    device, steps = empty_board.device(tiny(tmp_path)), Steps()
    device.progress = steps
    empty_board.keep_in(empty_board.path("noexec"))
    place = "/var/tmp/edgewise-device-0"
    why = f"{empty_board.path('noexec/edgewise-device')} lets no program run (mounted noexec)"
    for how in ("sent now", "was there already"):
        with started(device):
            assert device.bundle == f"{place}, {how}; {why}"
    assert steps.labels == [f"send the ARM64 bundle (0.0 MB) to {place}"]


def test_a_folder_of_somebody_else_is_not_used(empty_board: SshBoard, tmp_path: Path) -> None:
    open_to_all, noexec, small = map(empty_board.path, ("mid/open", "noexec/x", "small/x"))
    empty_board.board.run(f"mkdir {open_to_all}; chmod 777 {open_to_all}")
    said = stored(empty_board, tiny(tmp_path), open_to_all, noexec, small)
    assert f"{open_to_all} belongs to somebody else or is open to others" in said
    assert f"{noexec} lets no program run (mounted noexec)" in said
    assert f"{small} has " in said and "MB free" in said
    assert "Free space there" in said


def test_a_disk_that_fills_while_the_bundle_arrives(empty_board: SshBoard, tmp_path: Path) -> None:
    place = empty_board.path("mid/edgewise-device")
    said = stored(empty_board, tiny(tmp_path, more=60_000_000), place)
    assert "the disk of the device is full" in said
    assert "what had arrived of the bundle was deleted" in said
    assert empty_board.files(place) == []


def test_a_runner_without_memory(empty_board: SshBoard, tmp_path: Path) -> None:
    device = empty_board.device(tiny(tmp_path, KILLED))
    process = device.start()
    _, said = process.communicate()
    error = device.explain(process.returncode, said.decode())
    device.close()
    assert "the runner was killed: most likely the device ran out of memory" in str(error)
    assert error.exit_code == 5
    assert empty_board.files(empty_board.place) == ["0123abcd"]


def test_a_line_that_breaks_takes_the_runner_with_it(empty_board: SshBoard, tmp_path: Path) -> None:
    device = empty_board.device(tiny(tmp_path))
    process = device.start()
    empty_board.server.cut()
    _, said = process.communicate()
    error = device.explain(process.returncode, said.decode())
    assert "the connection broke" in str(error)
    assert empty_board.board.wait_for_rest() == []
    with started(device):  # the same device starts again
        pass


def test_a_line_that_breaks_while_the_bundle_is_sent(
    empty_board: SshBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, cuts = SshShell.run, []

    def cut_first(self: SshShell, script: str, **more: object) -> object:
        if "tar -x" in script and not cuts:
            cuts.append(script)
            empty_board.server.cut()
        return run(self, script, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(SshShell, "run", cut_first)
    with started(empty_board.device(tiny(tmp_path))):
        assert len(cuts) == 1


def test_a_killed_process_leaves_nothing_on_either_side(
    empty_board: SshBoard, tmp_path: Path
) -> None:
    archive = tiny(tmp_path).bundle.archive
    script = f"""
import time
from pathlib import Path
from arm_board.bundle import tiny
from edgewise.targets.validation.devices.bundle.installation import Bundle, Installation
from edgewise.targets.validation.devices.address import DeviceAddress
from edgewise.targets.validation.devices.ssh import SshDevice
archive = Path({str(archive)!r})
bundle = Bundle(Path(str(archive).removesuffix(".tar.gz")), archive, "0123abcd", {{}})
address = DeviceAddress.of({empty_board.address!r})
process = SshDevice(address, Installation(bundle, None, "")).start()
print("started", flush=True)
time.sleep(60)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", script], stdout=-1, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    process.kill()
    process.communicate()  # the fixture looks for what is left
    assert empty_board.server.wait_for_rest() == []
    assert empty_board.board.wait_for_rest() == []
    assert empty_board.files(empty_board.place) == ["0123abcd"]
