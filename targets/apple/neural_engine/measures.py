"""Sizes of MIL operations and programs that rules speak of; 0 where a size does not apply.

An operation's `inputs` are its parameters by name; constants have a `val`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from edgewise.targets.apple._coremltools import types

#: operations that compute nothing on a device
_FREE = frozenset({"const", "identity"})
#: comparisons give booleans that the Neural Engine knows as masks
_MASKS = frozenset(
    {
        "equal", "greater", "greater_equal", "less", "less_equal", "logical_not", "not_equal",
    }
)  # fmt: skip
_LINE_BYTES = 64  # to which the last axis is padded [T]
_HALF_BYTES = 2
#: tensors below this size are not worth a remark
_LARGE = 4096


def operations(block: Any) -> Iterator[Any]:
    """Everything that computes, in order, bodies of loops and branches included."""
    for operation in block.operations:
        if operation.op_type in _FREE:
            continue
        yield operation
        for inner in operation.blocks:
            yield from operations(inner)


def is_stored(operation: Any) -> bool:
    """Whether the operation only says how a constant is compressed."""
    return bool(operation.op_type.startswith("constexpr_"))


def _tensors(operation: Any) -> Iterator[Any]:
    """What it reads and gives, but for its constant parameters."""
    for value in operation.inputs.values():
        for item in value if isinstance(value, list | tuple) else (value,):
            if item is not None and item.val is None and hasattr(item, "shape"):
                yield item
    yield from operation.outputs


def _known(shape: Sequence[Any]) -> list[int]:
    return [int(size) for size in shape if isinstance(size, int | np.integer)]


def _rank(operation: Any) -> float:
    return max((len(tensor.shape) for tensor in _tensors(operation)), default=0)


def _dimension(operation: Any) -> float:
    return max((size for tensor in _tensors(operation) for size in _known(tensor.shape)), default=0)


def _kernel(operation: Any) -> float:
    if "kernel_sizes" in operation.inputs:
        return float(max(operation.kernel_sizes.val))
    return max(_known(operation.weight.shape[2:]), default=0)


def _dilation(operation: Any) -> float:
    dilations = operation.inputs.get("dilations")
    return 1 if dilations is None or dilations.val is None else float(max(dilations.val))


def _computed_weight(operation: Any) -> float:
    weight = operation.weight
    if weight.val is not None or weight.op is None:
        return float(weight.val is None)
    return float(not is_stored(weight.op))


def _mirrored_padding(operation: Any) -> float:
    mode = operation.inputs.get("mode")
    return float(mode is not None and mode.val != "constant")


def _results_of(operation: Any, *wanted: Any) -> float:
    if is_stored(operation) or operation.op_type in ("cast", "dequantize", "quantize"):
        return 0
    return float(any(output.dtype in wanted for output in operation.outputs))


def _fp32_results(operation: Any) -> float:
    return _results_of(operation, types.fp32)


def _int32_results(operation: Any) -> float:
    if operation.op_type in _MASKS:
        return 0
    return _results_of(operation, types.int32, types.bool)


def _scaled_axes(operation: Any) -> float:
    return float(sum(size > 1 for size in operation.scale.shape))


def _scale_rank(operation: Any) -> float:
    return len(operation.scale.shape)


def _zero_point(operation: Any) -> float:
    zero = operation.inputs.get("zero_point")
    return 0 if zero is None or zero.val is None else float(np.any(zero.val))


MEASURES: Mapping[str, Callable[[Any], float]] = {
    "computed_weight": _computed_weight,
    "dilation": _dilation,
    "dimension": _dimension,
    "fp32_results": _fp32_results,
    "int32_results": _int32_results,
    "kernel": _kernel,
    "mirrored_padding": _mirrored_padding,
    "rank": _rank,
    "scale_rank": _scale_rank,
    "scaled_axes": _scaled_axes,
    "zero_point": _zero_point,
}


def is_fp32(function: Any) -> float:
    """1 for a function with floats none of which is fp16."""
    kinds = {output.dtype for o in operations(function) for output in o.outputs}
    return float(types.fp32 in kinds and types.fp16 not in kinds)


def _dynamic_inputs(function: Any) -> float:
    tensors = [v for v in function.inputs.values() if not types.is_state(v.sym_type)]
    return float(sum(len(_known(tensor.shape)) < len(tensor.shape) for tensor in tensors))


def _weight_gigabytes(function: Any) -> float:
    """What constants take; compressed ones count as they are stored."""
    constants = (o.outputs[0].val for o in function.operations if o.op_type == "const")
    return float(sum(array.nbytes for array in constants if isinstance(array, np.ndarray))) / 1e9


def _quantized_activations(function: Any) -> float:
    return float(sum(operation.op_type == "quantize" for operation in operations(function)))


def _padding_waste(function: Any) -> float:
    """Bytes with padding over bytes without, of the large activations together."""
    line = _LINE_BYTES // _HALF_BYTES
    taken = used = 0
    for operation in operations(function):
        for output in () if is_stored(operation) else operation.outputs:
            shape = _known(output.shape)
            if len(shape) < 2 or len(shape) < len(output.shape) or prod(shape) < _LARGE:
                continue
            used += prod(shape)
            taken += prod(shape[:-1]) * (-(-shape[-1] // line) * line)
    return taken / used if used else 0


def _sequence_linears(function: Any) -> float:
    found = (o.op_type == "linear" and len(o.x.shape) == 3 for o in operations(function))
    return float(sum(found))


PROGRAM_MEASURES: Mapping[str, Callable[[Any], float]] = {
    "dynamic_inputs": _dynamic_inputs,
    "is_fp32": is_fp32,
    "padding_waste": _padding_waste,
    "quantized_activations": _quantized_activations,
    "sequence_linears": _sequence_linears,
    "weight_gigabytes": _weight_gigabytes,
}
