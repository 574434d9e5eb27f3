"""How far a faithful int8 kernel of TFLite may be from QuantizeLinear, and why."""

from __future__ import annotations

from collections.abc import Sequence

from edgewise.targets.android.model import Operator
from edgewise.targets.layerwise import LAYER_LSB

_BY_KIND: dict[str, tuple[float, str]] = {}


def tolerance_of(operators: Sequence[Operator]) -> tuple[float, str]:
    """Steps that the layer may differ by, and the arithmetic behind it where it is more than 1."""
    found = [_BY_KIND[o.kind] for o in operators if o.is_int8 and o.kind in _BY_KIND]
    return max(found, default=(LAYER_LSB, ""))
