"""Instruction counts of an earlier report, as a gate that no noise of a machine disturbs.

The same file on the same core has the same count to some thousandths of a percent, so that a rise
of half a percent is a change of the artifact. Counts compare where target, precision, device and
the version of the runtime are the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewise.errors import UsageError
from edgewise.targets.validation.results import Instructions

#: share by which a count may rise without a limit of the user's: well above what runs differ by
DEFAULT_RISE = 0.005
_Key = tuple[str, str, str]  # target, precision, device


@dataclass(frozen=True, slots=True)
class Rise:
    """`value` is the share by which instructions rose (negative where they fell), or None."""

    value: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class InstructionBaseline:
    """The counts in a `report.json`, or in what `edgewise validate --json` wrote."""

    path: Path
    _counts: Mapping[_Key, tuple[int, str]]

    @classmethod
    def read(cls, path: str | Path) -> InstructionBaseline:
        """Raises UsageError where the file cannot be read, is no report, or has no counts."""
        file = Path(path)
        try:
            results = json.loads(file.read_text(encoding="utf-8"))["targets"].values()
            found = dict(entry for entry in map(_entry, results) if entry is not None)
        except OSError as error:
            raise UsageError(
                "cannot read the baseline", where=str(file), why=error.strerror or str(error)
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                "the baseline is no report",
                where=str(file),
                remedy="Name the report.json of a build, or what `edgewise validate --json` wrote.",
            ) from error
        if not found:
            raise UsageError(
                "the baseline has no instruction counts",
                where=str(file),
                remedy="Make it with --instructions on an emulated device.",
            )
        return cls(file, found)

    def rise_of(self, target: str, precision: str, counted: Instructions) -> Rise:
        """By how much instructions rose since."""
        if counted.total is None:
            return Rise(None, counted.reason)
        earlier = self._counts.get((target, precision, counted.device))
        if earlier is None:
            wanted = f"{target} {precision} on {counted.device}"
            return Rise(None, f"{self.path.name} has no counts of {wanted}")
        total, runtime = earlier
        if runtime != counted.runtime:
            why = f"{self.path.name} was counted with {runtime}, this is {counted.runtime}"
            return Rise(None, why)
        return Rise(counted.total / total - 1)


def _entry(result: Any) -> tuple[_Key, tuple[int, str]] | None:
    """None for a result without counts."""
    counted = result.get("instructions")
    if counted is None or counted["total"] is None:
        return None
    total, runtime = counted["total"], counted["runtime"]
    if not isinstance(total, int) or total < 1:
        raise ValueError("a count is no whole number")
    return (result["target"], result["precision"], counted["device"]), (total, runtime)
