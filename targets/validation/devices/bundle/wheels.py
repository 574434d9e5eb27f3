"""ARM64 wheels from the machine's own package index, through its pip or uv.

The versions are those of this machine, so that figures compare; where there is no wheel of such a
version for the bundle's Python, the newest before it, else the newest.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewise.errors import DeviceError
from edgewise.progress import SILENT, Progress
from edgewise.targets.validation.devices.bundle.tools import ToolFailed, run_tool

#: what the runner imports; nothing that they depend on is imported by what the runner uses
PACKAGES = ("ai-edge-litert", "numpy", "onnxruntime")
_OLDEST_GLIBC = 17  # of manylinux2014
_UV_GLIBC = (17, 28, *range(31, 41))  # the platforms that uv has names for
_NO_WHEEL = ("No matching distribution", "no version", "No solution found", "no wheels")
_NO_LINE = ("Retrying", "connection", "resolve host", "dns error", "timed out")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The bundle's Python and C library, which choose the wheels."""

    python: tuple[int, int]
    glibc: tuple[int, int]


def wanted_versions() -> dict[str, str]:
    """The versions on this machine, by package."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def install_wheels(
    wanted: Mapping[str, str], target: Interpreter, site: Path, *, progress: Progress = SILENT
) -> dict[str, str]:
    """Put the packages in a folder; the versions that were found, by package.

    Raises:
        DeviceError: this Python has no pip, the index cannot be reached, or has no wheel.
    """
    command = _installer(target, site)
    exact = [f"{name}=={version}" for name, version in wanted.items()]
    progress.step(f"Downloading ARM64 wheels of {', '.join(exact)} (about 55 MB)")
    try:
        run_tool([*command, *exact])
    except ToolFailed as error:
        if not _is_missing(error):
            raise _explained(error, ", ".join(exact)) from error
        for name, version in wanted.items():
            _nearest(command, name, version, progress)
    return {name: _version_in(site, name) for name in wanted}


def _nearest(command: Sequence[str], name: str, version: str, progress: Progress) -> None:
    requirements = (f"{name}=={version}", f"{name}<{version}", name)
    for requirement in requirements:
        progress.step(f"Looking for an ARM64 wheel of {requirement}")
        try:
            run_tool([*command, requirement])
            return
        except ToolFailed as error:
            if requirement == requirements[-1] or not _is_missing(error):
                raise _explained(error, requirement) from error


def _installer(target: Interpreter, site: Path) -> list[str]:
    major, minor = target.python
    if importlib.util.find_spec("pip") is not None:
        tags = [f"manylinux_2_{minor}_aarch64" for minor in range(target.glibc[1], 16, -1)]
        platforms = [
            part for tag in (*tags, "manylinux2014_aarch64") for part in ("--platform", tag)
        ]
        abis = [part for abi in (f"cp{major}{minor}", "abi3", "none") for part in ("--abi", abi)]
        return [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"),
            *("--no-deps", "--no-compile", "--no-user", "--upgrade", "--only-binary=:all:"),
            *("--implementation", "cp", "--python-version", f"{major}.{minor}"),
            *platforms,
            *abis,
            *("--target", str(site)),
        ]
    uv = shutil.which("uv")
    if uv is None:
        raise DeviceError(
            "cannot download ARM64 wheels",
            where=sys.executable,
            why="this Python has neither pip nor uv",
            remedy="Install pip in it (`python -m ensurepip`).",
        )
    glibc = max(known for known in _UV_GLIBC if known <= max(target.glibc[1], _OLDEST_GLIBC))
    return [
        *(uv, "pip", "install", "--quiet", "--no-deps", "--upgrade", "--only-binary", ":all:"),
        *("--python-version", f"{major}.{minor}"),
        *("--python-platform", f"aarch64-manylinux_2_{glibc}"),
        *("--target", str(site)),
    ]


def _version_in(site: Path, name: str) -> str:
    distributions = importlib.metadata.distributions(path=[str(site)])
    for distribution in distributions:
        if distribution.metadata["Name"].lower().replace("_", "-") == name:
            return distribution.version
    raise DeviceError("the installer left no such package", where=name)


def _is_missing(error: ToolFailed) -> bool:
    said = error.said
    return any(part in said for part in _NO_WHEEL) and not any(part in said for part in _NO_LINE)


def _explained(error: ToolFailed, wanted: str) -> DeviceError:
    if "No space left" in error.said:
        remedy = "Free some space, or name another folder in EDGEWISE_CACHE."
    else:
        remedy = "Check the network, and the package index in the settings of pip."
    return DeviceError(
        f"cannot download ARM64 wheels of {wanted}", why=error.reason(), remedy=remedy
    )
