"""What a device says of itself, as results hold it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgewise.targets.validation.devices.cpu_names import cores_named
from edgewise.targets.validation.results import DeviceFacts

_RUNTIMES = {
    "litert": ("LiteRT", "ai-edge-litert"),
    "onnxruntime": ("ONNX Runtime", "onnxruntime"),
}


def device_facts(
    description: str,
    runtime: str,
    hello: Mapping[str, Any],
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    *,
    emulated: bool,
    about: Mapping[str, str] | None = None,
) -> DeviceFacts:
    """`hello` and two looks, as the runner gives them, and what the device tells `about` itself. Of
    an emulated device, what is this machine's (cores, load, temperature, the kernel) is left out.
    """
    about = about or {}
    name, package = _RUNTIMES[runtime]
    version = hello["versions"].get(package)
    facts = DeviceFacts(
        description=description,
        machine=hello["machine"],
        model=about.get("model"),
        system=about.get("system"),
        cpu=cores_named(hello["cpus"]) or None,
        features=tuple(hello["features"]),
        runtime=name if version is None else f"{name} {version}",
    )
    if emulated:
        return facts
    return DeviceFacts(
        description=facts.description,
        machine=facts.machine,
        model=facts.model or hello["model"] or None,
        cpu=_clocked(facts.cpu, hello["max_mhz"]),
        cores=hello["cores"],
        features=facts.features,
        system=", ".join(filter(None, (facts.system, f"Linux {hello['system']}"))),
        runtime=facts.runtime,
        governor=before["governor"],
        load=before["load"],
        temperature_before_c=before["temperature_c"],
        temperature_after_c=after["temperature_c"],
    )


def _clocked(cpu: str | None, max_mhz: list[float]) -> str | None:
    if cpu is None or not max_mhz:
        return cpu
    clocks = ", ".join(f"{mhz / 1000:.3g}" for mhz in sorted(set(max_mhz)))
    return f"{cpu}, up to {clocks} GHz"
