"""Packages of this machine's distribution for any architecture, without root and beside its dpkg.

apt keeps its state in a folder of ours: no package counts as installed, nothing of the machine is
changed, and its hooks are not run. What is the machine's own is how to reach archives: its sources
(`sources`), its keys, and its settings for proxies, certificates and passwords.
"""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgewise.errors import DeviceError
from edgewise.progress import SILENT, Progress
from edgewise.targets.validation.devices.bundle.sources import (
    Source,
    at_suite,
    codenames_of,
    read_sources,
)
from edgewise.targets.validation.devices.bundle.tools import ToolFailed, run_tool

_TOOLS = ("apt-get", "apt-cache", "apt-config", "dpkg-deb")
_OS_RELEASE = Path("/etc/os-release")
_SETTING = re.compile(r'(?P<key>Acquire::[^ ]+) "(?P<value>[^"]+)";')
#: of the machine's settings, what says which files of an archive to get, not how to get them
_NOT_KEPT = ("Acquire::IndexTargets", "Acquire::Languages", "Acquire::GzipIndexes")
_PRINTED_URI = re.compile(r"'[^']+' (?P<file>\S+) \d+")
_NETWORK = ("resolv", "fetch", "connect", "timed out", "unreachable", "Release file")
_SPACE = ("free space", "No space left")


@dataclass(frozen=True, slots=True)
class Package:
    """What an archive offers under a name."""

    name: str
    version: str
    depends: str
    download_size: int  # bytes
    installed_size: int  # bytes

    @property
    def release(self) -> tuple[int, ...]:
        """The numbers of the upstream version: (10, 0, 2) in `1:10.0.2+ds-2~bpo12`."""
        upstream = re.split(r"[+~-]", self.version.rpartition(":")[2])[0]
        return tuple(int(part) for part in re.findall(r"\d+", upstream))


class PackageArchive:
    """The archive of the distribution for one architecture, as `package_archive` read it."""

    def __init__(self, state: Path, architecture: str) -> None:
        self._state, self.architecture = state, architecture

    def show(self, names: Iterable[str]) -> list[Package]:
        """What would be downloaded by these names. Raises DeviceError where one is missing."""
        said = self._apt("apt-cache", "show", "--no-all-versions", *names)
        return [_package(paragraph) for paragraph in said.split("\n\n") if paragraph.strip()]

    def with_dependencies(self, names: Iterable[str]) -> list[Package]:
        """The packages of these names, and all that they need. Raises DeviceError."""
        said = self._apt("apt-get", "install", "--print-uris", "-y", "-qq", *names)
        found = (_PRINTED_URI.match(line) for line in said.splitlines())
        return self.show([line["file"].partition("_")[0] for line in found if line])

    def download(self, names: Iterable[str], into: Path) -> list[Path]:
        """The .deb files of exactly these packages. Raises DeviceError."""
        return self._downloaded(into, "download", *names)

    def download_source(self, name: str, into: Path) -> list[Path]:
        """The original source of a package, packed as it is. Raises DeviceError."""
        wanted = ("--only-source", "--tar-only", "--download-only")
        return self._downloaded(into, "source", *wanted, name)

    def update(self) -> None:
        """Read what the archive has. Raises DeviceError."""
        self._apt("apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any")

    def _downloaded(self, into: Path, *arguments: str) -> list[Path]:
        into.mkdir(parents=True, exist_ok=True)
        before = set(into.iterdir())
        self._apt("apt-get", "-q", *arguments, folder=into)
        return sorted(set(into.iterdir()) - before)

    def _apt(self, tool: str, *arguments: str, folder: Path | None = None) -> str:
        settings = {"APT_CONFIG": str(self._state / "apt.conf")}
        try:
            return run_tool([tool, *arguments], environment=settings, folder=folder)
        except ToolFailed as error:
            raise _explained(error, self.architecture) from error


@contextmanager
def package_archive(
    architecture: str,
    folder: Path,
    *,
    suites: Sequence[str] = (),
    components: Sequence[str] = ("main",),
    source_packages: bool = False,
    progress: Progress = SILENT,
) -> Iterator[PackageArchive]:
    """The archive of this machine's distribution, read afresh.

    Args:
        architecture: as Debian names it: `arm64`, `amd64`.
        folder: apt's state is in it meanwhile.
        suites: other suites of the archive than those of this machine, as `bookworm-backports`;
            the first is preferred.
        source_packages: so that `PackageArchive.download_source` finds them.

    Raises:
        DeviceError: the machine has no apt, names no archive, or the archive cannot be reached.
    """
    _require_apt()
    sources = machine_sources(components)
    if suites:
        own = {source.suite for source in sources}
        wanted = [at_suite(sources, suite) for suite in suites if suite not in own]
        sources = [*(source for group in wanted for source in group), *_of(sources, suites)]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".apt-", dir=folder) as name:
        state = Path(name)
        stanzas = [
            source.stanza(architecture, source_packages=source_packages) for source in sources
        ]
        (state / "edgewise.sources").write_text("\n".join(stanzas), encoding="utf-8")
        (state / "apt.conf").write_text(_settings(state, architecture, suites), encoding="utf-8")
        archive = PackageArchive(state, architecture)
        progress.step(f"Reading what the archive has for {architecture}")
        archive.update()
        yield archive


def told(packages: Sequence[Package]) -> str:
    """How many packages, and how large, for progress."""
    size = sum(package.download_size for package in packages) / 1e6
    return f"{len(packages)} package{'s' if len(packages) != 1 else ''} ({size:.0f} MB)"


def unpack(package: Path, into: Path) -> None:
    """The files of a .deb in a folder. Raises DeviceError."""
    try:
        run_tool(["dpkg-deb", "--extract", str(package), str(into)])
    except ToolFailed as error:
        raise _explained(error, package.name) from error


def machine_sources(components: Sequence[str] = ("main",)) -> list[Source]:
    """The archive that this machine's apt uses for its release.

    Raises:
        DeviceError: there is none.
    """
    _require_apt()
    names = run_tool(
        [
            "apt-config",
            "shell",
            "LIST",
            "Dir::Etc::sourcelist/f",
            "PARTS",
            "Dir::Etc::sourceparts/d",
        ]
    )
    paths = dict(part.partition("=")[::2] for part in shlex.split(names))
    parts = sorted(Path(paths["PARTS"]).glob("*")) if "PARTS" in paths else []
    files = [Path(paths["LIST"]), *(path for path in parts if path.suffix in (".list", ".sources"))]
    found = read_sources(
        [path for path in files if path.is_file()],
        release_names(),
        components,
    )
    if not found:
        raise DeviceError(
            "apt knows no archive of this machine's release",
            where=str(Path(paths["LIST"]).parent),
            remedy="Add the archive of the distribution to apt's sources.",
        )
    return found


def release_names() -> list[str]:
    """The names of this machine's release of Debian, Ubuntu or a child of theirs."""
    return codenames_of(_OS_RELEASE.read_text(encoding="utf-8")) if _OS_RELEASE.exists() else []


def own_suites(components: Sequence[str] = ("main",)) -> list[str]:
    """The suites of this machine's release that apt uses. Raises DeviceError."""
    return list(dict.fromkeys(source.suite for source in machine_sources(components)))


def _of(sources: Iterable[Source], suites: Sequence[str]) -> list[Source]:
    return [source for source in sources if source.suite in suites]


def _require_apt() -> None:
    for tool in _TOOLS:
        if shutil.which(tool) is None:
            raise DeviceError(
                "cannot get ARM64 packages on this machine",
                why=f"it has no {tool}: only Debian, Ubuntu and their like do",
                remedy="Use a container of one of these.",
            )


def _settings(state: Path, architecture: str, suites: Sequence[str]) -> str:
    """apt's settings: places of ours, and how the machine reaches archives."""
    for part in ("state/lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True)
    (state / "status").touch()
    kept = (
        found for found in map(_SETTING.fullmatch, run_tool(["apt-config", "dump"]).splitlines())
    )
    lines = [
        found[0] for found in kept if found is not None and not found["key"].startswith(_NOT_KEPT)
    ]
    ours = {
        "APT::Architecture": architecture,
        "APT::Architectures::": architecture,
        "APT::Install-Recommends": "false",
        "APT::Install-Suggests": "false",
        "APT::Sandbox::User": "root",  # nobody else can write to the folder of the user
        "APT::Get::AllowUnauthenticated": "false",
        "Acquire::Languages": "none",
        "Debug::NoLocking": "true",
        "Dir::State": f"{state}/state",
        "Dir::State::lists": f"{state}/state/lists",
        "Dir::State::status": f"{state}/status",
        "Dir::Cache": f"{state}/cache",
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::Etc::sourcelist": f"{state}/edgewise.sources",
        "Dir::Etc::sourceparts": "/dev/null",
    }
    if suites:
        ours["APT::Default-Release"] = suites[0]
    return "\n".join([*lines, *(f'{key} "{value}";' for key, value in ours.items())]) + "\n"


def _package(paragraph: str) -> Package:
    fields = dict(
        line.split(": ", 1) for line in paragraph.splitlines() if re.match(r"\S+: ", line)
    )
    return Package(
        name=fields["Package"],
        version=fields["Version"],
        depends=", ".join(fields[key] for key in ("Pre-Depends", "Depends") if key in fields),
        download_size=int(fields["Size"]),
        installed_size=int(fields.get("Installed-Size", "0")) * 1024,
    )


def _explained(error: ToolFailed, about: str) -> DeviceError:
    """One line out of what apt says."""
    said = error.said
    if any(part in said for part in ("Unable to locate package", "No packages found", "candidate")):
        return DeviceError(
            f"apt's archive has no such package for {about}",
            why=error.reason(),
            remedy="Name an archive in apt's sources that has this architecture.",
        )
    if any(part in said for part in _SPACE):
        remedy = "Free some space, or name another folder in EDGEWISE_CACHE."
    elif any(part in said for part in _NETWORK):
        remedy = "Check the network, and the archives in apt's sources."
    else:
        remedy = ""
    return DeviceError("apt failed", where=about, why=error.reason(), remedy=remedy)
