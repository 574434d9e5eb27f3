"""What a target asks of a device beside outputs and times."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from edgewise.findings import Finding
from edgewise.targets.base import Artifact


@runtime_checkable
class DeviceCheckingTarget(Protocol):
    """A target whose runtime tells on the device itself how it runs an artifact."""

    def device_findings(self, artifact: Artifact, device: str) -> tuple[Finding, ...]:
        """Remarks on how the runtime of the device runs the artifact.

        Raises DeviceError where the device fails, and ModelError where its runtime refuses it.
        """
