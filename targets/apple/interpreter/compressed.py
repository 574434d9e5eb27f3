"""Compressed constants of a program, expanded: the `constexpr` operations of MIL.

Written from their definitions (coremltools: mil/ops/defs iOS16/constexpr_ops.py and
iOS18/compression.py), because the reference implementation there repeats a table for every element:
ten million weights of 8 bits would take ten gigabytes. Arithmetic is float32, rounded once to the
type of the result. Operations whose parameters changed with iOS 18 are told apart by them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgewise.targets.apple.interpreter.kernels.base import Array

#: parameters by name, None where one is not given -> the outputs
Expand = Callable[[Mapping[str, Any]], tuple[Array, ...]]


def _affine_dequantize(given: Mapping[str, Any]) -> tuple[Array, ...]:
    """(data - zero_point) * scale; scalars, or vectors along `axis`."""
    data = given["quantized_data"]
    shape = [1] * data.ndim
    shape[int(given["axis"])] = -1
    scale, zero = (
        np.asarray(given[name]).reshape(shape if np.ndim(given[name]) else ())
        for name in ("scale", "zero_point")
    )
    return (_scaled(data, scale, zero),)


def _blockwise_shift_scale(given: Mapping[str, Any]) -> tuple[Array, ...]:
    return (_shift_scale(given["data"], given["scale"], given["offset"]),)


def _shift_scale(data: Array, scale: Array, offset: Array | None) -> Array:
    """(data - offset) * scale, where each entry of the latter two serves a block of the data."""
    split, grid = _split(data.shape, scale.shape)
    blocks = data.reshape(split)
    shift = None if offset is None else offset.reshape(grid)
    return _scaled(blocks, scale.reshape(grid), shift).reshape(data.shape)


def _scaled(data: Array, scale: Array, shift: Array | None) -> Array:
    values = data.astype(np.float32)
    if shift is not None:
        values -= shift.astype(np.float32)
    values *= scale.astype(np.float32)
    return values.astype(scale.dtype, copy=False)


def _lut_to_dense(given: Mapping[str, Any]) -> tuple[Array, ...]:
    table = given["lut"]
    if "shape" in given:  # iOS 16: one table, packed places
        shape = tuple(int(size) for size in given["shape"])
        bits = int(table.size).bit_length() - 1
        return (table[_unpacked(given["indices"], bits, int(np.prod(shape)))].reshape(shape),)
    return (_look_up(given["indices"], table, given["vector_axis"]),)


def _look_up(places: Array, tables: Array, vector_axis: Any) -> Array:
    """Tables of shape (..., values, vector), each for a block of the places; the vectors stand
    along `vector_axis`, one behind the other."""
    *grid, count, length = tables.shape
    split, spread = _split(places.shape, tuple(grid))
    first = (np.arange(int(np.prod(grid)), dtype=np.int32) * count).reshape(spread)
    rows = (places.reshape(split).astype(np.int32) + first).reshape(places.shape)
    found = tables.reshape(-1, length)[rows]
    if length == 1:
        return np.asarray(found[..., 0])
    axis = int(vector_axis) % places.ndim
    shape = list(places.shape)
    shape[axis] *= length
    return np.asarray(np.moveaxis(found, -1, axis + 1).reshape(shape))


def _sparse_to_dense(given: Mapping[str, Any]) -> tuple[Array, ...]:
    mask = given["mask"]
    if "shape" in given:  # iOS 16: packed mask
        shape = tuple(int(size) for size in given["shape"])
        mask = _unpacked(mask, 1, int(np.prod(shape))).reshape(shape)
    return (_scatter(given["nonzero_data"], mask),)


def _scatter(nonzero: Array, mask: Array) -> Array:
    dense = np.zeros(mask.shape, nonzero.dtype)
    dense[mask != 0] = nonzero
    return dense


def _lut_to_sparse(given: Mapping[str, Any]) -> tuple[Array, ...]:
    """The mask, wider by the vectors, and the values under it."""
    mask, table = given["indices_mask"], given["lut"]
    places = _scatter(given["indices_nonzero_data"], mask)
    dense = _look_up(places, table, given["vector_axis"])
    if table.shape[-1] > 1:
        mask = np.repeat(mask, table.shape[-1], axis=int(given["vector_axis"]))
    return mask, dense[mask != 0]


def _sparse_blockwise_shift_scale(given: Mapping[str, Any]) -> tuple[Array, ...]:
    mask = given["data_mask"]
    data = _scatter(given["nonzero_data"], mask)
    return mask, _shift_scale(data, given["scale"], given["offset"])[mask != 0]


def _cast(given: Mapping[str, Any]) -> tuple[Array, ...]:
    return (np.asarray(given["source_val"]).astype(np.float32),)


def _split(shape: tuple[int, ...], grid: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Shapes that bring blocks and their entries together: each axis as blocks and what is in one,
    and as entries and one."""
    split = [part for n, size in zip(grid, shape, strict=True) for part in (n, size // n)]
    return split, [part for n in grid for part in (n, 1)]


def _unpacked(packed: Array, bits: int, count: int) -> Array:
    """Numbers of `bits`, the lowest bit first, that stand one behind the other in bytes."""
    if bits == 8:
        return packed[:count]
    each = np.unpackbits(packed, count=count * bits, bitorder="little").reshape(count, bits)
    return np.packbits(each, axis=1, bitorder="little")[:, 0]


EXPAND: Mapping[str, Expand] = {
    "constexpr_affine_dequantize": _affine_dequantize,
    "constexpr_blockwise_shift_scale": _blockwise_shift_scale,
    "constexpr_cast": _cast,
    "constexpr_lut_to_dense": _lut_to_dense,
    "constexpr_lut_to_sparse": _lut_to_sparse,
    "constexpr_sparse_blockwise_shift_scale": _sparse_blockwise_shift_scale,
    "constexpr_sparse_to_dense": _sparse_to_dense,
}


def expand(operation: Any, constants: Mapping[str, Any]) -> tuple[Array, ...]:
    """The outputs of a `constexpr` operation of a program, whose inputs are among the constants.

    Every parameter that the operation's version knows is handed over, None where it is not given.
    """
    given = {
        name: None if (variable := operation.inputs.get(name)) is None else constants[variable.name]
        for name in operation.input_spec.input_types
    }
    with np.errstate(all="ignore"):  # scales may be as large as they like: infinities are results
        return EXPAND[operation.op_type](given)
