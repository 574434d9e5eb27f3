"""A folder as the root of an ARM64 system, for the processes of one user namespace.

The kernel (6.7 or newer) lets a user namespace have a `binfmt_misc` of its own: there, and nowhere
else, ARM64 programs are started with QEMU, wherever they lie. A process in a pipe holds the
namespaces; others enter them with `nsenter`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

_MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
_HOLD = """
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc || exit
printf '%s' ':arm64:M::{magic}:{mask}:{qemu}:FP' > /proc/sys/fs/binfmt_misc/register || exit
mount --rbind {root} {root} || exit
for folder in dev proc sys; do mount --rbind /$folder {root}/$folder || exit; done
{more}
echo ready
exec cat > /dev/null
"""


@dataclass(frozen=True, slots=True)
class Board:
    """A system whose root is a folder of this machine."""

    root: Path
    holder: int  # a process in its namespaces
    cpu: str

    def entering(self) -> list[str]:
        """The command before one that is run there."""
        return [
            "nsenter",
            f"--target={self.holder}",
            "--user",
            "--mount",
            "--preserve-credentials",
            "chroot",
            str(self.root),
            "/usr/bin/env",
            "-i",
            "HOME=/root",
            "PATH=/usr/bin:/bin",
            f"QEMU_CPU={self.cpu}",
        ]

    def run(self, script: str) -> str:
        """Let its shell run a script; gives what that wrote."""
        done = subprocess.run(
            [*self.entering(), "/bin/sh", "-c", script], capture_output=True, text=True, check=True
        )
        return done.stdout

    def processes(self) -> list[int]:
        """What runs there now."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdecimal() and Path(os.readlink(entry / "root")) == self.root:
                    found.append(int(entry.name))
        return found

    def wait_for_rest(self, seconds: float = 10.0) -> list[int]:
        """What still runs there after so many seconds at most."""
        patience = time.monotonic() + seconds
        while (left := self.processes()) and time.monotonic() < patience:
            time.sleep(0.05)
        return left


@contextmanager
def board(
    root: Path, busybox: Path, qemu: Path, *, cpu: str = "cortex-a53", mounts: str = ""
) -> Iterator[Board]:
    """A system of nothing but a busybox; skips where this machine has no such namespaces.

    `mounts` is run before it starts, as root of the namespace; `$ROOT` is the system's root.
    """
    root = root.resolve()
    for name in ("bin", "dev", "proc", "root", "sys", "tmp", "usr/bin", "var/tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(busybox, root / "bin" / "busybox")
    script = _HOLD.format(
        magic=_MAGIC, mask=_MASK, qemu=qemu, root=shlex.quote(str(root)), more=mounts
    )
    holder = subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--mount", "--propagation=private"]
        + ["sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "ROOT": str(root)},
        start_new_session=True,
    )
    assert holder.stdin and holder.stdout and holder.stderr
    try:
        if holder.stdout.readline() != b"ready\n":
            holder.wait()
            pytest.skip(f"no namespaces for ARM64 programs here: {holder.stderr.read().decode()}")
        made = Board(root, holder.pid, cpu)
        _link_tools(made)
        yield made
    finally:
        holder.stdin.close()
        holder.wait()
        holder.stdout.close()
        holder.stderr.close()
        for left in Board(root, holder.pid, cpu).processes():
            with suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)


def _link_tools(made: Board) -> None:
    first = [*made.entering()[:-5], "/bin/busybox", "--list"]
    listed = subprocess.run(first, capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        link = made.root / ("usr/bin" if name == "env" else "bin") / name
        if not os.path.lexists(link):  # what it points to is of another root
            link.symlink_to("/bin/busybox")
