"""Inputs of several sizes: what the description of a package says of those that it takes.

An ML Program only knows that a size is free; which sizes an input has stands in the description, as
a list of shapes or as a range for each axis. Core ML takes no others, and neither do we.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgewise.targets.apple.flexible.sizes import UNLIMITED, FlexibleShape


def input_sizes(description: Any) -> Mapping[str, FlexibleShape]:
    """The inputs of a Core ML function that have several sizes, by name; pictures are left out.

    Args:
        description: message `ModelDescription` or `FunctionDescription`.
    """
    found = {}
    for feature in description.input:
        if feature.type.WhichOneof("Type") == "multiArrayType":
            shape = _shape(feature.type.multiArrayType)
            if shape is not None and shape.varying:
                found[feature.name] = shape
    return found


def _shape(array: Any) -> FlexibleShape | None:
    kind = array.WhichOneof("ShapeFlexibility")
    if kind == "enumeratedShapes":
        listed = tuple(tuple(shape.shape) for shape in array.enumeratedShapes.shapes)
        return FlexibleShape(enumerated=listed) if listed else None
    if kind == "shapeRange":
        sizes = array.shapeRange.sizeRanges
        ends = ((size.lowerBound, size.upperBound) for size in sizes)
        return FlexibleShape(ranges=tuple((a, UNLIMITED if b < 0 else b) for a, b in ends))
    return None
