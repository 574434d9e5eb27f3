"""Boards on this machine, each in a user namespace and a mount namespace of its own.

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

_OWN = ("unshare", "--user", "--map-root-user", "--mount", "--propagation=private")
_MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
_EMULATE = """
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc || exit
printf '%s' ':arm64:M::{magic}:{mask}:{qemu}:FP' > /proc/sys/fs/binfmt_misc/register || exit
mount --rbind {root} {root} || exit
for folder in dev proc sys; do mount --rbind /$folder {root}/$folder || exit; done
"""
#: file systems that a test can name as the folder for caches
_MOUNTS = """
mount -t tmpfs -o size=40m tmpfs {root}/mid || exit
mount -t tmpfs -o noexec tmpfs {root}/noexec || exit
mount -t tmpfs -o size=1m tmpfs {root}/small || exit
mount -t tmpfs tmpfs /var/tmp || exit
"""
#: what a board needs, and `touch` and `sleep` for the runners of tests
_TOOLS = (
    *("cat", "chmod", "df", "find", "gzip", "id", "ls", "mkdir", "mv", "rm", "rmdir", "sh"),
    *("sha256sum", "sleep", "tail", "tar", "touch", "uname"),
)


@dataclass(frozen=True, slots=True)
class Board:
    """`command` is run in the namespaces before what is to be run on the board."""

    root: Path
    holder: int  # a process in its namespaces
    command: tuple[str, ...]

    def entering(self) -> list[str]:
        """The command before one that is run there; it ends in an `env`."""
        return [*_enter(self.holder), *self.command]

    def run(self, script: str) -> str:
        """Let its shell run a script; gives what that wrote."""
        command = [*self.entering(), "sh", "-c", script]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def processes(self) -> list[int]:
        """What runs there now, beside the holder."""
        own = Path(f"/proc/{self.holder}/ns/mnt").readlink()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (entry / "ns" / "mnt").readlink() == own:
                    found.append(int(entry.name))
        return [process for process in found if process != self.holder]

    def wait_for_rest(self, seconds: float = 10.0) -> list[int]:
        """What still runs there after so many seconds at most."""
        patience = time.monotonic() + seconds
        while (left := self.processes()) and time.monotonic() < patience:
            time.sleep(0.05)
        return left


@contextmanager
def arm_board(root: Path, busybox: Path, qemu: Path, cpu: str = "cortex-a53") -> Iterator[Board]:
    """An ARM64 system of nothing but a busybox, in a folder; skips where that cannot be."""
    for name in ("bin", "dev", "proc", "root", "sys", "tmp", "usr/bin", "var/tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(busybox, root / "bin" / "busybox")
    script = _EMULATE.format(magic=_MAGIC, mask=_MASK, qemu=qemu, root=shlex.quote(str(root)))
    variables = ("-i", "HOME=/root", "PATH=/usr/bin:/bin", f"QEMU_CPU={cpu}")
    inside = ("chroot", str(root))
    with _held(script) as holder:
        listing = [*_enter(holder), *inside, "/bin/busybox", "--list"]
        listed = subprocess.run(listing, capture_output=True, text=True, check=True)
        for name in listed.stdout.split():
            link = root / ("usr/bin" if name == "env" else "bin") / name
            if not os.path.lexists(link):  # what it points to is of another root
                link.symlink_to("/bin/busybox")
        yield Board(root, holder, (*inside, "/usr/bin/env", *variables))


@contextmanager
def plain_board(root: Path) -> Iterator[Board]:
    """The tools of this machine, which say that they are of an ARM64 system: for bundles that are
    none. `root` has a `home`, and file systems: `mid` of 40 MB, `small` of one, `noexec`."""
    for name in ("home", "mid", "noexec", "programs", "small"):
        (root / name).mkdir()
    path = programs(root / "programs", uname="echo aarch64")
    with _held(_MOUNTS.format(root=shlex.quote(str(root)))) as holder:
        yield Board(root, holder, ("/usr/bin/env", "-i", f"HOME={root}/home", path))


def programs(folder: Path, *without: str, **scripts: str) -> str:
    """A PATH in a folder: the tools of a board but for some, with scripts in place of others."""
    folder.mkdir(exist_ok=True)
    for name in _TOOLS:
        found = shutil.which(name, path="/usr/bin:/bin")
        if found is not None and name not in (*without, *scripts):
            (folder / name).symlink_to(found)
    for name, does in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{does}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return f"PATH={folder}"


def _enter(holder: int) -> list[str]:
    return ["nsenter", f"--target={holder}", "--user", "--mount", "--preserve-credentials"]


@contextmanager
def _held(script: str) -> Iterator[int]:
    """New namespaces, in which a script was run; gives the process that holds them."""
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("no unshare or nsenter here")
    holder = subprocess.Popen(
        [*_OWN, "sh", "-c", f"{script}\necho ready\nexec cat > /dev/null"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert holder.stdin and holder.stdout and holder.stderr
    try:
        if holder.stdout.readline() != b"ready\n":
            holder.wait()
            pytest.skip(f"no such namespaces here: {holder.stderr.read().decode()}")
        yield holder.pid
        for left in Board(Path(), holder.pid, ()).processes():
            with suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)
    finally:
        holder.stdin.close()
        holder.wait()
        holder.stdout.close()
        holder.stderr.close()
