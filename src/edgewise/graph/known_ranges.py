"""Scales and zero points that a hub model knows of its own tensors, since its source was quantized.

They travel inside the model, as metadata under one key, so that every stage that reads the hub
model has them. The text is JSON: name of a value (activations and weights) to

    {"dtype": "int8", "scale": 0.5, "zero_point": 0}                           one for the tensor
    {"dtype": "int8", "scale": [0.5, 0.25], "zero_point": [0, 0], "axis": 0}   one per channel

Scales are float32 written with the fewest digits that read back as the same number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.errors import ModelError
from edgewise.graph.quantized import TensorQuantization

_KEY = "edgewise.known_ranges"
#: dtypes of tensors that a source stores; others (weights in blocks, int32 biases) are not kept,
#: and weights of 4 bits are kept as int8 with the same scales
DTYPES = ("int8", "uint8", "int16", "uint16")


def attach_known_ranges(model: ir.Model, known: Mapping[str, TensorQuantization]) -> None:
    """Write them into the model, in place of those it has; none removes the key."""
    if not known:
        forget_known_ranges(model)
        return
    entries = {name: _entry(found) for name, found in sorted(known.items())}
    model.metadata_props[_KEY] = json.dumps(entries, separators=(",", ":"))


def forget_known_ranges(model: ir.Model) -> None:
    """Remove them in place: they are no part of what is delivered."""
    model.metadata_props.pop(_KEY, None)


def known_ranges(model: ir.Model) -> dict[str, TensorQuantization]:
    """What `attach_known_ranges` wrote; nothing for the hub model of a float source.

    Raises:
        ModelError: the text was changed.
    """
    text = model.metadata_props.get(_KEY)
    if text is None:
        return {}
    try:
        return {str(name): _quantization(entry) for name, entry in json.loads(text).items()}
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(
            "the known ranges of the hub model cannot be read",
            where=f"metadata '{_KEY}'",
            remedy="Export the model again.",
        ) from error


def _entry(known: TensorQuantization) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "dtype": known.zero_point.dtype.name,
        "scale": _numbers(known.scale),
        "zero_point": known.zero_point.tolist(),
    }
    return entry if known.axis is None else {**entry, "axis": known.axis}


def _numbers(scale: np.ndarray[Any, Any]) -> Any:
    """Shortest decimals of float32: those of the float64 would have twice the digits."""
    if scale.ndim == 0:
        return float(str(scale[()]))
    return [float(str(number)) for number in scale]


def _quantization(entry: Mapping[str, Any]) -> TensorQuantization:
    if entry["dtype"] not in DTYPES:
        raise ValueError(entry["dtype"])
    scale = np.array(entry["scale"], np.float32)
    zero_point = np.array(entry["zero_point"], entry["dtype"])
    axis = entry.get("axis")
    if scale.shape != zero_point.shape or scale.ndim != (0 if axis is None else 1):
        raise ValueError("scale and zero point do not fit")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError("scales must be positive")
    return TensorQuantization(scale, zero_point, axis if axis is None else int(axis))
