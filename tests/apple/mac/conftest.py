"""A far side that passes for a Mac, and an ssh that reaches it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

STANDIN = Path(__file__).parent / "standin"
#: drops options and the host as ssh does, and lets a shell become the rest: ended with it
_LOOPBACK = """#!/bin/sh
while [ "$1" != "--" ]; do shift; done
host="$2"; shift 2
case "$host" in
  *unreachable*) echo "ssh: connect to host $host port 22: Connection refused" >&2; exit 255;;
esac
exec /bin/sh -c "exec $*"
"""


def _executable(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def far_python(tmp_path: Path) -> str:
    """A Python whose Core ML is the stand-in."""
    text = f'#!/bin/sh\nPYTHONPATH="{STANDIN}" exec "{sys.executable}" "$@"\n'
    folder = tmp_path / "far side"  # a space, which shells would take apart
    folder.mkdir()
    return str(_executable(folder / "python3", text))


@pytest.fixture
def loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ssh` is a script that stays on this machine."""
    monkeypatch.setenv("EDGEWISE_SSH", str(_executable(tmp_path / "ssh", _LOOPBACK)))


@pytest.fixture
def real_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A real sshd on a port of its own; gives the host to name."""
    sshd, keygen = (
        shutil.which("sshd", path="/usr/sbin:/usr/local/sbin"),
        shutil.which("ssh-keygen"),
    )
    if sshd is None or keygen is None or shutil.which("ssh") is None:
        pytest.skip("no OpenSSH server here")
    for name in ("host", "user"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    shutil.copy(tmp_path / "user.pub", tmp_path / "authorized_keys")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nPidFile none\n"
        f"AuthorizedKeysFile {tmp_path}/authorized_keys\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nPermitRootLogin prohibit-password\n",
        encoding="utf-8",
    )
    (tmp_path / "ssh_config").write_text(
        f"Host loopback\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {tmp_path}/user\n"
        "  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n",
        encoding="utf-8",
    )
    server = subprocess.Popen([sshd, "-D", "-e", "-f", tmp_path / "sshd_config"], stderr=-3)
    try:
        _wait_for(port)
        monkeypatch.setenv("EDGEWISE_SSH", f"ssh -F {tmp_path}/ssh_config")
        yield "loopback"
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.skip(f"sshd does not start here (as user {os.getuid()})")
