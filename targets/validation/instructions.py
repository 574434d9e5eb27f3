"""How many ARM64 instructions one inference takes, beside the same target's fp32 file.

Counted in a process of its own, under the emulator that has the counter, at one thread; they are
the same in every run to some thousandths of a percent, and are no time.
"""

from __future__ import annotations

from contextlib import closing

from edgewise.errors import DeviceError
from edgewise.progress import SILENT, Progress
from edgewise.targets.base import Artifact, Feeds, Target
from edgewise.targets.validation.devices import DeviceSession, connected, resolve
from edgewise.targets.validation.devices.bundle.installation import installed
from edgewise.targets.validation.devices.connections import COUNTED
from edgewise.targets.validation.devices.counter.count import LEAST_RUNS, fewest
from edgewise.targets.validation.devices.counter.device import NOT_INSTALLED, Region
from edgewise.targets.validation.results import Instructions

NOT_ASKED_FOR = "not asked for"
NOT_EMULATED = "instructions are counted on emulated devices only, such as emulated:cortex-a53"


def is_emulated(device: str) -> bool:
    """Whether instructions can be counted there. Raises DeviceError for what is no device."""
    return resolve(device).address.kind == "emulated"


def count_instructions(
    target: Target,
    artifact: Artifact,
    fp32: Artifact | None,
    device: str,
    feeds: Feeds,
    *,
    runs: int = LEAST_RUNS,
    progress: Progress = SILENT,
) -> Instructions:
    """Count both files on the same inputs.

    Returns:
        No counts, with the reason, where the device is not emulated or there is no counter.

    Raises:
        DeviceError: the emulator is not installed, or the counting failed.
    """
    if not is_emulated(device):
        return Instructions.not_counted(device, NOT_EMULATED)
    if installed().counter is None:
        return Instructions.not_counted(device, NOT_INSTALLED)
    address = resolve(device).address.text
    progress.step(f"Counting instructions of {artifact.target}")
    with connected(COUNTED + address):
        region, runtime = _counted(target, artifact, COUNTED + address, feeds, runs)
        other = None
        if fp32 is not None:
            other = _counted(target, fp32, COUNTED + address, feeds, runs)[0].total
    return Instructions(
        device=address,
        total=region.total,
        by_class=dict(region.by_class),
        fp32_total=other,
        ratio=None if other is None else region.total / other,
        runs=runs,
        reason="there is no fp32 file to compare with" if other is None else None,
        runtime=runtime,
    )


def _counted(
    target: Target, artifact: Artifact, device: str, feeds: Feeds, runs: int
) -> tuple[Region, str | None]:
    """The fewest of the runs, and the runtime with its version."""
    session = target.open(artifact, device, threads=1)
    with closing(session):
        if not isinstance(session, DeviceSession):
            raise DeviceError(f"artifacts for {artifact.target} do not run on '{device}'")
        session.prepare(feeds)
        return fewest(session.count_runs(runs)), session.facts.runtime
