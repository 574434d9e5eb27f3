"""Outputs appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewise.errors import UsageError
from edgewise.files import files_below, sha256, staged


def test_file_appears_only_when_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    with staged(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert [p.name for p in target.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_failure_keeps_the_old_content(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(error), staged(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_folder_replaces_folder(tmp_path: Path) -> None:
    target = tmp_path / "pkg"
    target.mkdir()
    (target / "stale").write_text("x")
    with staged(target) as temporary:
        temporary.mkdir()
        (temporary / "fresh").write_text("y")
    assert [p.name for p in files_below(target)] == ["fresh"]
    assert [p.name for p in tmp_path.iterdir()] == ["pkg"]


def test_file_does_not_replace_a_folder(tmp_path: Path) -> None:
    target = tmp_path / "models"
    target.mkdir()
    (target / "mine").write_text("x")
    with pytest.raises(UsageError, match="is a folder, not a file"), staged(target) as temporary:
        temporary.write_text("new")
    assert [p.name for p in files_below(tmp_path)] == ["mine"]


def test_folder_does_not_replace_a_file(tmp_path: Path) -> None:
    target = tmp_path / "notes"
    target.write_text("mine")
    with pytest.raises(UsageError, match="is a file, not a folder"), staged(target) as temporary:
        temporary.mkdir()
    assert target.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["notes"]


def test_unwritable_place_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot write here"), staged(tmp_path / "file" / "a"):
        pytest.fail("the block must not run")


def test_sha256_is_the_standard_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a").startswith("ba7816bf8f01cfea")  # FIPS 180-2, appendix B.1
