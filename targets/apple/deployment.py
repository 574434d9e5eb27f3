"""The oldest system that a package runs on: what a user may ask, and what its parts need.

Core ML's operations come in versions, one set for each system that brought new ones; a program is
written in the set of its minimum deployment target (coremltools guide, "Availability"). The names
are those of coremltools, where the iOS of a year stands for that year's macOS, watchOS and tvOS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from edgewise.errors import ModelError, UsageError

System = Literal["iOS15", "iOS16", "iOS17", "iOS18", "iOS26"]
#: from old to new
SYSTEMS: tuple[System, ...] = get_args(System)
#: other names of the same sets of operations
_ALIASES: dict[str, System] = {
    "macOS12": "iOS15", "macOS13": "iOS16", "macOS14": "iOS17", "macOS15": "iOS18",
    "macOS26": "iOS26",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Need:
    """A part of a package, and the oldest system that has it."""

    what: str
    system: System


def system(name: str) -> System:
    """The system of a name such as iOS17 or macOS14. Raises UsageError for an unknown one."""
    found = _ALIASES.get(name, name)
    if found not in SYSTEMS:
        raise UsageError(
            f"unknown deployment target '{name}'",
            where="[targets.apple]",
            remedy=f"Known: {', '.join((*SYSTEMS, *_ALIASES))}.",
        )
    return found


def is_older(one: System, other: System) -> bool:
    return SYSTEMS.index(one) < SYSTEMS.index(other)


def too_old(need: Need, demanded: System) -> ModelError:
    """The error for a `deployment_target` that lacks what the package needs."""
    return ModelError(
        f"{need.what} needs {need.system}",
        where="[targets.apple]",
        why=f"deployment_target is {demanded}",
        remedy=f"Set it to {need.system} or newer, or leave it out.",
    )


def newest(*systems: System) -> System:
    return max(systems, key=SYSTEMS.index)


def core_ml_target(name: System) -> Any:
    """The member of `coremltools.target`."""
    from edgewise.targets.apple._coremltools import ct

    return getattr(ct.target, name)
