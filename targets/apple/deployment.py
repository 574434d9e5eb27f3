"""The oldest system that a package runs on: what a user may ask, and what its parts need.

Core ML's operations come in versions, one set for each system that brought new ones; a program is
written in the set of its minimum deployment target (coremltools guide, "Availability"). The names
are those of coremltools, where the iOS of a year stands for that year's macOS, watchOS and tvOS.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from edgewise.errors import UsageError

System = Literal["iOS15", "iOS16", "iOS17", "iOS18", "iOS26"]
#: from old to new
SYSTEMS: tuple[System, ...] = get_args(System)
#: has `quantize` and `dequantize`
ACTIVATION_QUANTIZATION: System = "iOS17"


def system(name: str) -> System:
    """Raises UsageError for a name that is none of `SYSTEMS`."""
    if name not in SYSTEMS:
        raise UsageError(
            f"unknown deployment target '{name}'",
            where="[targets.apple]",
            remedy=f"Known: {', '.join(SYSTEMS)}.",
        )
    return name


def is_older(one: System, other: System) -> bool:
    return SYSTEMS.index(one) < SYSTEMS.index(other)


def newest(*systems: System) -> System:
    return max(systems, key=SYSTEMS.index)


def core_ml_target(name: System) -> Any:
    """The member of `coremltools.target`."""
    from edgewise.targets.apple._coremltools import ct

    return getattr(ct.target, name)
