"""Rewrites of the hub model that go before quantization.

applied = apply_repairs(model, ["equalize", "bias_correction"], RepairInput(...))
"""

from __future__ import annotations

from edgewise.calibration.repairs.apply import REPAIRS, Applied, apply_repairs, check_repairs
from edgewise.calibration.repairs.base import Repair, Repaired, RepairInput

__all__ = [
    "REPAIRS",
    "Applied",
    "Repair",
    "RepairInput",
    "Repaired",
    "apply_repairs",
    "check_repairs",
]
