"""[targets.apple]: what a user may ask of the package beyond its precision.

`compute`  `fp16` or `fp32`: the type of the floating-point parts of a quantized package. The Neural
           Engine computes in fp16 only, so that is the default. The target's scheme chooses scales
           among the fp16 numbers, so both store them exactly.
`deployment_target`  the oldest system that must run the package: `iOS15` to `iOS26`. Without the
           key, the oldest that has all that the package uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from edgewise.calibration.scheme import Scheme
from edgewise.errors import UsageError
from edgewise.targets.apple.deployment import System, system
from edgewise.targets.preconditions import check_options

KNOWN_OPTIONS = ("compute", "deployment_target")
Compute = Literal["fp16", "fp32"]
_COMPUTE = ("fp16", "fp32")
_WHERE = "[targets.apple]"


@dataclass(frozen=True, slots=True)
class AppleOptions:
    """The options as checked values."""

    compute: Compute
    deployment_target: System | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any], scheme: Scheme) -> AppleOptions:
        """Raises UsageError for an unknown key, or for a value that a key does not allow."""
        check_options("apple", given, KNOWN_OPTIONS)
        wanted = given.get("deployment_target")
        return cls(
            compute=_compute(given, scheme),
            deployment_target=None if wanted is None else system(str(wanted)),
        )


def _compute(given: Mapping[str, Any], scheme: Scheme) -> Compute:
    natural: Compute = "fp32" if scheme.precision == "fp32" else "fp16"
    compute = given.get("compute", natural)
    if compute not in _COMPUTE:
        raise UsageError(
            f"compute must be one of {', '.join(_COMPUTE)}, not {compute!r}", where=_WHERE
        )
    if not scheme.is_quantized and compute != natural:
        raise UsageError(
            f"compute = '{compute}' contradicts precision {scheme.precision}",
            where=_WHERE,
            remedy=f"Leave it out, or ask for precision {compute}.",
        )
    return cast(Compute, compute)
