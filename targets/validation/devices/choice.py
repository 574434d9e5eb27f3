"""Which of the devices that the user named an artifact is validated on."""

from __future__ import annotations

from collections.abc import Sequence

from edgewise.errors import UsageError
from edgewise.targets.validation.devices.bundle.installation import installed
from edgewise.targets.validation.devices.registry import ResolvedDevice, resolve

#: the target whose artifacts a Mac runs, and no device with a runner does
_CORE_ML = "apple"


def chosen(texts: Sequence[str]) -> tuple[ResolvedDevice, ...]:
    """The devices, in the user's order.

    Raises:
        DeviceError: there is no such device.
        UsageError: one is named twice, by whatever name; the list of names is damaged.
    """
    found: dict[str, ResolvedDevice] = {}
    for device in map(resolve, texts):
        earlier = found.setdefault(device.address.text, device)
        if earlier is not device:
            same = f"'{device.text}' is '{earlier.text}'"
            raise UsageError(
                f"the device '{device.text}' is named twice",
                why=same if device.text != earlier.text else "",
                remedy="Name each device once.",
            )
    return tuple(found.values())


def runs(device: ResolvedDevice, target: str) -> bool:
    """Whether artifacts of a target run on such a device."""
    kind = device.address.kind
    return kind == "local" or (kind == "mac") == (target == _CORE_ML)


def takes_times_here(device: ResolvedDevice) -> bool:
    """Whether this machine's own speed is measured there, which other work would disturb.

    Raises DeviceError for an emulated core where no emulator is installed.
    """
    kind = device.address.kind
    if kind == "emulated":
        return installed().qemu is None
    return kind == "local" or (kind == "mac" and not device.address.detail)
