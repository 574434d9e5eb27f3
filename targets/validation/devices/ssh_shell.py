"""The shell of a board, over one connection of the system's ssh.

The commands of a run share a connection: a master process of ssh (`ControlMaster`), whose socket is
in a private folder with a short path, since a socket's path has at most 104 bytes. `ControlPersist`
would leave a process behind that nobody waits for: this master runs `cat` there instead, whose
standard input is a pipe of this process. Its end, however it comes, ends the connection.

No scp and no sftp: a board with dropbear has neither, while every one has a shell to stream to.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import IO

from edgewise.errors import DeviceError
from edgewise.targets.validation.devices.device import LineLost
from edgewise.targets.validation.devices.launch import end
from edgewise.targets.validation.devices.openssh import (
    FAILED,
    SshHost,
    failure,
    is_passing,
    not_started,
)
from edgewise.targets.validation.devices.store import Said
from edgewise.targets.validation.devices.waiting import waited

_READY = b"edgewise-ready"
_WAIT_THERE = f"echo {_READY.decode()}; exec cat > /dev/null"
_PAUSE = 1.0  # seconds before a refused connection is tried again
#: for the connection, and for the key exchange of a slow processor behind it
_CONNECT_SECONDS = 45.0
_LONGEST_PATH = 80  # ssh adds a dot and 16 letters while it makes the socket


class SshShell:
    """Implements `store.Shell`. Open until it is closed."""

    def __init__(self, host: SshHost, address: str) -> None:
        """Raises DeviceError where ssh does not get there."""
        self.address = address
        self._host = host
        self._stack = ExitStack()
        self._folder = _private_folder(self._stack)
        # a file: a pipe that nobody reads would fill
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed by the stack
        self._stack.callback(self._said.close)
        self._master: subprocess.Popen[bytes] | None = None
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    def run(self, script: str, *, source: Path | None = None, timeout: float) -> Said:
        with ExitStack() as stack:
            stream = (
                subprocess.DEVNULL if source is None else stack.enter_context(source.open("rb"))
            )
            process = self._popen(script, stream)
            try:
                with waited(process, partial(end, process)):
                    output, errors = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired as error:
                raise DeviceError(
                    f"no answer in {timeout:g} s",
                    where=self.address,
                    why="the device or the way to it is too slow, or hangs",
                ) from error
            finally:
                end(process)
                process.communicate()
        said = errors.decode(errors="replace")
        if process.returncode == FAILED:
            raise self.lost(said)
        return Said(process.returncode, output.decode(errors="replace"), said)

    def start(self, script: str) -> subprocess.Popen[bytes]:
        """Start a script, its standard streams being those of the process."""
        return self._popen(script, subprocess.PIPE)

    def settle(self) -> None:
        """Delete the socket: what was started keeps the connection, and nothing else will be."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def lost(self, said: str) -> LineLost:
        """Why the connection broke, by what a command and the connection itself said."""
        with suppress(subprocess.TimeoutExpired):
            if self._master is not None:
                self._master.wait(timeout=2)
        self._said.seek(0)
        told = failure(self.address, f"{self._said.read().decode(errors='replace')}\n{said}")
        return LineLost(told.what, where=told.where, why=told.why, remedy=told.remedy)

    def close(self) -> None:
        """End the connection, and delete its socket."""
        if self._master is not None:
            self._end_master(self._master)
        self._stack.close()

    def _connect(self) -> None:
        """A refused connection is tried twice: the server may be starting."""
        for last in (False, True):
            said = self._try_to_connect()
            if said is None:
                return
            if last or not is_passing(said):
                raise failure(self.address, said)
            time.sleep(_PAUSE)

    def _try_to_connect(self) -> str | None:
        """What ssh said where it failed."""
        self._said.truncate(0)
        self._said.seek(0)
        self._master = master = self._popen(
            _WAIT_THERE, subprocess.PIPE, master=True, errors=self._said
        )
        timer = threading.Timer(_CONNECT_SECONDS, end, (master,))
        timer.daemon = True
        timer.start()
        try:
            assert master.stdout is not None
            with waited(master, partial(end, master)):
                for line in master.stdout:
                    if line.rstrip() == _READY:
                        return None
        finally:
            timer.cancel()
        self._end_master(master)
        self._said.seek(0)
        said = self._said.read().decode(errors="replace")
        return said or f"no answer: timed out after {_CONNECT_SECONDS:g} s"

    def _popen(
        self,
        script: str,
        source: IO[bytes] | int,
        *,
        master: bool = False,
        errors: IO[bytes] | int = subprocess.PIPE,
    ) -> subprocess.Popen[bytes]:
        # without a master that lives, ssh opens a connection of its own
        path = str(self._folder / "s").replace("%", "%%")
        options = ("-S", path, "-o", f"ControlMaster={'yes' if master else 'no'}")
        try:
            return subprocess.Popen(
                # ssh hands one line to the user's shell there, which may be any
                [*self._host.command(*options), shlex.join(["sh", "-c", script])],
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        except OSError as error:
            raise not_started(self.address, error) from error

    def _end_master(self, master: subprocess.Popen[bytes]) -> None:
        for stream in (master.stdin, master.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        try:
            master.wait(timeout=5)
        except subprocess.TimeoutExpired:
            end(master)
            master.wait()
        self._master = None


def _private_folder(stack: ExitStack) -> Path:
    """A folder of this user alone that is deleted at the end, with a path that sockets can have."""
    base = tempfile.gettempdir()
    if len(base) > _LONGEST_PATH - len("/edgewise-12345678/s"):
        base = "/tmp"
    folder = Path(tempfile.mkdtemp(prefix="edgewise-", dir=base))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder
