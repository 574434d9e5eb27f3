"""What a device says of itself when it is met: `edgewise devices test`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edgewise.errors import DeviceError
from edgewise.progress import Progress
from edgewise.targets.manifest import tool_versions
from edgewise.targets.validation.devices import ResolvedDevice, connected
from edgewise.targets.validation.devices.cpu_names import cores_named
from edgewise.targets.validation.devices.runner import machine_facts, status

#: features of Linux' ARM64 kernels that decide how fast low precisions are, by their usual names
NOTABLE = {
    "asimdhp": "fp16",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "sve2": "sve2",
    "sme": "sme",
}
#: of what a runner says under emulation, what is not that of the machine below
_OF_A_CORE = ("cpus", "features", "machine", "python", "versions")
_ROUND_TRIPS = 5
_RUNTIMES = ("onnxruntime", "ai-edge-litert", "coremltools")


@dataclass(frozen=True, slots=True)
class Meeting:
    """One connection to a device. None, or empty, where it does not tell."""

    device: str
    address: str
    description: str
    machine: Mapping[str, Any] = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict)
    runtimes: Mapping[str, str] = field(default_factory=dict)
    connect_seconds: float | None = None
    round_trip_ms: float | None = None
    latency_reason: str | None = None
    #: what the device says beside its runner, by label
    about: Mapping[str, str] = field(default_factory=dict)
    #: where the bundle lies there, and whether it was sent
    bundle: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def told(self) -> dict[str, str]:
        """Lines for people, by label; what the device does not tell is left out."""
        lines = {
            "device": self.description,
            "model": self.machine.get("model"),
            **self.about,
            "machine": _joined(
                self.machine.get("machine"),
                _unit(self.machine.get("cores"), "cores"),
                self.machine.get("system"),
            ),
            "cpu": cores_named(self.machine.get("cpus") or ()),
            "features": _features(self.machine.get("features")),
            "memory": _memory(self.machine.get("memory_bytes")),
            "runtimes": ", ".join(f"{name} {text}" for name, text in self.runtimes.items()),
            "governor": self.status.get("governor"),
            "clock": _joined(*(_unit(mhz, "MHz") for mhz in self.status.get("mhz") or ())),
            "temperature": _unit(self.status.get("temperature_c"), "°C"),
            "load": _unit(self.status.get("load"), ""),
            "round trip": _unit(self.round_trip_ms, "ms"),
            "bundle": self.bundle,
            "connected in": _unit(self.connect_seconds, "s"),
            "latency": self.latency_reason and f"not measured there: {self.latency_reason}",
        }
        return {label: str(text) for label, text in lines.items() if text}


def meet(device: ResolvedDevice, progress: Progress) -> Meeting:
    """Connect to a device and ask it. Raises DeviceError where it cannot be used."""
    progress.step(f"connect to {device.text}")
    kinds: dict[str, Callable[[ResolvedDevice], Meeting]] = {"local": _local, "mac": _mac}
    own = kinds.get(device.address.kind)
    return _runner(device, progress) if own is None else own(device)


def _runner(device: ResolvedDevice, progress: Progress) -> Meeting:
    began = time.monotonic()
    with connected(device.text, progress) as link:
        seconds = time.monotonic() - began
        trips = []
        for _ in range(_ROUND_TRIPS):
            began = time.perf_counter()
            said, _ = link.request("status")
            trips.append(time.perf_counter() - began)
        emulated = link.device.latency_reason is not None
        machine = {
            key: value
            for key, value in link.hello.items()
            if (key in _OF_A_CORE if emulated else key != "protocol" and key not in said)
        }
        return Meeting(
            device.text,
            device.address.text,
            link.description,
            machine,
            {} if emulated else said,
            machine.get("versions", {}),
            round(seconds, 3),
            None if emulated else round(min(trips) * 1e3, 3),
            link.device.latency_reason,
            link.device.about(),
            link.device.bundle,
        )


def _local(device: ResolvedDevice) -> Meeting:
    found = tool_versions(*_RUNTIMES)
    versions = {name: found[name] for name in _RUNTIMES if name in found}
    machine = {**machine_facts(), "versions": versions}
    return Meeting(device.text, device.address.text, "this machine", machine, status(), versions)


def _mac(device: ResolvedDevice) -> Meeting:
    from edgewise.targets.apple.mac import MacAddress, meet

    address = MacAddress.of(device.address.text)
    if address is None:
        raise DeviceError(f"'{device.text}' is no Mac")
    began = time.monotonic()
    about = meet(address)
    seconds = round(time.monotonic() - began, 3)
    return Meeting(device.text, device.address.text, str(address), about, connect_seconds=seconds)


def _features(found: object) -> str:
    names = [name for key, name in NOTABLE.items() if isinstance(found, list) and key in found]
    return " ".join(names)


def _memory(count: int | None) -> str:
    return "" if count is None else f"{count / 1e9:.1f} GB"


def _unit(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:g} {unit}".strip()


def _joined(*parts: object) -> str:
    return ", ".join(str(part) for part in parts if part)
