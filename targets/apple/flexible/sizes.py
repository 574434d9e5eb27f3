"""What sizes the inputs of a package may have.

Written as in the project file: `1,3,224,224; 1,3,320,320` lists shapes, of which the first is the
default; `1,3,128..512,128..512` gives a range for each axis, whose lower ends are the default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Any

from edgewise.errors import UsageError

_WHERE = "[targets.apple] shapes"
#: Core ML takes so many shapes of an input (coremltools guide, "Flexible Input Shapes")
MAX_ENUMERATED = 128
#: sizes within a range at which the program is proved to be the same, beside the ends
_SAMPLES = 6

#: greatest size of a range without an upper end, which packages of other tools may have
UNLIMITED = 2**63 - 1

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FlexibleShape:
    """Either `enumerated` shapes or a least and greatest size for each axis."""

    enumerated: tuple[Shape, ...] = ()
    ranges: tuple[tuple[int, int], ...] = ()

    @property
    def default(self) -> Shape:
        return self.enumerated[0] if self.enumerated else tuple(low for low, _ in self.ranges)

    @property
    def varying(self) -> tuple[int, ...]:
        """The axes that have more than one size."""
        if self.enumerated:
            sizes = list(zip(*self.enumerated, strict=True))
            return tuple(axis for axis, found in enumerate(sizes) if len(set(found)) > 1)
        return tuple(axis for axis, (low, high) in enumerate(self.ranges) if low != high)

    def allows(self, shape: Sequence[int]) -> bool:
        if self.enumerated:
            return tuple(shape) in self.enumerated
        return len(shape) == len(self.ranges) and all(
            low <= size <= high for size, (low, high) in zip(shape, self.ranges, strict=True)
        )

    def __str__(self) -> str:
        if self.enumerated:
            return "; ".join(",".join(map(str, shape)) for shape in self.enumerated)
        return ",".join(
            str(low) if low == high else f"{low}..{'' if high == UNLIMITED else high}"
            for low, high in self.ranges
        )


def read_shapes(value: Any) -> dict[str, FlexibleShape]:
    """The option's value: name of an input -> text. Raises UsageError for any other."""
    if not isinstance(value, Mapping):
        raise _refuse(value)
    return {str(name): _read(text) for name, text in value.items()}


def _read(text: Any) -> FlexibleShape:
    if not isinstance(text, str):
        raise _refuse(text)
    shapes = [_read_shape(text, part) for part in text.split(";")]
    if len({len(shape) for shape in shapes}) > 1:
        raise _refuse(text)
    if len(shapes) == 1:
        return FlexibleShape(ranges=shapes[0])
    if any(low != high for shape in shapes for low, high in shape) or len(shapes) > MAX_ENUMERATED:
        raise _refuse(text)
    listed = tuple(dict.fromkeys(tuple(low for low, _ in shape) for shape in shapes))
    return FlexibleShape(enumerated=listed)


def _read_shape(text: str, part: str) -> tuple[tuple[int, int], ...]:
    found = []
    for size in part.split(","):
        low, dots, high = size.strip().partition("..")
        if not low.isdecimal() or (dots and not high.isdecimal()):
            raise _refuse(text)
        ends = int(low), int(high or low)
        if not 1 <= ends[0] <= ends[1]:
            raise _refuse(text)
        found.append(ends)
    return tuple(found)


def _refuse(value: object) -> UsageError:
    return UsageError(
        f"{value!r} are no shapes",
        where=_WHERE,
        remedy=f'Write "1,3,224,224; 1,3,320,320" (up to {MAX_ENUMERATED}) or "1,3,128..512,256".',
    )


def proving_shapes(wanted: Mapping[str, FlexibleShape]) -> list[dict[str, Shape]]:
    """The shapes of all inputs at which programs are compared; the default first.

    Listed shapes are all there, each with the defaults of the other inputs. Of ranges there are the
    ends, the sizes next to the lower ends, because strides divide sizes unevenly, and a few drawn
    at random, always the same ones. Inputs change together, because they may depend on one another.
    """
    axes = {
        (name, axis): _proving_sizes(name, axis, shape)
        for name, shape in wanted.items()
        for axis in shape.varying
        if not shape.enumerated
    }
    count = max((len(sizes) for sizes in axes.values()), default=1)
    found: dict[tuple[Shape, ...], dict[str, Shape]] = {}
    for step in range(count):
        shapes = {name: shape.default for name, shape in wanted.items()}
        for (name, axis), sizes in axes.items():
            changed = list(shapes[name])
            changed[axis] = sizes[min(step, len(sizes) - 1)]
            shapes[name] = tuple(changed)
        found.setdefault(tuple(shapes.values()), shapes)
    listed = {name: shape.enumerated for name, shape in wanted.items() if shape.enumerated}
    for choice in product(*listed.values()):
        shapes = {
            **{n: s.default for n, s in wanted.items()},
            **dict(zip(listed, choice, strict=True)),
        }
        found.setdefault(tuple(shapes.values()), shapes)
    return list(found.values())


def _proving_sizes(name: str, axis: int, shape: FlexibleShape) -> list[int]:
    """One size for each step; axes of one range get the same ones, as axes that must agree do."""
    low, high = shape.ranges[axis]
    random = Random(f"{low}..{high}")
    inner = [random.randint(low, high) for _ in range(_SAMPLES)]
    return [low, high, min(low + 1, high), *inner]
