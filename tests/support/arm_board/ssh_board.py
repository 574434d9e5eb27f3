"""A board that ssh reaches."""

from __future__ import annotations

from dataclasses import dataclass

from arm_board.namespace import Board
from arm_board.server import Server
from edgewise.targets.validation.devices.address import DeviceAddress
from edgewise.targets.validation.devices.bundle.installation import Installation
from edgewise.targets.validation.devices.ssh import SshDevice


@dataclass(frozen=True, slots=True)
class SshBoard:
    """A board and the server that leads to it."""

    board: Board
    server: Server
    address: str
    place: str  # where it keeps bundles

    def device(self, installation: Installation | None = None) -> SshDevice:
        return SshDevice(DeviceAddress.of(self.address), installation)

    def files(self, folder: str) -> list[str]:
        """Names in a folder of the board."""
        return self.board.run(f"ls {folder} 2>/dev/null; :").split()

    def path(self, name: str) -> str:
        """Below the root of a plain board."""
        return str(self.board.root / name)

    def keep_in(self, folder: str) -> None:
        """The folder for caches of later sessions."""
        self.server.set_environment(f"XDG_CACHE_HOME={folder}")
