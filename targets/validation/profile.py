"""Where the time of an artifact goes, and where it would be better off in fp32."""

from __future__ import annotations

from collections.abc import Sequence

from edgewise.errors import UsageError
from edgewise.findings import Finding
from edgewise.targets.base import LOCAL, Artifact, Feeds, Target
from edgewise.targets.profiling import PartTime, ProfilingTarget
from edgewise.targets.validation.results import Latency, Profile, ProfilePart

#: share of the whole that must be lost to fp32 before it is worth a finding
_WORTH_TELLING = 0.02
_NAMED = 3


def measure_profile(
    target: Target,
    artifact: Artifact,
    fp32: Artifact | None,
    feeds: Feeds,
    latency: Latency,
    *,
    device: str = LOCAL,
    threads: int = 1,
) -> Profile:
    """Time the parts of an artifact; nothing is measured, with a reason, where they cannot be.

    Raises:
        ModelError: a file cannot be read.
        DeviceError: a part cannot be run.
    """
    if not isinstance(target, ProfilingTarget):
        return Profile.not_measured(f"the {target.name} target cannot time parts of its artifacts")
    try:
        times = target.profile(artifact, fp32, feeds, device=device, threads=threads)
    except UsageError as error:
        return Profile.not_measured(error.what)
    return _profile(times.parts, times.method, latency)


def _profile(times: Sequence[PartTime], method: str, latency: Latency) -> Profile:
    total = sum(part.ms for part in times)
    rows = [
        ProfilePart(part.tensor, part.operators, part.ms, part.ms / total, part.fp32_ms)
        for part in times
    ]
    rows.sort(key=lambda part: -part.ms)
    fp32 = [part.fp32_ms for part in times if part.fp32_ms is not None]
    return Profile(
        parts=tuple(rows),
        sum_ms=total,
        fp32_sum_ms=sum(fp32) if fp32 and len(fp32) == len(times) else None,
        whole_ms=latency.median_ms,
        lost_ms=sum(part.ms - (part.fp32_ms or 0.0) for part in rows if part.is_slower),
        method=method,
    )


def profile_findings(profile: Profile) -> list[Finding]:
    """One remark where parts that are slower than in fp32 cost more than a little."""
    if not profile.sum_ms or not profile.lost_ms:
        return []
    share = profile.lost_ms / profile.sum_ms
    if share < _WORTH_TELLING:
        return []
    worst = sorted(profile.slower, key=lambda part: (part.fp32_ms or 0.0) - part.ms)
    named = ", ".join(
        f"'{part.tensor}' ({' + '.join(part.operators)}) {part.ms:.3f} ms for {part.fp32_ms:.3f}"
        for part in worst[:_NAMED]
    )
    text = (
        f"{len(worst)} of {len(profile.parts)} parts are slower than in fp32, by {share:.1%} of "
        f"the time of all: {named}"
    )
    return [Finding("validation/slower-than-fp32", "info", text)]
