"""What cleaning a board leaves alone."""

from __future__ import annotations

from pathlib import Path

from arm_board.ssh_board import SshBoard


def test_cleaning_does_not_follow_where_others_may_lead(empty_board: SshBoard) -> None:
    place, theirs = Path(empty_board.place), Path(empty_board.path("home/theirs"))
    theirs.mkdir()
    theirs.chmod(0o777)
    (theirs / "file").touch()
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(theirs)
    empty_board.board.run("umask 77; mkdir -p /var/tmp/edgewise-device-0/0123abcd/lib")
    assert empty_board.device().clean() == ("/var/tmp/edgewise-device-0/0123abcd",)
    assert [path.name for path in theirs.iterdir()] == ["file"]
