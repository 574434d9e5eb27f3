"""Where artifacts are run: this machine, ARM64 under an emulator, a board behind ssh, a phone.

One small file, `runner`, runs in one bundle of ARM64 files on every device; what differs between
kinds is how the bundle gets there and how the runner is started (`device.Device`).
"""

from edgewise.targets.validation.devices.address import DeviceAddress
from edgewise.targets.validation.devices.choice import chosen, runs, takes_times_here
from edgewise.targets.validation.devices.connections import (
    acquire,
    connected,
    has_runner,
    interrupt_all,
    release,
)
from edgewise.targets.validation.devices.registry import ResolvedDevice, resolve
from edgewise.targets.validation.devices.session import DeviceSession

__all__ = [
    "DeviceAddress",
    "DeviceSession",
    "ResolvedDevice",
    "acquire",
    "chosen",
    "connected",
    "has_runner",
    "interrupt_all",
    "release",
    "resolve",
    "runs",
    "takes_times_here",
]
