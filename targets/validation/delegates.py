"""The latency of an Android artifact on a phone's GPU and accelerator, where the user gave the
vendor's native tool for that phone (`edgewise devices add NAME adb:SERIAL --benchmark-model PATH`).
"""

from __future__ import annotations

from edgewise.progress import SILENT, Progress
from edgewise.targets.base import Artifact
from edgewise.targets.validation.devices import connected, resolve
from edgewise.targets.validation.devices.adb import AdbDevice
from edgewise.targets.validation.devices.benchmark_model import USUAL, measure_delegates
from edgewise.targets.validation.results import DelegateLatency

_TFLITE = ".tflite"


def time_delegates(
    device: str,
    artifact: Artifact,
    *,
    threads: int = 1,
    profile: bool = False,
    progress: Progress = SILENT,
) -> tuple[DelegateLatency, ...]:
    """One figure per delegate; none where the device has no tool, or the artifact is no TFLite.

    Raises DeviceError: the phone cannot be reached, or the tool does not run there.
    """
    tool = resolve(device).benchmark_model
    if tool is None or artifact.path.suffix != _TFLITE:
        return ()
    with connected(device) as link:
        phone = link.device
        assert isinstance(phone, AdbDevice)  # the registry keeps the tool of no other
        if phone.latency_reason is not None:
            reason = phone.latency_reason
            return tuple(DelegateLatency.not_measured(name, threads, reason) for name in USUAL)
        return measure_delegates(
            phone.shell(), tool, artifact.path, threads=threads, profile=profile, progress=progress
        )
