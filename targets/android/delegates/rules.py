"""What an accelerator takes, by what its makers published: a table of rules with their source.

A table knows less than a device: drivers, chips and versions of a delegate differ, and the largest
connected group decides what an accelerator really runs. So whatever is told of it names the table's
version, and says that no device was asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edgewise.targets.android.model import Operator

#: what is wrong with an operator of a kind that is listed; None where nothing is
Rule = Callable[[Operator], str | None]


@dataclass(frozen=True, slots=True)
class RuleTable:
    """The operators that one accelerator takes.

    `takes` and `leaves` are kinds of TFLite operators: with `takes`, all others are left, with
    `leaves`, all others are taken. `rules` hold for one kind, `everywhere` for all.
    """

    delegate: str
    title: str
    version: str
    source: str
    takes: frozenset[str] | None = None
    leaves: frozenset[str] = frozenset()
    rules: Mapping[str, Rule] = field(default_factory=dict)
    everywhere: Rule | None = None

    def objection(self, operator: Operator) -> str | None:
        """Why the accelerator leaves the operator to the CPU; None where no rule says so."""
        if operator.kind in self.leaves or (
            self.takes is not None and operator.kind not in self.takes
        ):
            return "not in its list of operators"
        rule = self.rules.get(operator.kind)
        return (rule(operator) if rule is not None else None) or (
            self.everywhere(operator) if self.everywhere is not None else None
        )
