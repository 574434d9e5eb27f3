"""Weights of few different values, stored as places in a table: Core ML's palettes.

1. `constexpr_lut_to_dense` of iOS 16: a table of 2, 4, 16, 64 or 256 values; the places are packed
   into bytes, the first one in the lowest bits.
2. `constexpr_lut_to_dense` of iOS 18: places of a type of as many bits, and tables with two axes
   more than the weight; along an axis with several tables each serves a block of neighbours.

Both give exactly the values of the float weight. It is done on the program, when the layout changes
between initializer and operation are over, and before passes that might scale a weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.calibration.palettes import groups_of, is_excluded
from edgewise.calibration.scheme import Palette, Scheme
from edgewise.calibration.weight_axes import weight_of
from edgewise.errors import ModelError
from edgewise.graph import constant, node_label
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var, quiet, types
from edgewise.targets.apple.call import Array
from edgewise.targets.apple.deployment import is_older
from edgewise.targets.apple.lower import LoweredProgram

#: as many elements tell of most weights that no table holds them
_GLANCE = 4096
#: bits of a place -> how coremltools holds places of iOS 18
_PLACES = {
    1: types.np_uint1_dtype,
    2: types.np_uint2_dtype,
    4: types.np_uint4_dtype,
    6: types.np_uint6_dtype,
    8: np.dtype(np.uint8),
}
#: operation and parameter -> the axis of output channels
_OUTPUT_AXIS: Mapping[tuple[str, str], Callable[[Any], int]] = {
    ("conv", "weight"): lambda op: 0,
    ("conv_transpose", "weight"): lambda op: 1 if op.groups.val == 1 else 0,
    ("linear", "weight"): lambda op: 0,
    ("matmul", "x"): lambda op: op.x.rank - (1 if op.transpose_x.val else 2),
    ("matmul", "y"): lambda op: op.y.rank - (2 if op.transpose_y.val else 1),
    ("gather", "x"): lambda op: 0,
}


@dataclass(frozen=True, slots=True)
class _Tables:
    """The values of one table, or of several that share the axis evenly, each ascending."""

    axis: int
    values: tuple[Array, ...]


def check_values(model: ir.Model, scheme: Scheme) -> None:
    """Raises ModelError for a weight with more values than the scheme's tables hold, and where no
    weight is large enough for a table."""
    if scheme.palette is None:
        return
    found = False
    for node in model.graph:
        weight = weight_of(node) if node.op_type in scheme.quantized_ops else None
        array = None if weight is None else constant(weight.value)
        if weight is None or array is None or array.size < scheme.smallest_weight:
            continue
        found = True
        if not is_excluded(node) and _tables(array, weight.output, scheme.palette) is None:
            raise ModelError(
                f"precision {scheme.precision} needs weights of few different values",
                where=f"node '{node_label(node)}' ({node.op_type})",
                why=f"its weight has more than {1 << scheme.palette.bits}",
                remedy=f"Quantize the float model for {scheme.precision} first, or ask for fp16.",
            )
    if not found:
        raise ModelError(
            f"precision {scheme.precision} has nothing to store",
            why=f"no weight has {scheme.smallest_weight} values or more",
            remedy="Ask for fp16.",
        )


def store_as_tables(lowered: LoweredProgram, scheme: Scheme) -> int:
    """Rewrite the weights that tables hold, in place; gives their number."""
    if scheme.palette is None:
        return 0
    old_form = is_older(lowered.system, "iOS18")
    stored = 0
    with quiet():
        for block in _blocks(lowered.program.functions["main"]):
            with block:
                for operation in list(block.operations):
                    axis = _output_axis(operation)
                    if axis is None or operation.val.val.size < scheme.smallest_weight:
                        continue
                    tables = _tables(operation.val.val, axis, scheme.palette)
                    if tables is not None:
                        _replace(operation, tables, old_form)
                        stored += 1
    return stored


def _blocks(block: Any) -> Iterator[Any]:
    yield block
    for operation in block.operations:
        for inner in operation.blocks:
            yield from _blocks(inner)


def _output_axis(operation: Any) -> int | None:
    """The axis of output channels of a float constant that operations read as their weight."""
    if operation.op_type != "const" or operation.outputs[0].dtype != types.fp32:
        return None
    variable = operation.outputs[0]
    for reader in variable.child_ops:
        for parameter, value in reader.inputs.items():
            if value is variable and (reader.op_type, parameter) in _OUTPUT_AXIS:
                return _OUTPUT_AXIS[reader.op_type, parameter](reader)
    return None


def _tables(weight: Array, axis: int, palette: Palette) -> _Tables | None:
    """One table for the whole weight, or one for each of `groups_of`; None where neither does."""
    limit = 1 << palette.bits
    whole = _values(weight, limit)
    if whole is not None:
        return _Tables(axis, (whole,))
    parts = groups_of(weight.shape, axis, palette.group_size)
    found = [_values(weight[part], limit) for part in parts] if len(parts) > 1 else [None]
    full = tuple(values for values in found if values is not None)
    return _Tables(axis, full) if len(full) == len(found) else None


def _values(weight: Array, limit: int) -> Array | None:
    """The different values, ascending; None where they are more."""
    if np.unique(weight.reshape(-1)[:_GLANCE]).size > limit:
        return None
    values = np.unique(weight)
    return values if values.size <= limit else None


def _replace(operation: Any, tables: _Tables, old_form: bool) -> None:
    old: Var = operation.outputs[0]
    weight: Array = operation.val.val
    bits = min(bits for bits in _PLACES if all(v.size <= 1 << bits for v in tables.values))
    full = np.stack([np.pad(v, (0, (1 << bits) - v.size), "edge") for v in tables.values])
    places = np.empty(weight.shape, np.uint8)
    size = weight.shape[tables.axis] // len(tables.values)
    parts = groups_of(weight.shape, tables.axis, size)
    for part, values in zip(parts, tables.values, strict=True):
        places[part] = np.searchsorted(values, weight[part])
    if old_form:
        new = mb.constexpr_lut_to_dense(
            indices=_packed(places, bits),
            lut=full[0],
            shape=np.array(weight.shape, np.uint32),
            before_op=operation,
        )
    else:
        grid = [1] * weight.ndim
        grid[tables.axis] = len(tables.values)
        new = mb.constexpr_lut_to_dense(
            indices=places.astype(_PLACES[bits]),
            lut=full.reshape(*grid, 1 << bits, 1),
            before_op=operation,
        )
    block = operation.enclosing_block
    block.replace_uses_of_var_after_op(
        anchor_op=operation, old_var=old, new_var=new, force_replace=True
    )
    block.remove_ops([operation])


def _packed(places: Array, bits: int) -> Array:
    """Case 1: `bits` of each place, the lowest first, into bytes, the lowest bit first."""
    if bits == 8:
        return places.reshape(-1)
    each = np.unpackbits(places.reshape(-1, 1), axis=1, count=bits, bitorder="little")
    return np.packbits(each, bitorder="little")
