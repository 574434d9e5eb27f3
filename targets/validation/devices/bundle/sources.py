"""The package sources of this machine, read from apt's own files, for another architecture.

Cases:

1. one-line files (`deb [signed-by=…] URI suite component…`) and deb822 files (`.sources`); what is
   disabled, and `deb-src`, is left out (sources of source packages are made of those of binaries).
2. only the archive of the distribution is taken: a component that is asked for (`main`), and a
   suite that is the release of this machine, one of its `-updates` and `-security`, or a name such
   as `stable`. Repositories of other vendors rarely have other architectures, and are not needed.
3. options are kept (keys, trust, mirrors), but for those that choose architectures and languages.
4. the main archive of Ubuntu has amd64 and i386 only; all others are in its ports archive.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

_POCKETS = ("", "-updates", "-security", "/updates")
_FLOATING = frozenset({"oldstable", "stable", "testing", "unstable", "sid", "devel"})
_CODENAMES = ("VERSION_CODENAME", "UBUNTU_CODENAME", "DEBIAN_CODENAME")
_NOT_KEPT = frozenset(
    {"Types", "Uris", "Suites", "Components", "Enabled", "Architectures", "Languages", "Targets"}
)
_SHORT = {"Arch": "Architectures", "Lang": "Languages", "Target": "Targets"}
_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s*)?(?P<rest>\S+\s+\S+.*)")
_UBUNTU_MAIN = re.compile(r"https?://(?:[\w-]+\.)*(?:archive|security)\.ubuntu\.com/ubuntu/?")
_UBUNTU_PORTS = "http://ports.ubuntu.com/ubuntu-ports"
_UBUNTU_MAIN_ARCHITECTURES = ("amd64", "i386")


@dataclass(frozen=True, slots=True)
class Source:
    """One suite of one archive. `options` are fields of the deb822 format."""

    uri: str
    suite: str
    components: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()

    def stanza(self, architecture: str, *, source_packages: bool = False) -> str:
        """The deb822 paragraph for an architecture."""
        fields = {
            "Types": "deb deb-src" if source_packages else "deb",
            "URIs": self._uri_for(architecture),
            "Suites": self.suite,
            "Components": " ".join(self.components),
            "Architectures": architecture,
            **dict(self.options),
        }
        return "".join(f"{key}: {value}\n" for key, value in fields.items())

    def _uri_for(self, architecture: str) -> str:
        foreign = architecture not in _UBUNTU_MAIN_ARCHITECTURES
        return _UBUNTU_PORTS if foreign and _UBUNTU_MAIN.fullmatch(self.uri) else self.uri


def read_sources(
    files: Iterable[Path], codenames: Sequence[str], components: Sequence[str] = ("main",)
) -> list[Source]:
    """The archive of the distribution in apt's files (case 2), of these components; each once."""
    found: dict[Source, None] = {}
    for path in files:
        text = path.read_text(encoding="utf-8", errors="replace")
        entries = _deb822(text) if path.suffix == ".sources" else _one_line(text)
        for source in entries:
            kept = tuple(name for name in source.components if name in components)
            if kept and _is_of_the_distribution(source.suite, codenames):
                found[replace(source, components=kept)] = None
    return list(found)


def at_suite(sources: Iterable[Source], suite: str) -> list[Source]:
    """The archives of a release, asked for another of their suites."""
    archives = {
        replace(source, suite=suite): None
        for source in sources
        if not source.suite.endswith(_POCKETS[1:])
    }
    return list(archives)


def codenames_of(os_release: str) -> list[str]:
    """The names of this machine's release, in the text of `/etc/os-release`."""
    pairs = (line.partition("=") for line in os_release.splitlines())
    values = {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}
    return list(dict.fromkeys(values[key] for key in _CODENAMES if values.get(key)))


def _is_of_the_distribution(suite: str, codenames: Sequence[str]) -> bool:
    bases = [suite.removesuffix(pocket) for pocket in _POCKETS]
    return any(base in codenames or base in _FLOATING for base in bases)


def _one_line(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        found = _ONE_LINE.fullmatch(line.partition("#")[0].strip())
        if found is None:
            continue
        pairs = (item.partition("=") for item in (found["options"] or "").split())
        fields = {_field(key): value.replace(",", " ") for key, _, value in pairs}
        uri, suite, *components = found["rest"].split()
        yield _source(uri, suite, components, fields)


def _deb822(text: str) -> Iterator[Source]:
    for fields in _paragraphs(text):
        kinds = fields.get("Types", "").split()
        if "deb" not in kinds or fields.get("Enabled", "yes").lower() in ("no", "false", "0"):
            continue
        for uri in fields.get("Uris", "").split():
            for suite in fields.get("Suites", "").split():
                yield _source(uri, suite, fields.get("Components", "").split(), fields)


def _source(uri: str, suite: str, components: Iterable[str], fields: Mapping[str, str]) -> Source:
    return Source(
        uri,
        suite,
        tuple(components),
        tuple((key, value) for key, value in fields.items() if key not in _NOT_KEPT),
    )


def _paragraphs(text: str) -> Iterator[dict[str, str]]:
    """Fields by name; lines of a value keep their line ends and the blank before them."""
    fields: dict[str, str] = {}
    name = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields:
                yield fields
            fields = {}
        elif line[0] in " \t":
            if name in fields:
                fields[name] += f"\n{line}"
        else:
            key, _, value = line.partition(":")
            name = _field(key)
            fields[name] = value.strip()


def _field(name: str) -> str:
    """`signed-by` as `Signed-By`: names are told apart without their case."""
    titled = "-".join(part.capitalize() for part in name.strip().split("-"))
    return _SHORT.get(titled, titled)
