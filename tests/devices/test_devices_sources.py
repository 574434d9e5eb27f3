"""apt's own files, read for another architecture."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewise.targets.validation.devices.bundle.sources import (
    Source,
    at_suite,
    codenames_of,
    read_sources,
)

_DEB822 = """\
# the archive
Types: deb deb-src
URIs: http://archive.test/debian http://mirror.test/debian
Suites: bookworm bookworm-updates
Components: main contrib
signed-by: /usr/share/keyrings/archive.gpg
Architectures: amd64
Check-Valid-Until: no

Types: deb
URIs: http://vendor.test/node_20.x
Suites: nodistro
Components: main

Enabled: no
Types: deb
URIs: http://off.test/debian
Suites: bookworm
Components: main
"""
_ONE_LINE = """\
# deb http://comment.test/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://archive.test/debian bookworm main contrib # the archive
deb-src http://archive.test/debian bookworm main
deb http://security.test/debian-security stable-security main
deb http://vendor.test/debian bookworm-pgdg main
deb http://vendor.test/linux bookworm stable
"""


def read(folder: Path, name: str, text: str, **options: tuple[str, ...]) -> list[Source]:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_sources([path], ["bookworm"], **options)


def test_deb822_files(tmp_path: Path) -> None:
    kept = (("Signed-By", "/usr/share/keyrings/archive.gpg"), ("Check-Valid-Until", "no"))
    assert read(tmp_path, "debian.sources", _DEB822) == [
        Source(f"http://{host}.test/debian", suite, ("main",), kept)
        for host in ("archive", "mirror")
        for suite in ("bookworm", "bookworm-updates")
    ]


def test_one_line_files(tmp_path: Path) -> None:
    assert read(tmp_path, "sources.list", _ONE_LINE) == [
        Source("http://archive.test/debian", "bookworm", ("main",), (("Signed-By", "/k.gpg"),)),
        Source("http://security.test/debian-security", "stable-security", ("main",)),
    ]


def test_components_are_those_that_are_asked_for(tmp_path: Path) -> None:
    text = "deb http://archive.test/ubuntu bookworm main restricted universe\n"
    (found,) = read(tmp_path, "sources.list", text, components=("main", "universe"))
    assert found.components == ("main", "universe")


def test_a_key_within_the_file(tmp_path: Path) -> None:
    key = "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n"
    text = f"Types: deb\nURIs: http://a.test/d\nSuites: bookworm\nComponents: main\n{key}"
    (found,) = read(tmp_path, "a.sources", text)
    stanza = found.stanza("arm64")
    assert "Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n" in stanza
    assert read(tmp_path, "b.sources", stanza) == [found]


@pytest.mark.parametrize(
    ("uri", "architecture", "expected"),
    [
        ("http://archive.ubuntu.com/ubuntu", "arm64", "http://ports.ubuntu.com/ubuntu-ports"),
        ("http://de.archive.ubuntu.com/ubuntu/", "arm64", "http://ports.ubuntu.com/ubuntu-ports"),
        ("https://security.ubuntu.com/ubuntu", "arm64", "http://ports.ubuntu.com/ubuntu-ports"),
        ("http://archive.ubuntu.com/ubuntu", "amd64", "http://archive.ubuntu.com/ubuntu"),
        ("http://mirror.test/ubuntu", "arm64", "http://mirror.test/ubuntu"),
    ],
)
def test_the_archive_of_an_architecture(uri: str, architecture: str, expected: str) -> None:
    stanza = Source(uri, "noble", ("main",)).stanza(architecture)
    assert f"URIs: {expected}\n" in stanza
    assert f"Architectures: {architecture}\n" in stanza


def test_another_suite_is_asked_of_the_archive_and_not_of_its_updates() -> None:
    sources = [
        Source("http://a.test/debian", suite, ("main",))
        for suite in ("bookworm", "bookworm-updates")
    ] + [Source("http://s.test/debian-security", "bookworm-security", ("main",))]
    assert at_suite(sources, "bookworm-backports") == [
        Source("http://a.test/debian", "bookworm-backports", ("main",))
    ]


def test_the_names_of_a_release() -> None:
    mint = 'NAME="Linux Mint"\nVERSION_CODENAME=wilma\nUBUNTU_CODENAME="noble"\n'
    assert codenames_of(mint) == ["wilma", "noble"]
    assert codenames_of("NAME=Fedora\nVERSION_CODENAME=\n") == []
