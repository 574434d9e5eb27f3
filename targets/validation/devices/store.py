"""Where the bundle lies on a device, and how it gets there, over ssh as over adb.

A device needs a POSIX shell and the tools of a busybox or a toybox (`tar`, `df`, `ls`, `mkdir`,
`mv`, `rm`, `tail`, `uname`, `id`), nothing else. All there is in one folder, the *place*:

| path below the place | what |
|---|---|
| `<digest>` | a complete bundle |
| `<digest>.part-<pid>` | one that a running shell unpacks; deleted when that ends early |
| `run-<pid>` | the temporary files of a running runner; deleted by the shell that started it |

What a killed process left is deleted by the next look at the place. A bundle is complete when it
has all files in their sizes: what a board that lost its power has not written to its card is found.
Their content was checked by gzip when they arrived; `prepare(thoroughly=True)` compares it.
"""

from __future__ import annotations

import gzip
import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from edgewise.errors import DeviceError
from edgewise.progress import SILENT, Progress
from edgewise.targets.validation.devices import scripts
from edgewise.targets.validation.devices.bundle.installation import Bundle
from edgewise.targets.validation.devices.device import LineLost

_LOOK_SECONDS = 120.0
_CONTENT_SECONDS = 600.0
_SLOWEST_BYTES = 50_000  # a second, over the slowest line that is waited for
_BLOCK = 4096  # what a file takes at least
_TEMPORARY_KIB = 32 * 1024  # for the files of the runner
_ARM64 = ("aarch64", "arm64")
#: what tar says where a disk is full, GNU's tar without the reason
_FULL = ("no space left", "quota exceeded", "short write", "write error", "wrote only")
_STATES = {
    "foreign": "belongs to somebody else or is open to others",
    "full": "is full",
    "noexec": "lets no program run (mounted noexec)",
    "unwritable": "cannot be written to",
}


class BundleDamaged(DeviceError):
    """The bundle on the device does not start, though its files have their sizes."""


@dataclass(frozen=True, slots=True)
class Said:
    """How a script ended on a device."""

    code: int
    output: str
    errors: str


class Shell(Protocol):
    """The shell of a device."""

    #: as the user wrote the device
    address: str

    def run(self, script: str, *, source: Path | None = None, timeout: float) -> Said:
        """Let `sh` run a script, with the bytes of a file as its standard input (else none).

        Raises:
            LineLost: the line broke.
            DeviceError: the device cannot be reached, or there is no end after `timeout` seconds.
        """


@dataclass(frozen=True, slots=True)
class Kept:
    """The bundle on a device."""

    place: PurePosixPath
    root: PurePosixPath  # of the bundle
    #: None where times that are taken there are a device's; else why they are not
    latency_reason: str | None
    is_sent: bool  # just now; else it was there
    #: why it does not lie in a folder that comes before
    passed_over: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """`~/.cache/edgewise-device, sent now; ...`."""
        how = "sent now" if self.is_sent else "was there already"
        return "; ".join((f"{self.place}, {how}", *self.passed_over))


class Store:
    """The bundle of an installation on one device."""

    def __init__(self, shell: Shell, bundle: Bundle, places: Sequence[str]) -> None:
        """`places` are folders in order of preference, as words that the device's shell expands:
        constants of this program, never what a user wrote. Nothing else lies in them."""
        self._shell, self._bundle, self._places = shell, bundle, places

    def prepare(self, *, thoroughly: bool = False, progress: Progress = SILENT) -> Kept:
        """Bring the bundle there where it is missing or damaged, and delete others.

        `thoroughly` reads the content of the files there, and not their sizes alone.

        Raises DeviceError: no ARM64 system, no space, no place that may run programs, no `tar`, or
        the bundle arrives damaged twice.
        """
        expected = scripts.listed(self._bundle.root)
        seen = self._look()
        if thoroughly:
            self._distrust(seen)
        needed, is_sent = _needed_kib(expected), False
        for last in (False, True):
            if _complete(seen, expected) is None:
                room, is_sent = self._room(seen, needed), True
                size = self._bundle.archive.stat().st_size / 1e6
                progress.step(f"send the ARM64 bundle ({size:.1f} MB) to {room.path}")
                self._push(seen, room, retry=not last)
                seen = self._look()
        place = _complete(seen, expected)
        if place is None:
            raise DeviceError(
                "the bundle arrives damaged",
                where=self._shell.address,
                why="files are missing or cut off after it was sent twice",
                remedy="Check the disk of the device, or run `edgewise emulator install` again.",
            )
        before = seen.places[: seen.places.index(place)]
        passed_over = tuple(filter(None, (_unfit(other, needed) for other in before)))
        root = place.path / self._bundle.digest
        return Kept(place.path, root, _emulation(seen), is_sent, passed_over)

    def start_script(self, kept: Kept) -> str:
        """What starts the runner there: it writes `scripts.STARTED` and a line end first, keeps
        temporary files below the place, and deletes them when the runner ends, however it does."""
        bundle = self._bundle
        return scripts.start(kept.place, bundle.python(kept.root), bundle.runner(kept.root))

    def _look(self) -> scripts.Seen:
        digest = self._bundle.digest
        said = self._shell.run(scripts.look(self._places, digest), timeout=_LOOK_SECONDS)
        _expect(self._shell, said, "look at the device")
        seen = scripts.read_look(said.output)
        if seen.machine not in _ARM64:
            raise DeviceError(
                "the device is no ARM64 system",
                where=self._shell.address,
                why=f"`uname -m` says '{seen.machine}'",
                remedy="Artifacts run on 64-bit ARM: install a 64-bit system (aarch64) there, or "
                "name another device.",
            )
        others = [place for place in seen.places if place.has_others]
        if not others:
            return seen
        for place in others:
            drop = scripts.drop_others(place.path, digest)
            said = self._shell.run(drop, timeout=_LOOK_SECONDS)
            _expect(self._shell, said, "delete an older bundle")
            place.has_others = False
        said = self._shell.run(scripts.look(self._places, digest), timeout=_LOOK_SECONDS)
        return scripts.read_look(said.output)

    def _distrust(self, seen: scripts.Seen) -> None:
        """Take a bundle whose content is not ours, or cannot be told, for a damaged one."""
        for place in seen.places:
            if place.files is not None:
                script = scripts.contents(place.path / self._bundle.digest)
                said = self._shell.run(script, timeout=_CONTENT_SECONDS)
                content = scripts.hashed(self._bundle.root).items()
                if not content <= scripts.read_contents(said.output).items():
                    place.files = {}

    def _room(self, seen: scripts.Seen, needed: int) -> scripts.Place:
        """The first place that has so many KiB for the bundle."""
        reasons = []
        for place in seen.places:
            reason = _unfit(place, needed)
            if reason is None:
                return place
            reasons.append(reason)
        raise DeviceError(
            f"no place for the bundle, which needs {needed // 1024} MB",
            where=self._shell.address,
            why="; ".join(reasons) or "the device names no folder",
            remedy="Free space there, or set XDG_CACHE_HOME on the device to a folder of a disk "
            "that has room and lets programs run.",
        )

    def _push(self, seen: scripts.Seen, place: scripts.Place, *, retry: bool) -> None:
        if "tar" not in seen.tools:
            raise DeviceError(
                "the device has no tar",
                where=self._shell.address,
                remedy="Install tar or busybox there: the bundle is unpacked with it.",
            )
        packed = "gzip" in seen.tools
        script = scripts.push(
            place.path, self._bundle.digest, packed=packed, replace=place.files is not None
        )
        timeout = 120 + self._bundle.archive.stat().st_size / _SLOWEST_BYTES
        try:
            if packed:
                said = self._shell.run(script, source=self._bundle.archive, timeout=timeout)
            else:
                said = self._push_unpacked(script, timeout * 4)
        except LineLost:
            if not retry:
                raise
            return  # the next look tells what arrived
        full = [line for line in said.errors.splitlines() if _is_full(line)]
        if full:
            raise DeviceError(
                "the disk of the device is full",
                where=f"{self._shell.address}, {place.path}",
                why=full[0],
                remedy="Free space there; what had arrived of the bundle was deleted.",
            )
        _expect(self._shell, said, "unpack the bundle")

    def _push_unpacked(self, script: str, timeout: float) -> Said:
        """For a device without gzip."""
        with tempfile.NamedTemporaryFile(prefix="edgewise-", suffix=".tar") as plain:
            with gzip.open(self._bundle.archive) as packed:
                shutil.copyfileobj(packed, plain, 1 << 20)
            plain.flush()
            return self._shell.run(script, source=Path(plain.name), timeout=timeout)


def clean(shell: Shell, places: Sequence[str]) -> tuple[str, ...]:
    """Delete all that Edgewise keeps in these places, whatever is installed here, and name it.

    Raises DeviceError where another run uses it.
    """
    said = shell.run(scripts.clean(places), timeout=_LOOK_SECONDS)
    if said.code == scripts.BUSY:
        raise DeviceError(
            "another run uses the device",
            where=shell.address,
            remedy="Wait until it has ended, and try again.",
        )
    _expect(shell, said, "delete the bundle")
    return scripts.read_clean(said.output)


def _expect(shell: Shell, said: Said, what: str) -> None:
    if said.code != 0:
        last = said.errors.strip().splitlines()[-1:] or [f"it ended with code {said.code}"]
        raise DeviceError(f"cannot {what}", where=shell.address, why=last[0])


def _is_full(line: str) -> bool:
    return any(word in line.lower() for word in _FULL)


def _needed_kib(expected: Mapping[tuple[str, str], int]) -> int:
    blocks = sum(math.ceil(size / _BLOCK) for size in expected.values())
    folders = len({folder for folder, _ in expected})
    return (blocks + folders) * _BLOCK // 1024 + _TEMPORARY_KIB


def _unfit(place: scripts.Place, needed: int) -> str | None:
    """Why a place cannot take so many KiB of programs."""
    if place.state != "fit":
        return f"{place.path} {_STATES[place.state]}"
    if place.free_kib is not None and place.free_kib < needed:
        return f"{place.path} has {place.free_kib // 1024} MB free"
    return None


def _complete(seen: scripts.Seen, expected: Mapping[tuple[str, str], int]) -> scripts.Place | None:
    for place in seen.places:
        if place.state == "fit" and expected.items() <= (place.files or {}).items():
            return place
    return None


def _emulation(seen: scripts.Seen) -> str | None:
    """An emulator of programs alone, as in a container for another architecture, tells itself
    ARM64, but not the kernel below it."""
    if seen.kernel in ("", *_ARM64):
        return None
    return f"ARM64 programs are emulated there, on {seen.kernel}: nothing was timed"
