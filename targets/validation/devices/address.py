"""What a user writes to name a device.

| text | device |
|---|---|
| `local` | this machine, in this process |
| `emulated:cortex-a53` | ARM64 code under QEMU, or natively where this machine is ARM64 |
| `ssh://user@host:port` | a board that the system's ssh reaches, with the user's configuration |
| `adb:SERIAL`, `adb` | a phone that the system's adb reaches; without a serial, the only one |
| `mac`, `mac:user@host` | Core ML (`edgewise.targets.apple.mac`) |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from edgewise.errors import DeviceError
from edgewise.targets.base import LOCAL
from edgewise.targets.validation.devices.openssh import is_safe

Kind = Literal["local", "emulated", "ssh", "adb", "mac"]

#: cores that QEMU knows, from the smallest; `max` has every feature
EMULATED_CPUS = (
    "cortex-a53",
    "cortex-a55",
    "cortex-a72",
    "cortex-a76",
    "neoverse-n1",
    "neoverse-v1",
    "max",
)
_SSH = re.compile(
    r"ssh://(?:(?P<user>[^@/:]+)@)?(?P<host>\[[^\]]+\]|[^@/:\[\]]+)(?::(?P<port>\d+))?/?"
)


@dataclass(frozen=True, slots=True)
class DeviceAddress:
    """`detail` is what follows the kind: the core, `user@host[:port]`, the serial."""

    kind: Kind
    detail: str
    text: str

    @classmethod
    def of(cls, text: str) -> DeviceAddress:
        """Raises DeviceError for what names no device."""
        if text == LOCAL:
            return cls("local", "", text)
        if text == "adb" or text.startswith("adb:"):
            return cls("adb", text[4:], text)
        if text == "mac" or text.startswith("mac:"):
            return cls("mac", text[4:], text)
        if text.startswith("emulated:"):
            return cls("emulated", _known_cpu(text), text)
        if text.startswith("ssh:"):
            return cls("ssh", _ssh_host(text), text)
        raise DeviceError(
            f"there is no device '{text}'",
            remedy="Name it as local, emulated:cortex-a53, ssh://user@host, adb:SERIAL or mac, or "
            "give it a name with `edgewise devices add`.",
        )

    def __str__(self) -> str:
        return self.text


def _known_cpu(text: str) -> str:
    cpu = text.partition(":")[2]
    if cpu not in EMULATED_CPUS:
        raise DeviceError(
            f"no core '{cpu}' can be emulated",
            where=f"device '{text}'",
            remedy=f"Choose one of {', '.join(EMULATED_CPUS)}.",
        )
    return cpu


def _ssh_host(text: str) -> str:
    found = _SSH.fullmatch(text)
    if found is None or not (is_safe(found["host"]) and is_safe(found["user"] or "")):
        raise DeviceError(
            "no host that ssh can be given",
            where=f"device '{text}'",
            remedy="Name it as ssh://user@host:port, without blanks or signs of a shell.",
        )
    return text.removeprefix("ssh://").rstrip("/")
