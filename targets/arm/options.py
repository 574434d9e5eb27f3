"""[targets.arm]: what a user may ask of the file beyond its precision.

`format`      of w8a8: what activations and weights are stored as, `s8s8`, `u8s8` or `u8u8`.
`block_size`  of w4: how many weights share a scale, 16, 32, 64, 128 or 256, or 0 for one scale per
              output channel.
`accuracy_level`  of weights in blocks (w4, and w8 of other tools): 4 lets cores with dot products
              multiply integers, each block of an input rounded to int8 as it comes; 0 multiplies in
              float everywhere.
`compute`     of fp16: `fp16` lets cores that can compute convolutions in float16; `fp32` keeps
              weights as float16 and computes in float32 everywhere.
`batch`       size of a symbolic first dimension, which stays symbolic without.
`shapes`      sizes of inputs: a table `input = "1,3,224,224"`, or `height = "224"` for a dimension
              of that name, in whatever input.
`ort_format`  true writes ONNX Runtime's own format, and which operators a build needs to run it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import onnx_ir as ir

from edgewise.calibration.scheme import Scheme
from edgewise.errors import UsageError
from edgewise.targets.arm.schemes import (
    BLOCK_SIZES,
    DEFAULT_BLOCK_SIZE,
    DEFAULT_FORMAT,
    FORMATS,
    TARGET_NAME,
    w4,
    w8a8,
)
from edgewise.targets.preconditions import check_options

KNOWN_OPTIONS = (
    "accuracy_level", "batch", "block_size", "compute", "format", "ort_format", "shapes",
)  # fmt: skip
Compute = Literal["fp32", "fp16"]
#: the first one without the key
COMPUTE: tuple[Compute, ...] = ("fp16", "fp32")
ACCURACY_LEVELS = (4, 0)

_WHERE = f"[targets.{TARGET_NAME}]"
_ONLY_FOR = {
    "accuracy_level": ("w8", "w4"),
    "block_size": ("w4",),
    "compute": ("fp16",),
    "format": ("w8a8",),
}


@dataclass(frozen=True, slots=True)
class ArmOptions:
    """The options as checked values; None for those that the precision has no use for."""

    format: str | None = None
    block_size: int | None = None
    accuracy_level: int | None = None
    compute: Compute | None = None
    batch: int | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    ort_format: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any], scheme: Scheme) -> ArmOptions:
        """Raises UsageError for an unknown key, or for a value that a key does not allow."""
        _check_keys(given, scheme)
        precision = scheme.precision
        chosen = cls(
            format=_format(given) if precision == "w8a8" else None,
            block_size=_block_size(given) if precision == "w4" else None,
            accuracy_level=_accuracy_level(given) if precision in ("w8", "w4") else None,
            compute=_compute(given) if precision == "fp16" else None,
            batch=_batch(given.get("batch")),
            shapes=_shapes(given.get("shapes", {})),
            ort_format=_flag(given, "ort_format"),
        )
        if chosen.ort_format and precision == "fp16":
            raise UsageError(
                "'ort_format' and precision fp16 exclude each other",
                where=_WHERE,
                why="a file in ORT format holds finished kernels: float16 ones run on some cores "
                "only, and widened weights would be as large as those of fp32",
                remedy="Leave one of the two out, or choose precision w8.",
            )
        return chosen

    def as_dict(self) -> dict[str, Any]:
        """Those that the file has, as `emit` takes them again."""
        told: dict[str, Any] = {
            "format": self.format,
            "block_size": self.block_size,
            "accuracy_level": self.accuracy_level,
            "compute": self.compute,
            "batch": self.batch,
            "shapes": {key: ",".join(map(str, dims)) for key, dims in self.shapes.items()} or None,
            "ort_format": self.ort_format or None,
        }
        return {key: value for key, value in told.items() if value is not None}


def scheme_with(scheme: Scheme, given: Mapping[str, Any]) -> Scheme:
    """The scheme as the options want it. Raises UsageError for a value that makes no sense."""
    _check_keys(given, scheme)
    if scheme.precision == "w8a8":
        return w8a8(_format(given))
    if scheme.precision == "w4":
        return w4(_block_size(given))
    return scheme


def fixed_shapes(
    model: ir.Model, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """The shape of each input that `shapes` changes: by its own name, or by that of a dimension.

    Raises UsageError for a name that the model does not have, or a shape that does not fit.
    """
    inputs = {
        str(value.name): list(value.shape)
        for value in model.graph.inputs
        if value.shape is not None and value.name not in model.graph.initializers
    }
    free = {str(dim) for dims in inputs.values() for dim in dims if not isinstance(dim, int)}
    unknown = sorted(shapes.keys() - inputs.keys() - free)
    if unknown:
        known = [f"inputs {', '.join(sorted(inputs))}"]
        known += [f"free dimensions {', '.join(sorted(free))}"] if free else []
        raise UsageError(
            f"shapes: the model has no input or free dimension '{unknown[0]}'",
            where=_WHERE,
            why=f"it has {' and '.join(known)}",
        )
    fixed = {}
    for name, dims in inputs.items():
        if name in shapes:
            fixed[name] = _fitting(name, dims, shapes[name])
        elif any(str(dim) in shapes for dim in dims if not isinstance(dim, int)):
            fixed[name] = _filled(name, dims, shapes)
    return fixed


def _fitting(name: str, dims: list[Any], wanted: tuple[int, ...]) -> tuple[int, ...]:
    fits = len(dims) == len(wanted) and all(
        not isinstance(dim, int) or dim == size for dim, size in zip(dims, wanted, strict=True)
    )
    if fits:
        return wanted
    raise UsageError(
        f"shapes: {list(wanted)} is no shape of input '{name}'",
        where=_WHERE,
        why=f"the model has ({', '.join(map(str, dims))})",
    )


def _filled(name: str, dims: list[Any], shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    sizes = [shapes.get(str(dim), (dim,)) if not isinstance(dim, int) else (dim,) for dim in dims]
    for (size, *more), dim in zip(sizes, dims, strict=True):
        if more:
            raise UsageError(
                f"shapes: dimension '{dim}' of input '{name}' needs one number", where=_WHERE
            )
        if not isinstance(size, int):
            raise UsageError(
                f"shapes: dimension '{size}' of input '{name}' stays free",
                where=_WHERE,
                why="the others of this input are fixed",
                remedy=f"Give '{size}', too.",
            )
    return tuple(size for (size,) in sizes)


def _check_keys(given: Mapping[str, Any], scheme: Scheme) -> None:
    check_options(TARGET_NAME, given, KNOWN_OPTIONS)
    for key, precisions in _ONLY_FOR.items():
        if key in given and scheme.precision not in precisions:
            raise UsageError(
                f"option '{key}' has no meaning in precision {scheme.precision}",
                where=_WHERE,
                remedy=f"Leave it out, or choose precision {' or '.join(precisions)}.",
            )


def _format(given: Mapping[str, Any]) -> str:
    return str(_one_of("format", given.get("format", DEFAULT_FORMAT), tuple(FORMATS)))


def _block_size(given: Mapping[str, Any]) -> int:
    size = given.get("block_size", DEFAULT_BLOCK_SIZE)
    return int(cast(int, _one_of("block_size", size, (0, *BLOCK_SIZES))))


def _accuracy_level(given: Mapping[str, Any]) -> int:
    level = given.get("accuracy_level", ACCURACY_LEVELS[0])
    return int(cast(int, _one_of("accuracy_level", level, ACCURACY_LEVELS)))


def _compute(given: Mapping[str, Any]) -> Compute:
    return cast(Compute, _one_of("compute", given.get("compute", COMPUTE[0]), COMPUTE))


def _batch(batch: object) -> int | None:
    if batch is None or (_is_whole(batch) and cast(int, batch) >= 1):
        return cast("int | None", batch)
    raise _refuse("batch", batch, "a whole number of at least 1")


def _shapes(value: object) -> dict[str, tuple[int, ...]]:
    if isinstance(value, Mapping):
        return {str(name): _sizes(text) for name, text in value.items()}
    raise _refuse("shapes", value, "a table of texts such as 1,3,224,224")


def _sizes(text: object) -> tuple[int, ...]:
    parts = text.split(",") if isinstance(text, str) else []
    if parts and all(part.strip().isdecimal() and int(part) >= 1 for part in parts):
        return tuple(int(part) for part in parts)
    raise _refuse("shapes", text, "texts of whole numbers of at least 1, such as 1,3,224,224")


def _flag(given: Mapping[str, Any], key: str) -> bool:
    value = given.get(key, False)
    if isinstance(value, bool):
        return value
    raise _refuse(key, value, "true, false")


def _one_of(key: str, value: object, choices: tuple[object, ...]) -> object:
    if not isinstance(value, bool) and value in choices:
        return value
    raise _refuse(key, value, ", ".join(map(str, choices)))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _refuse(key: str, value: object, allowed: str) -> UsageError:
    return UsageError(f"option '{key}' is {value!r}", where=_WHERE, remedy=f"Allowed: {allowed}.")
