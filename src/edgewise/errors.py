"""Every error that Edgewise raises on purpose.

EdgewiseError                    exit code
|-- BudgetMissed                 1   a budget of the project file was missed
|-- UsageError                   2   bad command line, project file or path; unwritable output
|-- ModelError                   3   the model cannot be read, or is not valid
|   |-- UnsupportedOperator      3   a target cannot express a node of the model
|   `-- UnsupportedPrecision     3   a target does not offer the asked precision
|-- DataError                    4   calibration or evaluation data cannot be read, or is unusable
|-- DeviceError                  5   a device is unavailable, or failed while it ran the artifact
`-- InternalError                70  a stage broke one of its own promises: a defect in Edgewise

An interrupt (Ctrl-C) ends with 130. Each message is one line with what happened, where, why, and
what the user can do.
"""

from __future__ import annotations

from typing import ClassVar


class EdgewiseError(Exception):
    """What went wrong, where, why, and what to do next; `str()` gives it as one line."""

    exit_code: ClassVar[int] = 70

    def __init__(self, what: str, *, where: str = "", why: str = "", remedy: str = "") -> None:
        self.what, self.where, self.why, self.remedy = (
            " ".join(part.split()) for part in (what, where, why, remedy)
        )
        super().__init__(str(self))

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        text = f"{head}: {self.why}" if self.why else head
        end = "" if text.endswith("?") else "."
        return f"{text.rstrip('.')}{end} {self.remedy}" if self.remedy else text


class BudgetMissed(EdgewiseError):
    """At least one budget was missed; the artifacts were written all the same."""

    exit_code = 1


class UsageError(EdgewiseError):
    """The command line, the project file or a path in them is wrong."""

    exit_code = 2


class ModelError(EdgewiseError):
    """The model cannot be read, is not valid, or a target cannot take it."""

    exit_code = 3


class UnsupportedOperator(ModelError):
    """A node that a target cannot express. Raised before anything is written."""

    def __init__(self, node: str, op_type: str, *, target: str, why: str, remedy: str) -> None:
        self.node, self.op_type, self.target = node, op_type, target
        super().__init__(
            f"{target} cannot take this operator",
            where=f"node '{node}' ({op_type})",
            why=why,
            remedy=remedy,
        )


class UnsupportedPrecision(ModelError):
    """A precision that a target does not offer."""


class DataError(EdgewiseError):
    """Calibration or evaluation data cannot be read, or holds values that cannot be used."""

    exit_code = 4


class DeviceError(EdgewiseError):
    """A device is unavailable, or failed while it ran the artifact."""

    exit_code = 5


class InternalError(EdgewiseError):
    """An invariant between two stages does not hold: a defect in Edgewise, not in the input."""

    exit_code = 70
