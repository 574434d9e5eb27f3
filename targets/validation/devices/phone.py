"""What a phone says of itself: its model, its Android, its processor, its battery and its heat.

`getprop` and `uname` tell the first; `dumpsys battery` (temperature in tenths of a degree) and
`dumpsys thermalservice` (0 is no throttling, 6 is shutting down; Android 10 and newer) the rest,
where a phone has them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgewise.errors import DeviceError
from edgewise.targets.validation.devices.store import Shell

_PROPERTIES = (
    "ro.product.manufacturer",
    "ro.product.model",
    "ro.product.cpu.abi",
    "ro.product.cpu.abilist",
    "ro.build.version.release",
    "ro.build.version.sdk",
)
_SCRIPT = f"""
for name in {" ".join(_PROPERTIES)}; do printf '%s=%s\\n' $name "$(getprop $name)"; done
printf 'machine=%s\\n' "$(uname -m)"
dumpsys -t 5 battery 2>/dev/null
dumpsys -t 5 thermalservice 2>/dev/null
"""
_SECONDS = 60.0
_MACHINE = "aarch64"
THERMAL_STATES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")


@dataclass(frozen=True, slots=True)
class PhoneFacts:
    """None, or empty, where the phone does not tell."""

    model: str
    release: str  # of Android
    sdk: int | None
    abi: str
    machine: str  # as uname -m
    battery_percent: int | None = None
    battery_c: float | None = None
    powered: bool | None = None
    #: one of THERMAL_STATES
    thermal: str | None = None

    @property
    def system(self) -> str:
        return f"Android {self.release}" if self.release else "Android"

    def __str__(self) -> str:
        return f"{self.model}, {self.system}" if self.model else self.system

    def told(self) -> dict[str, str]:
        """For people, by label; what the phone does not tell is left out."""
        charge = None if self.battery_percent is None else f"{self.battery_percent} %"
        heat = None if self.battery_c is None else f"{self.battery_c:g} °C"
        power = {True: "plugged in", False: "not plugged in", None: None}[self.powered]
        lines = {
            "model": self.model,
            "system": self.system,
            "battery": ", ".join(part for part in (charge, heat, power) if part),
            "throttling": self.thermal,
        }
        return {label: text for label, text in lines.items() if text}


def read_phone(shell: Shell) -> PhoneFacts:
    """Ask the phone. Raises DeviceError where it is none that runs ARM64 code."""
    said = shell.run(_SCRIPT, timeout=_SECONDS)
    facts = phone_facts(said.output)
    if facts.machine != _MACHINE:
        raise DeviceError(
            "the phone has no 64-bit ARM kernel",
            where=shell.address,
            why=f"it is {facts.machine or 'unknown'}, with the ABI {facts.abi or 'unknown'}",
            remedy="The bundle runs on 64-bit ARM phones only.",
        )
    return facts


def phone_facts(said: str) -> PhoneFacts:
    """Out of what the script printed."""
    values = dict(line.split("=", 1) for line in said.splitlines() if re.match(r"[\w.]+=", line))
    maker, model = values.get("ro.product.manufacturer", ""), values.get("ro.product.model", "")
    named = model if model.lower().startswith(maker.lower()) else f"{maker} {model}"
    abis = values.get("ro.product.cpu.abilist") or values.get("ro.product.cpu.abi", "")
    status = _number(r"Thermal Status: (\d+)", said)
    tenths = _number(r"^\s*temperature: (-?\d+)", said)
    power = re.findall(r"^\s*(?:AC|USB|Wireless|Dock) powered: (true|false)", said, re.MULTILINE)
    return PhoneFacts(
        model=named.strip(),
        release=values.get("ro.build.version.release", ""),
        sdk=_number(r"^ro\.build\.version\.sdk=(\d+)", said),
        abi=abis,
        machine=values.get("machine", ""),
        battery_percent=_number(r"^\s*level: (\d+)", said),
        battery_c=None if tenths is None else tenths / 10,
        powered="true" in power if power else None,
        thermal=None if status is None or status > 6 else THERMAL_STATES[status],
    )


def _number(pattern: str, text: str) -> int | None:
    found = re.search(pattern, text, re.MULTILINE)
    return None if found is None else int(found[1])
