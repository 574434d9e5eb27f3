"""A phone that is plugged in by adb, in a network of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from adb_phone import holder
from edgewise.targets.validation.devices.bundle.installation import Installation

SERIAL = f"127.0.0.1:{holder.PORT}"
ADDRESS = f"adb:{SERIAL}"
_OWN_NETWORK = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")


@dataclass(frozen=True, slots=True)
class Phone:
    """`data` is its /data/local/tmp, `own` a folder of programs before its own."""

    root: Path
    data: Path
    own: Path
    home: Path
    holder: subprocess.Popen[str]
    first: int  # the process of the namespaces that all others there come from

    def plug(self) -> None:
        """Plug it in, and let adb know.

        adb keeps a phone that went away as `offline` for a while and tries it at times of its own:
        it is told to forget that one.
        """
        self.tell("plug")
        for _ in range(40):
            with suppress(OSError):  # it may know none
                self.tell(f"adb disconnect {SERIAL}")
            self.tell(f"adb connect {SERIAL}")
            with suppress(OSError):
                self.tell(f"adb -s {SERIAL} shell true")
                return
            time.sleep(0.25)
        raise OSError("adb sees no phone")

    def tell(self, command: str) -> None:
        """Raises OSError where the holder fails at it."""
        assert self.holder.stdin and self.holder.stdout
        self.holder.stdin.write(f"{command}\n")
        self.holder.stdin.flush()
        answer = self.holder.stdout.readline().strip()
        if answer != "done":
            raise OSError(answer)

    def entering(self) -> list[str]:
        """The command before one that runs on the computer to which the phone is attached."""
        user = [] if os.getuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", f"--target={self.first}", "--net", "--pid", "--mount", *user]

    def start(self, command: Sequence[str | Path], **variables: str) -> subprocess.Popen[str]:
        """Start a program on that computer."""
        return subprocess.Popen(
            [*self.entering(), *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(self.home) | variables,
        )

    def run(
        self, command: Sequence[str | Path], **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        process = self.start(command, **variables)
        output, errors = process.communicate(timeout=300)
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    def edgewise(
        self, *arguments: str | Path, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """The command line."""
        return self.run([sys.executable, "-m", "edgewise", *arguments], **variables)

    def adb(self, *arguments: str) -> str:
        """What an adb command writes."""
        done = self.run(["adb", *arguments], ANDROID_SERIAL=SERIAL)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def programs(self) -> list[str]:
        """The command lines of what runs there, on the computer and on the phone, but adbd, the
        adb server and what holds them."""
        listed = self.run(["ps", "-e", "-ww", "-o", "args="]).stdout.splitlines()
        own = ("/usr/sbin/adbd", "fork-server", "holder.py", "ps -e", "<defunct>")
        return [line for line in listed if not any(part in line for part in own)]


def environment(home: Path) -> dict[str, str]:
    """Of the computer: adb keeps its key in the home folder."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ANDROID_")}
    return kept | {"HOME": str(home), "TMPDIR": str(home)}


@contextmanager
def phone(system: Path, emulator: Installation, folder: Path, *, size: str = "") -> Iterator[Phone]:
    """A phone that is plugged in; `size` limits its storage. Skips where there cannot be one."""
    for program in ("adb", "nsenter", "ps", "unshare"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} here")
    data, own, home = (folder / name for name in ("data", "own", "home"))
    for made in (data, own, home):
        made.mkdir()
    user = [] if os.getuid() == 0 else ["--map-root-user"]
    process = subprocess.Popen(
        [*_OWN_NETWORK, *user, sys.executable, str(Path(holder.__file__))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(home)
        | {
            "ROOT": str(system),
            "QEMU": str(emulator.qemu or ""),
            "DATA": str(data),
            "OWN": str(own),
            "SIZE": size,
            "LOG": str(folder / "adbd.log"),
        },
    )
    try:
        first = wait_until(lambda: _children(process.pid), "no namespaces here", process)
        made = Phone(system, data, own, home, process, first[0])
        try:
            made.plug()
        except OSError as error:
            pytest.skip(str(error))
        yield made
    finally:
        assert process.stdin and process.stdout
        process.stdin.close()
        process.wait()
        process.stdout.close()


def wait_until(
    found: Callable[[], list[int]], reason: str, process: subprocess.Popen[str]
) -> list[int]:
    """What is found, as soon as it is; skips where the process ends before."""
    for _ in range(200):
        if there := found():
            return there
        if process.poll() is not None:
            break
        time.sleep(0.02)
    pytest.skip(reason)


def _children(parent: int) -> list[int]:
    listed = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(word) for word in listed.read_text().split()] if listed.exists() else []
