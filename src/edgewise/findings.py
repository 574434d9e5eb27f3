"""A finding: a typed remark about the model that reaches the console, the report and the JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark. `rule` is a stable id such as `android/float-island`; `node` may be empty."""

    rule: str
    severity: Severity
    message: str
    node: str = ""
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        return asdict(self)
