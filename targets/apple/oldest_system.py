"""The program in the operations of the oldest system that has all of them, found by trying.

A lowering asks for operations by name, and takes an older form where `call.system` has no newer
one; coremltools refuses what a system lacks. So a node needs the first system at which its lowering
is not refused, and the program the newest of those. A node that no system takes is refused for its
own reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgewise.errors import EdgewiseError, UnsupportedOperator
from edgewise.targets.apple.deployment import SYSTEMS, Need, System, is_older, too_old
from edgewise.targets.apple.legalize import LegalModel
from edgewise.targets.apple.lower import LoweredProgram, try_lower

#: where operations were added last: a newer system has the same set (coremltools 9.0)
_LAST_OPERATIONS: System = "iOS18"


@dataclass(frozen=True, slots=True)
class Fitted:
    """A program, and what keeps it from older systems."""

    program: LoweredProgram
    needs: tuple[Need, ...]

    def describe(self) -> dict[str, list[str]]:
        """For the manifest: what needs which system."""
        systems = sorted({need.system for need in self.needs}, key=SYSTEMS.index)
        return {
            system: [need.what for need in self.needs if need.system == system]
            for system in systems
        }


def lower_for_oldest(legal: LegalModel, known: Sequence[Need], demanded: System | None) -> Fitted:
    """Lower for the system that the user demands, else for the oldest one that will do.

    Args:
        legal: with static shapes.
        known: what is known to be needed before any operator is looked at.
        demanded: the user's `deployment_target`.

    Raises:
        UnsupportedOperator: a node has no expression in Core ML.
        ModelError: the demanded system is too old, or an input has no type or shape in Core ML.
    """
    needs = sorted(known, key=lambda need: SYSTEMS.index(need.system))
    if demanded is not None and needs and is_older(demanded, needs[-1].system):
        raise too_old(needs[-1], demanded)
    start = demanded or (needs[-1].system if needs else SYSTEMS[0])
    program, refused = try_lower(legal, start)
    if refused:
        needs += _needs(legal, start, refused)
        if demanded is not None:
            raise too_old(needs[-1], demanded)
        program, refused = try_lower(legal, needs[-1].system)
    if program is None:
        raise refused[0]
    return Fitted(program, tuple(needs))


def _needs(legal: LegalModel, start: System, refused: Sequence[EdgewiseError]) -> list[Need]:
    """The system that each refused node needs, the newest last.

    Raises what no system takes.
    """
    _, never = try_lower(legal, _LAST_OPERATIONS)
    if never or not is_older(start, _LAST_OPERATIONS):
        raise (never or refused)[0]
    found: list[Need] = []
    between = SYSTEMS[SYSTEMS.index(start) + 1 : SYSTEMS.index(_LAST_OPERATIONS)]
    waiting = list(refused)
    for system in between:
        _, left = try_lower(legal, system)
        still = {_subject(error) for error in left}
        found += [Need(_subject(e), system) for e in waiting if _subject(e) not in still]
        waiting = [error for error in waiting if _subject(error) in still]
        if not waiting:
            return found
    return found + [Need(_subject(error), _LAST_OPERATIONS) for error in waiting]


def _subject(error: EdgewiseError) -> str:
    if isinstance(error, UnsupportedOperator):
        return f"operator {error.op_type} of node '{error.node}'"
    return error.where
