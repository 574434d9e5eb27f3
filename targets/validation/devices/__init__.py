"""Where artifacts are run: this machine, ARM64 under an emulator, a board behind ssh, a phone.

One small file, `runner`, runs in one bundle of ARM64 files on every device; what differs between
kinds is how the bundle gets there and how the runner is started (`device.Device`).
"""

from edgewise.targets.validation.devices.address import DeviceAddress
from edgewise.targets.validation.devices.connections import acquire, connected, has_runner, release
from edgewise.targets.validation.devices.registry import ResolvedDevice, resolve
from edgewise.targets.validation.devices.session import DeviceSession

__all__ = [
    "DeviceAddress",
    "DeviceSession",
    "ResolvedDevice",
    "acquire",
    "connected",
    "has_runner",
    "release",
    "resolve",
]
