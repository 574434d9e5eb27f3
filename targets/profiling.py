"""Where the time of an artifact goes, part by part.

A part is what lies between two tensors that the artifact shares with the same target's fp32 file:
an operator with its padding and requantizations, or an island of float. How a part is timed is the
target's business, and `Profile.method` says it, since it decides what a figure means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from edgewise.targets.base import LOCAL, Artifact, Feeds


@dataclass(frozen=True, slots=True)
class PartTime:
    """One part of an artifact, and what the fp32 file takes for the same tensor."""

    tensor: str  # what it computes, by the name that the model gives it
    operators: tuple[str, ...]  # in order of execution
    ms: float  # median of one run
    fp32_ms: float | None = None  # None where the fp32 file has no such part


@dataclass(frozen=True, slots=True)
class PartTimes:
    """All parts in order of execution, and how they were timed."""

    parts: tuple[PartTime, ...]
    method: str


@runtime_checkable
class ProfilingTarget(Protocol):
    """A target that can time the parts of its artifacts."""

    def profile(
        self,
        artifact: Artifact,
        fp32: Artifact | None,
        feeds: Feeds,
        *,
        device: str = LOCAL,
        threads: int = 1,
    ) -> PartTimes:
        """Time every part, fed with what `feeds` gives there.

        Args:
            fp32: the same model's fp32 artifact of this target, timed alongside.
            device: where the parts run, and whose clock times them.

        Raises:
            UsageError: the artifact's options leave nothing to profile, or times of the device
                mean nothing.
            ModelError: a file cannot be read.
            DeviceError: a part cannot be run.
        """
