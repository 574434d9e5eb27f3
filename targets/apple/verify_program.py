"""Checks of the finished program against its QDQ model: the last look before a package is written.

The passes of coremltools rewrite quantization, and some of them wrongly (see `passes`). So the
bytes that will be written are parsed again, and this must hold:
1. every QuantizeLinear and DequantizeLinear of a computed value is there as one `quantize` or
   `dequantize`, and there are no others;
2. its scale, zero point, axis and type are those of the QDQ model, bit by bit; where the program
   stores a scale as fp16, those of the scale rounded to fp16;
3. a `dequantize` reads the `quantize` that the QDQ model has in front of it;
4. every layer with quantized weights has its integers, scales and zero points in a constant that
   the device expands (`constexpr_...`).
A broken rule is a defect of a lowering or of coremltools, never of the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewise.errors import InternalError
from edgewise.targets.apple.program_view import Operation, ProgramView
from edgewise.targets.apple.promises import Integers, PromisedLayer, PromisedPair, Promises

Array = npt.NDArray[Any]

#: operation -> parameters that may hold its weights
WEIGHTS = {
    "conv": ("weight",),
    "conv_transpose": ("weight",),
    "linear": ("weight",),
    "matmul": ("y", "x"),
}


def verify_program(program: ProgramView, promises: Promises) -> None:
    """Raises InternalError that names the node, and the broken rule."""
    for node, problem in problems(program, promises):
        raise InternalError(
            f"the finished program does not compute the QDQ model: {problem}",
            where=f"node '{node}'",
            remedy="Please report this with the model.",
        )


def problems(program: ProgramView, promises: Promises) -> Iterator[tuple[str, str]]:
    """Nodes, and which rule the program breaks there."""
    found: dict[tuple[str, str], list[Operation]] = {}
    for operation in program.operations:
        if operation.kind in ("quantize", "dequantize"):
            found.setdefault((operation.kind, operation.origin), []).append(operation)
    for pair in promises.pairs:
        operations = found.pop((pair.kind, pair.node), [])
        if len(operations) != 1:
            yield pair.node, f"it has {len(operations)} '{pair.kind}' operations for it, not 1"
            continue
        yield from ((pair.node, text) for text in _pair_problems(program, operations[0], pair))
    for (kind, origin), _ in found.items():
        yield origin or "?", f"it has a '{kind}' that the QDQ model has not"
    for layer in promises.layers:
        yield from ((layer.node, text) for text in _layer_problems(program, layer))


def _pair_problems(program: ProgramView, operation: Operation, pair: PromisedPair) -> Iterator[str]:
    """Rules 2 and 3."""
    wanted = pair.quantization
    scale = program.constant(operation, "scale")
    if scale is None:
        yield "its scale is computed"
        return
    if not np.array_equal(scale, wanted.scale.astype(scale.dtype)):
        yield f"its scale is {_first(scale)}, that of the QDQ model {_first(wanted.scale)}"
    zero = program.constant(operation, "zero_point")
    zero = np.zeros_like(wanted.zero_point) if zero is None else zero
    if not np.array_equal(zero, wanted.zero_point):
        yield f"its zero point is {_first(zero)}, that of the QDQ model {_first(wanted.zero_point)}"
    axis = program.constant(operation, "axis")
    if wanted.scale.ndim and (axis is None or int(axis) != wanted.axis):
        yield f"its axis is {axis}, that of the QDQ model {wanted.axis}"
    if pair.kind == "quantize":
        dtype = program.constant(operation, "output_dtype")
        if dtype != wanted.zero_point.dtype.name:
            yield f"it gives {dtype}, not {wanted.zero_point.dtype}"
    elif pair.source:
        writer = program.producer(operation, "input")
        if writer is None or (writer.kind, writer.origin) != ("quantize", pair.source):
            yield f"it does not read what '{pair.source}' gives"


def _layer_problems(program: ProgramView, layer: PromisedLayer) -> Iterator[str]:
    """Rule 4."""
    operations = [o for o in program.operations if o.origin == layer.node and o.kind in WEIGHTS]
    if not operations:
        yield "its layer is missing"
    for operation in operations:
        stored = stored_weight(program, operation)
        if stored is None:
            yield "its weights are not stored as integers"
            continue
        wanted = layer.weight
        if layer.transposed and operation.kind == "linear":
            wanted = wanted.map(lambda array: array.transpose())
        yield from _differences(stored, wanted)


def stored_weight(program: ProgramView, operation: Operation) -> Integers | None:
    """The integers of a layer's weights; None where they are stored or computed as floats."""
    for parameter in WEIGHTS[operation.kind]:
        source = program.producer(operation, parameter)
        if source is not None and source.kind == "constexpr_affine_dequantize":
            return _affine(program, source)
        if source is not None and source.kind == "constexpr_blockwise_shift_scale":
            return _blockwise(program, source)
    return None


def _affine(program: ProgramView, source: Operation) -> Integers:
    data = program.constant(source, "quantized_data")
    axis = int(program.constant(source, "axis"))
    shape = [1] * data.ndim
    shape[axis] = -1

    def spread(part: Array) -> Array:
        return np.broadcast_to(part.reshape(shape) if part.ndim else part, data.shape)

    scale, zero = (program.constant(source, name) for name in ("scale", "zero_point"))
    return Integers(data, spread(scale), spread(zero))


def _blockwise(program: ProgramView, source: Operation) -> Integers:
    data, scale = (program.constant(source, name) for name in ("data", "scale"))
    offset = program.constant(source, "offset")

    def spread(part: Array) -> Array:
        for axis, size in enumerate(data.shape):
            part = np.repeat(part, size // part.shape[axis], axis)
        return part

    zero = np.zeros((1,) * data.ndim, data.dtype) if offset is None else offset
    return Integers(data, spread(scale), spread(zero))


def _differences(stored: Integers, wanted: Integers) -> Iterator[str]:
    if stored.data.shape != wanted.data.shape:
        yield f"its weights have shape {stored.data.shape}, not {wanted.data.shape}"
        return
    if stored.data.dtype != wanted.data.dtype or (stored.data != wanted.data).any():
        yield "its weights are other integers than those of the QDQ model"
    scale = wanted.scale.astype(stored.scale.dtype)
    if (stored.scale != scale).any():
        index = tuple(int(i[0]) for i in np.nonzero(stored.scale != scale))
        yield (
            f"the scale of its weights at {index} is {stored.scale[index]},"
            f" that of the QDQ model {wanted.scale[index]}"
        )
    if (stored.zero_point != wanted.zero_point).any():
        yield "the zero points of its weights are not those of the QDQ model"


def _first(values: Any) -> Any:
    return np.asarray(values).reshape(-1)[0]
