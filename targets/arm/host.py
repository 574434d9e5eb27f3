"""What the machine that runs the artifact here tells about an ARM device, and what it does not."""

from __future__ import annotations

from edgewise.findings import Finding
from edgewise.targets.host_cpu import HostCpu


def host_findings(host: HostCpu, *, quantized: bool) -> tuple[Finding, ...]:
    """What to know about figures that were measured on `host` rather than on an ARM device."""
    if host.is_arm64:
        return ()
    findings = [
        Finding(
            "arm/measured-on-x86",
            "warning",
            f"measured on this {host.arch} machine, not on an ARM device: latency differs, and "
            "fewer operators run in integers here than on ARM64",
            remedy="Measure on the device before you rely on the latency.",
        )
    ]
    if quantized and host.saturates is not False:
        doubt = "has" if host.saturates else "may have"
        findings.append(
            Finding(
                "arm/saturating-host",
                "warning",
                f"this {host.arch} processor {doubt} no VNNI: int8 products saturate in 16 bits, "
                "and outputs can differ from ARM's by up to 22 % of their range",
                remedy="Judge accuracy on an ARM64 machine or on an x86 with VNNI.",
            )
        )
    return tuple(findings)
