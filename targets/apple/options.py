"""[targets.apple]: what a user may ask of the package beyond its precision.

`compute`  `fp16` or `fp32`: the type of the floating-point parts of a quantized package. The Neural
           Engine computes in fp16 only, so that is the default. The target's scheme chooses scales
           among the fp16 numbers, so both store them exactly.
`block_size`  of w4: how many weights share a scale, 32 without the key, or 0 for one scale per
           output channel.
`group_size`  of palettes: how many output channels share a table; all of them without the key.
`deployment_target`  the oldest system that must run the package: `iOS15` to `iOS26`. Without the
           key, the oldest that has all that the package uses.
`fold_preprocessing`  take pictures, and normalize them in the program.
`classifier`  give a label and a dictionary of values by label in place of the output that has a
           value for each label: true, or the name of that output.
`shapes`   sizes of inputs that may have several: a table `input = "1,3,224,224; 1,3,320,320"` of
           shapes, the first the default, or `input = "1,3,128..512,128..512"` of ranges.
`states`   inputs that the package keeps from run to run, each with the output that is its next
           value: a table `input = "output"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from edgewise.calibration.scheme import Scheme
from edgewise.errors import UsageError
from edgewise.targets.apple.deployment import System, is_older, system, too_old
from edgewise.targets.apple.flexible.sizes import FlexibleShape, read_shapes
from edgewise.targets.apple.scheme import format_needs, palette, w4
from edgewise.targets.apple.states import NEED as STATE_NEED
from edgewise.targets.preconditions import check_options

KNOWN_OPTIONS = (
    "block_size", "classifier", "compute", "deployment_target", "fold_preprocessing", "group_size",
    "shapes", "states",
)  # fmt: skip
Compute = Literal["fp16", "fp32"]
_COMPUTE = ("fp16", "fp32")
_WHERE = "[targets.apple]"


@dataclass(frozen=True, slots=True)
class AppleOptions:
    """The options as checked values."""

    compute: Compute
    deployment_target: System | None = None
    fold_preprocessing: bool = False
    classifier: bool | str = False
    states: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, FlexibleShape] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Mapping[str, Any], scheme: Scheme) -> AppleOptions:
        """Raises UsageError for an unknown key, or for a value that a key does not allow, and
        ModelError for a `deployment_target` that is too old for what else is asked."""
        check_options("apple", given, KNOWN_OPTIONS)
        wanted = given.get("deployment_target")
        chosen = cls(
            compute=_compute(given, scheme),
            deployment_target=None if wanted is None else system(str(wanted)),
            fold_preprocessing=_flag(given, "fold_preprocessing"),
            classifier=_classifier(given.get("classifier", False)),
            states=_states(given.get("states", {})),
            shapes=_shapes(given),
        )
        demanded = chosen.deployment_target
        for need in [*format_needs(scheme), *([STATE_NEED] if chosen.states else [])]:
            if demanded is not None and is_older(demanded, need.system):
                raise too_old(need, demanded)
        return chosen


def scheme_with(scheme: Scheme, given: Mapping[str, Any]) -> Scheme:
    """The scheme as the options want it. Raises UsageError for a value that makes no sense."""
    size = _size(given, "block_size", scheme.precision == "w4", "precision w4", 8)
    tables = scheme.palette is not None
    group = _size(given, "group_size", tables, "a palette", 1)
    if size is not None:
        return w4(size)
    if scheme.palette is not None and group is not None:
        return palette(scheme.palette.bits, group)
    return scheme


def _size(given: Mapping[str, Any], key: str, fits: bool, where: str, unit: int) -> int | None:
    if key not in given:
        return None
    if not fits:
        raise UsageError(
            f"option '{key}' has no meaning in this precision",
            where=_WHERE,
            remedy=f"Leave it out, or choose {where}.",
        )
    size = given[key]
    if isinstance(size, int) and not isinstance(size, bool) and size >= 0 and size % unit == 0:
        return size
    multiple = f"a multiple of {unit}" if unit > 1 else "a whole number of at least 1"
    raise _refuse(key, size, f"0, or {multiple}")


def _flag(given: Mapping[str, Any], key: str) -> bool:
    value = given.get(key, False)
    if isinstance(value, bool):
        return value
    raise _refuse(key, value, "true, false")


def _classifier(value: object) -> bool | str:
    if isinstance(value, bool) or (isinstance(value, str) and value):
        return value
    raise _refuse("classifier", value, "true, false, the name of an output")


def _shapes(given: Mapping[str, Any]) -> dict[str, FlexibleShape]:
    found = read_shapes(given.get("shapes", {}))
    for key in ("fold_preprocessing", "states"):
        if found and given.get(key):
            raise UsageError(
                f"'shapes' and '{key}' exclude each other",
                where=_WHERE,
                remedy="Emit a package for each size, and join them with `edgewise merge`.",
            )
    return found


def _states(value: object) -> dict[str, str]:
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value.values()):
        return {str(source): name for source, name in value.items()}
    raise _refuse("states", value, "a table with the name of an output for each input")


def _refuse(key: str, value: object, allowed: str) -> UsageError:
    return UsageError(f"option '{key}' is {value!r}", where=_WHERE, remedy=f"Allowed: {allowed}.")


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
