"""Hosts that ssh does not get to, or that are no boards: one line, exit code 5."""

from __future__ import annotations

import shlex
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from arm_board.bundle import tiny
from arm_board.namespace import programs
from arm_board.server import ALIAS, Server, free_port, server

from edgewise.errors import DeviceError
from edgewise.targets.validation.devices.address import DeviceAddress
from edgewise.targets.validation.devices.openssh import COMMAND_VARIABLE, OPTIONS, SshHost, failure
from edgewise.targets.validation.devices.ssh import SshDevice


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """This machine behind ssh, with the tools of its own shell."""
    home = tmp_path_factory.mktemp("home")
    entering = ["/usr/bin/env", "-i", f"HOME={home}", "PATH=/usr/bin:/bin"]
    with server(entering, tmp_path_factory.mktemp("desk")) as running:
        yield running


@pytest.fixture
def ssh(desk: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv(COMMAND_VARIABLE, desk.ssh)
    yield desk
    desk.set_environment()
    assert desk.wait_for_rest() == []


def refused(tmp_path: Path, address: str = f"ssh://{ALIAS}") -> str:
    with pytest.raises(DeviceError) as caught:
        SshDevice(DeviceAddress.of(address), tiny(tmp_path)).start()
    assert str(caught.value).startswith(f"{address}: ")
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_port_where_nobody_listens(ssh: Server, tmp_path: Path) -> None:
    said = refused(tmp_path, f"ssh://127.0.0.1:{free_port()}")
    assert "the host answers, but no ssh server does" in said
    assert "Connection refused" in said


def test_a_host_that_does_not_answer(
    ssh: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(COMMAND_VARIABLE, f"{ssh.ssh} -o ConnectTimeout=1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said = refused(tmp_path, f"ssh://127.0.0.1:{silent.getsockname()[1]}")
    assert "the host does not answer" in said
    assert "timed out" in said


def test_a_host_name_that_nobody_knows(ssh: Server, tmp_path: Path) -> None:
    assert "the host name is unknown" in refused(tmp_path, "ssh://pi@no-such-board.invalid")


def test_a_key_that_is_not_let_in(
    ssh: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(COMMAND_VARIABLE, ssh.ssh_of_a_stranger())
    said = refused(tmp_path)
    assert "the host does not let this user in" in said
    assert "ssh-copy-id" in said


@pytest.mark.parametrize(
    ("known", "wrong"),
    [("", "the host's key is not known yet"), ("stranger.pub", "the host's key is another one")],
)
def test_a_host_key_that_is_not_known(
    ssh: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: str, wrong: str
) -> None:
    key = (ssh.folder / known).read_text() if known else ""
    (tmp_path / "known").write_text(key and f"[127.0.0.1]:{ssh.port} {key}")
    option = f"-o UserKnownHostsFile={tmp_path}/known"
    monkeypatch.setenv(COMMAND_VARIABLE, f"{ssh.ssh} {option}")
    assert wrong in refused(tmp_path)


def test_no_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMMAND_VARIABLE, "no-such-ssh -4")
    assert "cannot start ssh ('no-such-ssh')" in refused(tmp_path)


@pytest.mark.parametrize("machine", ["x86_64", "armv7l", "riscv64"])
def test_another_architecture(ssh: Server, tmp_path: Path, machine: str) -> None:
    ssh.set_environment(programs(tmp_path / "programs", uname=f"echo {machine}"))
    before = ssh.pushes()
    said = refused(tmp_path)
    assert f"the device is no ARM64 system: `uname -m` says '{machine}'" in said
    assert "64-bit" in said
    assert ssh.pushes() == before


def test_no_tar(ssh: Server, tmp_path: Path) -> None:
    ssh.set_environment(programs(tmp_path / "programs", "tar", uname="echo aarch64"))
    assert "the device has no tar" in refused(tmp_path)


@pytest.mark.parametrize("without", [(), ("gzip",)], ids=["gzip", "no gzip"])
def test_other_shells_and_greetings(ssh: Server, tmp_path: Path, without: tuple[str, ...]) -> None:
    greets = 'echo Welcome; echo Bienvenue >&2; exec /bin/sh "$@"'
    path = programs(tmp_path / "programs", *without, uname="echo aarch64", sh=greets)
    ssh.set_environment(path, f"XDG_CACHE_HOME={tmp_path}/cache")
    device = SshDevice(DeviceAddress.of(f"ssh://{ALIAS}"), tiny(tmp_path))
    process = device.start()
    kept = tmp_path / "cache" / "edgewise-device"
    assert len(list(kept.glob("run-*"))) == 1
    assert (kept / "0123abcd" / "bin" / "python3").stat().st_size == 5000
    process.communicate()
    device.close()
    assert [path.name for path in kept.iterdir()] == ["0123abcd"]
    assert device.clean() == (str(kept / "0123abcd"),)
    assert not kept.exists()
    assert device.latency_reason is None or "emulated" in device.latency_reason


def test_a_folder_for_sockets_with_a_long_path(
    ssh: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("long" * 20)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    ssh.set_environment(programs(tmp_path / "programs", uname="echo x86_64"))
    assert "no ARM64 system" in refused(tmp_path)
    assert list(long.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("board", SshHost("board")),
        ("pi@board:2222", SshHost("board", "pi", "2222")),
        ("pi@[fe80::1%eth0]:22", SshHost("fe80::1%eth0", "pi", "22")),
        ("[::1]", SshHost("::1")),
    ],
)
def test_what_an_address_says(text: str, host: SshHost) -> None:
    assert SshHost.of(text) == host
    command = host.command()
    assert command[-2:] == ["--", host.host]
    assert ("-l" in command, "-p" in command) == (bool(host.user), bool(host.port))


def test_ssh_takes_the_options(ssh: Server) -> None:
    done = subprocess.run([*shlex.split(ssh.ssh), *OPTIONS, "-G", ALIAS], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"batchmode yes" in done.stdout


def test_what_ssh_says_is_told_where_nobody_knows_it() -> None:
    error = failure("ssh://board", "debug\nssh: the dog ate the cable\n")
    assert "cannot reach the device: ssh says: ssh: the dog ate the cable" in str(error)
    assert "ssh says nothing" in str(failure("ssh://board", ""))
