"""Everything that was chosen for one quantization: the same recipe on the same hub model and
statistics gives the same QDQ model, bit for bit.

A recipe is what a search tries, what a cache is keyed with, and what a report shows. Its text form
is JSON with sorted keys; fields that have their default are left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal, get_args

from edgewise.calibration.ranges import DEFAULT_PERCENTILE

WeightMethod = Literal["minmax", "mse"]
WEIGHT_METHODS: tuple[str, ...] = get_args(WeightMethod)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a hub model is quantized for one scheme."""

    #: how ranges of activations follow from statistics: a name in `METHODS`
    method: str = "minmax"
    #: in (0, 100]: the percentile method's share of values to keep
    percentile: float = DEFAULT_PERCENTILE
    #: how scales of weights follow from weights
    weights: WeightMethod = "minmax"
    #: repairs of the hub model that went before, by name and in order
    repairs: tuple[str, ...] = ()
    #: names of nodes that stay in the target's float
    float_nodes: frozenset[str] = frozenset()
    #: names of nodes whose activations have 16 bits, where the target has kernels for them
    wide_nodes: frozenset[str] = frozenset()
    #: ranges (low, high) of tensors, found by a search: in the place of what `method` says
    clipped: Mapping[str, tuple[float, float]] = field(default_factory=lambda: MappingProxyType({}))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, without fields that have their default."""
        plain = {
            "float_nodes": sorted(self.float_nodes),
            "wide_nodes": sorted(self.wide_nodes),
            "repairs": list(self.repairs),
            "clipped": {name: list(limits) for name, limits in sorted(self.clipped.items())},
        }
        default = Recipe()
        return {
            entry.name: plain.get(entry.name, getattr(self, entry.name))
            for entry in fields(self)
            if getattr(self, entry.name) != getattr(default, entry.name)
        }

    @property
    def key(self) -> str:
        """SHA-256 of the text form."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()


PLAIN = Recipe()
