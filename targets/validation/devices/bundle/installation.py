"""What `edgewise emulator install` left in the cache: the bundle, QEMU and the counter."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any

from edgewise.errors import DeviceError

#: names another folder for the cache
CACHE_VARIABLE = "EDGEWISE_CACHE"
RECORD_NAME = "emulator.json"
_LOADER = "ld-linux-aarch64.so.1"
#: one line, and nothing in it that a shell on the way would have to be told of
_BOOTSTRAP = (
    "import sys; n = int(sys.stdin.buffer.readline()); "
    "exec(compile(sys.stdin.buffer.read(n), 'edgewise-runner', 'exec'), {'__name__': '__main__'})"
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """An assembled bundle on this machine. `digest` is that of its files."""

    root: Path
    archive: Path  # the same as .tar.gz, to be pushed to devices
    digest: str
    versions: Mapping[str, str]

    def python(self, root: PurePosixPath | Path | None = None) -> list[str]:
        """The command of its Python, where the bundle lies at `root`."""
        at = self.root if root is None else root
        return [
            str(at / "lib" / _LOADER),
            "--library-path",
            str(at / "lib"),
            str(at / "bin" / "python3"),
            "-I",
            "-S",
            "-B",
        ]

    def runner(self, root: PurePosixPath | Path | None = None) -> list[str]:
        """The command that reads a runner from standard input (`runner_source`) and becomes it."""
        at = self.root if root is None else root
        return [*self.python(at), "-u", "-c", _BOOTSTRAP, str(at / "site")]


def runner_source() -> bytes:
    """What the bootstrap reads first: this version's runner, whatever is in the bundle."""
    package = resources.files("edgewise.targets.validation.devices")
    source = package.joinpath("runner.py").read_bytes()
    return b"%d\n" % len(source) + source


@dataclass(frozen=True, slots=True)
class Counter:
    """A QEMU that takes plugins, and the plugin that counts instructions."""

    qemu: Path
    plugin: Path


@dataclass(frozen=True, slots=True)
class Installation:
    """`qemu` is None where this machine runs ARM64 code itself."""

    bundle: Bundle
    qemu: Path | None
    qemu_version: str
    #: a folder with `proc/cpuinfo` for a QEMU that does not emulate it (before 10)
    qemu_prefix: Path | None = None
    counter: Counter | None = None


def cache_folder() -> Path:
    """`$EDGEWISE_CACHE`, else `edgewise` in the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "edgewise"


def installed() -> Installation:
    """What is installed. Raises DeviceError where nothing is, or where it is damaged."""
    record = cache_folder() / RECORD_NAME
    try:
        return _read(json.loads(record.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise DeviceError(
            "the ARM64 bundle is not installed",
            why=f"there is no {record}",
            remedy="Run `edgewise emulator install` once; it takes about a minute.",
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DeviceError(
            "the record of the ARM64 bundle is damaged",
            where=str(record),
            why=str(error),
            remedy="Run `edgewise emulator install` again.",
        ) from error


def _read(record: Mapping[str, Any]) -> Installation:
    bundle, counter = record["bundle"], record.get("counter")
    return Installation(
        bundle=Bundle(
            Path(bundle["root"]), Path(bundle["archive"]), bundle["digest"], bundle["versions"]
        ),
        qemu=None if record["qemu"] is None else Path(record["qemu"]),
        qemu_version=record["qemu_version"],
        qemu_prefix=None if record.get("qemu_prefix") is None else Path(record["qemu_prefix"]),
        counter=None
        if counter is None
        else Counter(Path(counter["qemu"]), Path(counter["plugin"])),
    )
