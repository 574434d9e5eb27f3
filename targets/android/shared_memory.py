"""Results that the runtime would overwrite before they are read (tflite/arena_planner.cc of LiteRT
2.3, and of TFLite since kernels can work in place).

1. The result of some kernels takes the memory of an input: always where nothing is changed
   (RESHAPE, BITCAST), and where the kernel changes it, if nothing else reads that input, which the
   planner asks of the input itself and of the tensor that owned the memory first.
2. It does not ask of the tensors between the two:

       a = CONV_2D(..)    only v reads it
       v = RESHAPE(a)     r reads it, and z: takes the memory of a
       r = RESHAPE(v)     only y reads it: takes the memory of a
       y = SOFTMAX(r)     neither r nor a has another reader: overwrites a, and so v
       z = MEAN(v)        reads what SOFTMAX wrote

3. So `y` reads a copy of `r` instead, by a SLICE of the whole, which XNNPACK takes as well.

Operators that a delegate runs share nothing, so that a device overwrites less than the built-in
kernels would; which ones it runs differs from device to device, and so every case is looked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from edgewise.targets.android.kinds import version_for
from edgewise.targets.android.model import INT32, Graph, Operator, Tensor

_UNCHANGED = frozenset({"BITCAST", "RESHAPE"})
#: kernels that write over an input of theirs, and which one it may be
_CHANGING = {
    "ADD": (0, 1),
    "DIV": (0, 1),
    "DYNAMIC_UPDATE_SLICE": (0,),
    "MUL": (0, 1),
    "SOFTMAX": (0,),
    "SUB": (0, 1),
}
_RAW_INT8_VERSION = 2
_MOST_AXES = 5


def keep_apart(graph: Graph) -> None:
    """Case 3, in place, for the graph and its bodies."""
    for part in graph.all_graphs():
        found: dict[int, list[Tensor]] = {}
        for position, tensor in overwriting(part):
            found.setdefault(position, []).append(tensor)
        operators: list[Operator] = []
        for position, operator in enumerate(part.operators):
            for tensor in found.get(position, []):
                copies = _copy(tensor, operator.origin)
                operators += copies
                operator = _reading(operator, tensor, copies[-1].outputs[0])
            operators.append(operator)
        part.operators = operators


def overwriting(graph: Graph) -> Iterator[tuple[int, Tensor]]:
    """Case 2: the position of each operator that may overwrite what others still read, and the
    input in whose memory it does."""
    readers = Counter(tensor for operator in graph.operators for tensor in operator.inputs)
    readers.update(graph.outputs)
    owners: dict[Tensor, list[Tensor]] = {}
    for position, operator in enumerate(graph.operators):
        for tensor in _shared(graph, operator, readers):
            if operator.kind in _CHANGING and _is_read_between(tensor, owners, readers):
                yield position, tensor
            owners.setdefault(operator.outputs[0], []).append(tensor)


def _shared(graph: Graph, operator: Operator, readers: Counter[Tensor]) -> list[Tensor]:
    """Case 1: the inputs whose memory the first output may take."""
    if not operator.outputs or operator.outputs[0] in graph.outputs:
        return []
    if operator.kind in _UNCHANGED:
        candidates = list(operator.inputs[:1])
    else:
        positions = _CHANGING.get(operator.kind, ())
        candidates = [operator.inputs[index] for index in positions]
        candidates = [tensor for tensor in candidates if readers[tensor] == 1]
    return [t for t in candidates if t.data is None and t not in graph.inputs]


def _is_read_between(
    tensor: Tensor, owners: dict[Tensor, list[Tensor]], readers: Counter[Tensor]
) -> bool:
    """Whether something else reads a tensor between this one and one that owned its memory."""
    return any(
        (readers[owner] > 1 and owner in owners) or _is_read_between(owner, owners, readers)
        for owner in owners.get(tensor, [])
    )


def _reading(operator: Operator, old: Tensor, new: Tensor) -> Operator:
    return replace(
        operator, inputs=tuple(new if tensor is old else tensor for tensor in operator.inputs)
    )


def _copy(source: Tensor, origin: str) -> list[Operator]:
    """Operators of which the last one writes the same numbers to memory of their own."""
    if len(source.shape) <= _MOST_AXES:
        return [_slice(source, origin)]
    free = source.shape_signature is not None
    flat = _like(source, (int(np.prod(source.shape)),), (-1,) if free else None)
    first = _reshape(source, flat, origin)
    second = _slice(flat, origin)
    back = _like(source, source.shape, source.shape_signature)
    return [first, second, _reshape(second.outputs[0], back, origin)]


def _like(source: Tensor, shape: Sequence[int], signature: Sequence[int] | None) -> Tensor:
    return Tensor(
        tuple(shape),
        source.dtype,
        source.quantization,
        shape_signature=None if signature is None else tuple(signature),
    )


def _slice(source: Tensor, origin: str) -> Operator:
    """XNNPACK takes no -1, which only a free dimension gets."""
    output = _like(source, source.shape, source.shape_signature)
    starts = _ints([0] * len(source.shape))
    sizes = _ints(source.shape_signature or source.shape)
    return _operator("SLICE", (source, starts, sizes), output, origin)


def _reshape(source: Tensor, target: Tensor, origin: str) -> Operator:
    dims = _ints(target.shape_signature or target.shape)
    operator = _operator("RESHAPE", (source, dims), target, origin)
    return replace(operator, options={"newShape": dims.data})


def _operator(kind: str, inputs: tuple[Tensor, ...], output: Tensor, origin: str) -> Operator:
    operator = Operator(kind, inputs, (output,), {}, 1, origin)
    raw = output.quantization is None and output.dtype.name in ("int8", "uint8")
    version = version_for(kind, operator.stored_dtype)
    operator.version = max(version, _RAW_INT8_VERSION) if raw and kind == "SLICE" else version
    return operator


def _ints(numbers: Sequence[int]) -> Tensor:
    return Tensor((len(numbers),), INT32, data=np.array(numbers, np.int32))
