"""A real sshd on the loopback whose sessions are elsewhere: on a board, or in a plain folder."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

#: the name of the board in the user's ssh configuration
ALIAS = "arm-board"
_SERVER = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
PidFile none
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
ForceCommand {folder}/session
"""
_CLIENT = """
Host {alias} 127.0.0.1
  HostName 127.0.0.1
  Port {port}
  IdentityFile {folder}/user
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
"""


@dataclass(frozen=True, slots=True)
class Server:
    """`folder` holds keys, configuration, and the log of what ran."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def ssh(self) -> str:
        """For EDGEWISE_SSH."""
        return f"ssh -F {shlex.quote(str(self.folder / 'ssh_config'))}"

    def ssh_of_a_stranger(self) -> str:
        """For EDGEWISE_SSH, with a key that is not let in."""
        text = (self.folder / "ssh_config").read_text()
        own, other = self.folder / "user", self.folder / "stranger"
        changed = self.folder / "ssh_config_of_a_stranger"
        changed.write_text(text.replace(f"IdentityFile {own}", f"IdentityFile {other}"))
        return f"ssh -F {shlex.quote(str(changed))}"

    def set_environment(self, *words: str) -> None:
        """`NAME=value` for later sessions."""
        (self.folder / "environment").write_text(" ".join(words), encoding="utf-8")

    def pushes(self) -> int:
        """How often something was sent there to be unpacked."""
        return sum("tar -x" in command for command in self.commands())

    def commands(self) -> list[str]:
        """What was asked of it."""
        log = self.folder / "commands"
        return log.read_text(encoding="utf-8").split("\0")[:-1] if log.exists() else []

    def clients(self) -> list[int]:
        """The processes of ssh on this side."""
        return [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if str(self.folder / "ssh_config").encode() in _read(path)
        ]

    def sessions(self) -> list[int]:
        """The processes of sshd that serve a connection."""
        return _children(self.process.pid)

    def cut(self) -> None:
        """Kill what serves connections: what runs behind it is left alone with its pipes."""
        for process in self.sessions():
            for serving in (process, *_children(process)):
                if _read(Path(f"/proc/{serving}/comm")).startswith(b"sshd"):
                    with suppress(ProcessLookupError):
                        os.kill(serving, signal.SIGKILL)

    def wait_for_rest(self, seconds: float = 10.0) -> list[int]:
        """Processes of connections that are still there after so many seconds at most."""
        patience = time.monotonic() + seconds
        while (left := self.sessions() + self.clients()) and time.monotonic() < patience:
            time.sleep(0.05)
        return left


@contextmanager
def server(entering: Sequence[str], folder: Path) -> Iterator[Server]:
    """`entering` ends in an `env` of the far side. Skips where OpenSSH's server or client is
    missing."""
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    keygen = shutil.which("ssh-keygen")
    if sshd is None or keygen is None or shutil.which("ssh") is None:
        pytest.skip("no OpenSSH server here")
    for name in ("host", "user", "stranger"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    port = free_port()
    session = folder / "session"
    here = shlex.quote(str(folder))
    session.write_text(
        f'#!/bin/sh\nprintf "%s\\0" "$SSH_ORIGINAL_COMMAND" >> {here}/commands\n'
        f"exec {shlex.join(entering)} $(cat {here}/environment) "
        'sh -c "$SSH_ORIGINAL_COMMAND"\n',
        encoding="utf-8",
    )
    (folder / "environment").touch()
    session.chmod(0o755)
    key = " ".join((folder / "host.pub").read_text().split()[:2])
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {key}\n")
    (folder / "sshd_config").write_text(_SERVER.format(port=port, folder=folder))
    (folder / "ssh_config").write_text(_CLIENT.format(alias=ALIAS, port=port, folder=folder))
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd's folder for privilege separation
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen([sshd, "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
    made = Server(folder, port, process)
    try:
        _wait_for(made)
        yield made
    finally:
        made.cut()
        process.terminate()
        process.wait()


def free_port() -> int:
    """A port that nobody listens to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _wait_for(made: Server) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", made.port)) == 0:
                return
        time.sleep(0.05)
    pytest.skip(f"sshd does not start here: {(made.folder / 'sshd.log').read_text()}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended
        return b""


def _children(parent: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{parent}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(word) for word in path.read_text().split()]
    return found
