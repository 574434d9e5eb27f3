"""Inputs that may be left out: Core ML fills the whole tensor with one number.

coremltools writes them for a `TensorType` with a `default_value`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgewise.errors import ModelError
from edgewise.targets.apple.interpreter.kernels.base import Array
from edgewise.targets.apple.interpreter.numbers import HELD_AS
from edgewise.targets.apple.interpreter.plan import Tensor


def default_values(description: Any) -> Mapping[str, float]:
    """The number of each optional input, by name.

    Args:
        description: message `ModelDescription` or `FunctionDescription`.
    """
    found = {}
    for feature in description.input:
        kind = feature.type
        if kind.isOptional and kind.WhichOneof("Type") == "multiArrayType":
            field = kind.multiArrayType.WhichOneof("defaultOptionalValue")
            found[feature.name] = float(getattr(kind.multiArrayType, field)) if field else 0.0
    return found


def filled(tensor: Tensor, value: float) -> Array:
    """The tensor of an input that was left out. Raises ModelError where its size is free."""
    if any(isinstance(size, str) for size in tensor.shape):
        raise ModelError(
            f"input '{tensor.name}' must be given",
            why="its size is free, so that its default has none",
        )
    return np.full([int(size) for size in tensor.shape], value, HELD_AS[tensor.dtype])
