"""Boards that ssh reaches, and artifacts for all kinds of devices."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from arm_board.namespace import arm_board, plain_board
from arm_board.server import ALIAS, server
from arm_board.ssh_board import SshBoard
from distribution_packages import download_packages

from edgewise.errors import DeviceError
from edgewise.targets.validation.devices.bundle.installation import Installation
from edgewise.targets.validation.devices.bundle.packages import unpack
from edgewise.targets.validation.devices.openssh import COMMAND_VARIABLE

_ADDRESS = f"ssh://{ALIAS}"
SAMPLE = Path(__file__).parents[2] / "sample_models" / "digits"


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of the digits sample for android and arm; tests only read it."""
    out = tmp_path_factory.mktemp("digits") / "dist"
    targets = "--target", "android", "--target", "arm", "--limit", "60"
    command = [sys.executable, "-m", "edgewise", "build", SAMPLE / "edgewise.toml", *targets]
    done = subprocess.run([*command, "--out", out], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def arm64_busybox(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory, emulator: Installation
) -> Path:
    """The busybox of the distribution, downloaded once for all runs of the tests."""
    assert pytestconfig.cache is not None
    kept = pytestconfig.cache.mkdir("arm64-busybox") / "busybox"
    if not kept.exists():
        folder = tmp_path_factory.mktemp("busybox")
        try:
            (package,) = download_packages(["busybox-static"], "arm64", folder)
        except DeviceError as error:
            pytest.skip(f"no ARM64 busybox: {error}")
        unpack(package, folder / "files")
        found = folder / "files" / "bin" / "busybox"
        part = kept.with_suffix(f".{os.getpid()}")  # another process may be at it, too
        shutil.copy(found if found.exists() else folder / "files/usr/bin/busybox", part)
        part.replace(kept)
    return kept


@pytest.fixture(scope="session")
def shared_arm_board(
    arm64_busybox: Path, emulator: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SshBoard]:
    if emulator.qemu is None:
        pytest.skip("this machine is a board itself")
    root, folder = tmp_path_factory.mktemp("board"), tmp_path_factory.mktemp("server")
    with (
        arm_board(root, arm64_busybox, emulator.qemu) as made,
        server(made.entering(), folder) as running,
    ):
        yield SshBoard(made, running, _ADDRESS, "/root/.cache/edgewise-device")


@pytest.fixture
def ssh_board(
    shared_arm_board: SshBoard,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[SshBoard]:
    """A board of ARM64 programs that EDGEWISE_SSH reaches; what was sent there stays."""
    with _leaving_nothing(shared_arm_board, tmp_path_factory.mktemp("temporary"), monkeypatch):
        yield shared_arm_board


@pytest.fixture(scope="session")
def shared_plain_board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshBoard]:
    root, folder = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("server")
    with plain_board(root) as made, server(made.entering(), folder) as running:
        yield SshBoard(made, running, _ADDRESS, f"{root}/home/.cache/edgewise-device")


@pytest.fixture
def empty_board(
    shared_plain_board: SshBoard,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[SshBoard]:
    """An empty board for bundles whose programs are scripts."""
    with _leaving_nothing(shared_plain_board, tmp_path_factory.mktemp("temporary"), monkeypatch):
        yield shared_plain_board
    root = shared_plain_board.board.root
    shared_plain_board.board.run(
        f"cd {root} && rm -rf home/.cache mid/* noexec/* small/* /var/tmp/*"
    )


@contextmanager
def _leaving_nothing(
    board: SshBoard, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """EDGEWISE_SSH leads to the board; nothing but complete bundles may be there after a test, and
    nothing on this side."""
    monkeypatch.setenv(COMMAND_VARIABLE, board.server.ssh)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    yield
    board.server.set_environment()
    assert board.server.wait_for_rest() == []
    assert board.board.wait_for_rest() == []
    assert list(temporary.glob("edgewise-*")) == []
    assert [name for name in board.files(board.place) if "-" in name] == []
