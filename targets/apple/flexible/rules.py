"""Parameters that differ between sizes of the input, and how one program computes them all.

A rule gets what an operation was at each size, and writes it anew. It holds at the sizes that were
compared, each of which gave one of the programs:

1. reshape        a size is one of the input's (taken from its shape) or what is left over (-1)
2. slice_by_index bounds that keep their distance to the end of an axis are counted from there; a
                  bound at the end is masked
3. resize_*       sizes that keep their ratio to the input's become scales (iOS 16)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from edgewise.errors import UnsupportedOperator
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var
from edgewise.targets.apple.call import TARGET_NAME
from edgewise.targets.apple.origins import origin_of


@dataclass(frozen=True, slots=True)
class Varied:
    """One operation at several sizes: `at` has it in each program, `given` its arguments in the new
    one, without those that differ."""

    at: Sequence[Any]
    given: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.at[0].name)

    def values(self, parameter: str) -> list[Any]:
        """A constant parameter at each size."""
        return [operation.inputs[parameter].val for operation in self.at]

    def sizes(self, axis: int) -> list[int]:
        """Of an axis of `x`, at each size."""
        return [int(operation.x.shape[axis]) for operation in self.at]

    def refuse(self, what: str) -> NoReturn:
        raise refusal(self.at[0], what)


def refusal(operation: Any, what: str) -> UnsupportedOperator:
    """What keeps one program from serving all sizes."""
    return UnsupportedOperator(
        origin_of(operation) or str(operation.name),
        str(operation.op_type),
        target=TARGET_NAME,
        why=f"{what} depends on the size of the input in a way that one program cannot compute",
        remedy="Emit a package for each size and join them with `edgewise merge`.",
    )


def _reshape(varied: Varied) -> Any:
    shapes = np.asarray(varied.values("shape"))
    parts: list[Any] = []
    rest = None
    for position in range(shapes.shape[1]):
        column = shapes[:, position].tolist()
        if len(set(column)) == 1:
            parts.append(np.asarray(column[:1], np.int32))
            continue
        axis = _axis_with(varied, column)
        if axis is not None:
            parts.append(axis)
        elif rest is None:
            rest = position
            parts.append(np.asarray([-1], np.int32))
        else:
            varied.refuse("more than one of its sizes")
    taken = [position for position, part in enumerate(parts) if isinstance(part, int)]
    if rest is None and taken and not any((part == -1).any() for part in parts if _is_known(part)):
        parts[taken[-1]] = np.asarray([-1], np.int32)  # one is left over: it need not be computed
    x = varied.given["x"]
    if any(isinstance(part, int) for part in parts):
        shape = mb.shape(x=x)
        read = [part if _is_known(part) else _size_of(shape, part) for part in parts]
        return mb.reshape(x=x, shape=mb.concat(values=read, axis=0), name=varied.name)
    return mb.reshape(x=x, shape=np.concatenate(parts), name=varied.name)


def _is_known(part: Any) -> bool:
    return not isinstance(part, int)


def _size_of(shape: Var, axis: int) -> Var:
    return mb.slice_by_index(x=shape, begin=[axis], end=[axis + 1])


def _axis_with(varied: Varied, column: list[int]) -> int | None:
    """The axis of the input that has these sizes."""
    rank = len(varied.at[0].x.shape)
    return next((axis for axis in range(rank) if varied.sizes(axis) == column), None)


def _slice(varied: Varied) -> Any:
    rank = len(varied.at[0].x.shape)
    arguments = {k: v for k, v in varied.given.items() if k != "end_mask"}
    masked = varied.at[0].inputs.get("end_mask")
    end_mask = [False] * rank if masked is None else masked.val.tolist()
    for parameter in ("begin", "end"):
        bounds = np.asarray(varied.values(parameter))
        fixed = bounds[0].tolist()
        for axis in range(rank):
            sizes = np.asarray(varied.sizes(axis))
            if len(set(bounds[:, axis].tolist())) == 1 and len(set(sizes.tolist())) == 1:
                continue
            if parameter == "end" and (bounds[:, axis] == sizes).all():
                end_mask[axis] = True
            elif len(set(bounds[:, axis].tolist())) > 1:
                behind = set((bounds[:, axis] - sizes).tolist())
                if len(behind) > 1 or min(behind) >= 0:
                    varied.refuse(f"'{parameter}'")
                fixed[axis] = behind.pop()
        arguments[parameter] = np.asarray(fixed, np.int32)
    return mb.slice_by_index(**arguments, end_mask=np.asarray(end_mask), name=varied.name)


def _bilinear(varied: Varied) -> Any:
    modes = set(varied.values("sampling_mode"))
    if not modes <= {"UNALIGN_CORNERS", "STRICT_ALIGN_CORNERS"}:
        varied.refuse("its grid")
    aligned = modes == {"STRICT_ALIGN_CORNERS"}
    height, width = _scales(varied)
    return mb.upsample_bilinear(
        x=varied.given["x"],
        scale_factor_height=np.float32(height),
        scale_factor_width=np.float32(width),
        align_corners=aligned,
        half_pixel_centers=not aligned,
        name=varied.name,
    )


def _nearest(varied: Varied) -> Any:
    height, width = _scales(varied)
    if height != int(height) or width != int(width):
        varied.refuse("its scale")
    return mb.upsample_nearest_neighbor(
        x=varied.given["x"],
        scale_factor_height=int(height),
        scale_factor_width=int(width),
        name=varied.name,
    )


def _scales(varied: Varied) -> tuple[float, float]:
    found = []
    for axis, parameter in ((-2, "target_size_height"), (-1, "target_size_width")):
        targets = [int(value) for value in varied.values(parameter)]
        ratios = {t / s for t, s in zip(targets, varied.sizes(axis), strict=True)}
        if len(ratios) > 1:
            varied.refuse(f"'{parameter}'")
        found.append(ratios.pop())
    return found[0], found[1]


#: MIL operation -> rule; gives what the operation gave
RULES: Mapping[str, Callable[[Varied], Any]] = {
    "reshape": _reshape,
    "resize_bilinear": _bilinear,
    "resize_nearest_neighbor": _nearest,
    "slice_by_index": _slice,
}
