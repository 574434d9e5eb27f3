"""What a model wants to be fed with, and whether arrays fit it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgewise.data.source import Array, InputSpec
from edgewise.errors import DataError, ModelError

if TYPE_CHECKING:
    import onnx_ir as ir


def input_specs(model: ir.Model) -> list[InputSpec]:
    """One `InputSpec` per graph input that is not an initializer, in graph order.

    Raises:
        ModelError: an input is not a tensor of known type and rank.
    """
    specs = []
    for value in model.graph.inputs:
        if value.name in model.graph.initializers:
            continue
        if value.dtype is None or value.shape is None:
            raise ModelError(
                "the type or rank of an input is unknown",
                where=f"input '{value.name}'",
                remedy="Give its shape ([model] input_shapes, or --input-shape).",
            )
        shape = tuple(d if isinstance(d, int) else d.value for d in value.shape)
        specs.append(InputSpec(str(value.name), shape, np.dtype(value.dtype.numpy())))
    return specs


def fit_feeds(
    feeds: Mapping[str, Array], specs: Sequence[InputSpec], where: str
) -> dict[str, Array]:
    """The arrays of one example with a batch axis of 1 and the model's dtypes.

    An array of the input's rank must start with an axis of 1; one of a rank less gets that axis.
    Casts that keep the values are made: integer to float, float64 to float32, between integers.

    Raises:
        DataError: a name is missing or unknown, a shape or type does not fit, NaN or infinity.
    """
    expected = {spec.name for spec in specs}
    if feeds.keys() != expected:
        raise DataError(
            "the arrays are not those that the model takes",
            where=where,
            why=f"expected {_listed(expected)}, found {_listed(feeds)}",
            remedy="Name the arrays after the model's inputs.",
        )
    return {spec.name: fit_array(feeds[spec.name], spec, where) for spec in specs}


def fit_array(array: Array, spec: InputSpec, where: str) -> Array:
    """One array of `fit_feeds`."""
    array = np.asarray(array)
    batched = array[None] if array.ndim == len(spec.shape) - 1 else array
    if not _shape_fits(batched.shape, spec.shape):
        raise DataError(
            f"input '{spec.name}' does not fit the model",
            where=where,
            why=f"expected shape {_shown(spec.shape)}, found {_shown(array.shape)}",
            remedy=_shape_remedy(spec),
        )
    cast = _cast(batched, spec, where)
    if cast.dtype.kind == "f" and not np.isfinite(cast).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(cast))[0])
        raise DataError(
            f"input '{spec.name}' holds NaN or infinity",
            where=where,
            why=f"the first is at index {index[1:]}",
            remedy="Remove or repair this example.",
        )
    return cast


def _shape_fits(found: tuple[int, ...], expected: tuple[int | str | None, ...]) -> bool:
    if len(found) != len(expected) or not found or found[0] != 1:
        return False
    return all(
        not isinstance(want, int) or want == have
        for have, want in zip(found, expected, strict=True)
    )


def _shape_remedy(spec: InputSpec) -> str:
    if spec.shape and isinstance(spec.shape[0], int) and spec.shape[0] != 1:
        return "Examples come one at a time: export the model with a batch of 1 or a symbolic one."
    return "Reshape the data, or give the model's input shape ([model] input_shapes)."


def _cast(array: Array, spec: InputSpec, where: str) -> Array:
    if array.dtype == spec.dtype:
        return np.ascontiguousarray(array)
    refused = DataError(
        f"input '{spec.name}' has another type than the model's",
        where=where,
        why=f"expected {spec.dtype}, found {array.dtype}",
        remedy="Store the array in that type.",
    )
    numbers = array.dtype.kind in "biuf"
    if not numbers or (array.dtype.kind == "f" and spec.dtype.kind in "biu"):
        raise refused
    with np.errstate(over="ignore"):  # an overflow becomes infinity and is reported as such
        cast = np.ascontiguousarray(array.astype(spec.dtype))
    if spec.dtype.kind in "biu" and not np.array_equal(cast, array):
        raise refused
    return cast


def _listed(names: Mapping[str, Array] | set[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names)) or "none"


def _shown(shape: Sequence[int | str | None]) -> str:
    return "(" + ", ".join("?" if dim is None else str(dim) for dim in shape) + ")"


def single_input(inputs: Sequence[InputSpec], where: str) -> InputSpec:
    """The only input of a model that is fed with pictures. Raises DataError for several."""
    if len(inputs) != 1:
        raise DataError(
            f"pictures feed one input, and the model has {len(inputs)}",
            where=where,
            why=", ".join(f"'{spec.name}'" for spec in inputs),
            remedy="Give the data as .npz or as package.module:function.",
        )
    return inputs[0]
