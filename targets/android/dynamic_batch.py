"""One graph for every batch size, from two graphs for a certain one each.

The model is lowered with two batches that are no size of anything else, and the two graphs are
compared operator by operator. They must be the same graph but for sizes, and a size that differs
must be a multiple of the batch, `k * batch`. What differs then takes a form without a size:
  1. a dimension becomes `k` in the file, -1 in its shape signature; resizing the inputs sets all
  2. RESHAPE: the one size that differs becomes -1 (what is left)
  3. SLICE: a size that reaches the end of its axis becomes -1 (up to the end)
  4. STRIDED_SLICE: an end that is the end of its axis is masked
  5. any other vector of sizes (BROADCAST_TO, TILE, FILL, ...) is computed (see `batch_sizes`)
  6. a constant that repeats itself along the batch is stored once, and broadcast by 5
Anything else that differs is refused with the node it is for: the batch then enters the arithmetic.
The file is written for batch 1, and a LiteRT interpreter resizes its inputs to any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.errors import ModelError
from edgewise.targets.android.batch_sizes import SizeVectors, int32
from edgewise.targets.android.lower import Lowered
from edgewise.targets.android.model import Array, Graph, Operator, Tensor
from edgewise.targets.base import TensorSignature

#: batches that hardly any other size is a multiple of
PROBED_BATCHES = (61, 67)

_DEFAULT_NAME = "batch"
_EXPORT_SYMBOLIC = "Export the model with one symbolic batch dimension for all inputs."
_NEW_SHAPE = "newShape"  # option of RESHAPE that repeats its second input


def batch_name(model: ir.Model) -> str:
    """The name of the symbolic first dimension of a model's inputs.

    Raises ModelError when no input has one, or when they have several.
    """
    found = _symbolic_batches(model)
    if len(found) == 1:
        return found[0]
    why = "no input of the model has a symbolic first dimension"
    if found:
        why = f"inputs begin with different symbolic dimensions: {', '.join(found)}"
    raise ModelError("the batch cannot be dynamic", why=why, remedy=_EXPORT_SYMBOLIC)


def check_batch(model: ir.Model, batch: int) -> None:
    """Raises ModelError where a model cannot be built for a batch, its own being fixed."""
    if batch == 1 or _symbolic_batches(model):
        return
    inputs = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    for value in inputs:
        if value.shape is not None and len(value.shape) and value.shape[0] == batch:
            return
    shapes = ", ".join(f"'{value.name}' {value.shape}" for value in inputs)
    raise ModelError(
        f"the batch cannot be {batch}",
        why=f"the model's own is fixed: {shapes}",
        remedy=_EXPORT_SYMBOLIC,
    )


def _symbolic_batches(model: ir.Model) -> list[str]:
    names = []
    for value in model.graph.inputs:
        if value.name in model.graph.initializers or value.shape is None or not len(value.shape):
            continue
        first = value.shape[0]
        if not isinstance(first, int):
            names.append(first.value or _DEFAULT_NAME)
    return list(dict.fromkeys(names))


def free_batch(first: Lowered, second: Lowered, name: str) -> Lowered:
    """The graph of `first`, changed in place to take any batch.

    Args:
        first, second: the same model, lowered with the two `PROBED_BATCHES`.
        name: of the batch, for the signatures.

    Raises ModelError, which names the node, where the two differ in more than sizes.
    """
    graph = first.graph
    freeing = _Freeing(graph, second.graph, _size_vectors(graph.inputs, second.graph.inputs))
    freeing.run()
    return replace(
        first,
        inputs=_signatures(first.inputs, graph.inputs, name),
        outputs=_signatures(first.outputs, graph.outputs, name),
    )


def _size_vectors(mine: Sequence[Tensor], theirs: Sequence[Tensor]) -> SizeVectors:
    """Sizes by the first input that has the batch; `batch_name` has found one."""
    source, axis = next(
        (tensor, axis)
        for tensor, twin in zip(mine, theirs, strict=True)
        for axis, sizes in enumerate(zip(tensor.shape, twin.shape, strict=True))
        if sizes == PROBED_BATCHES
    )
    return SizeVectors(source, axis)


@dataclass(slots=True)
class _Freeing:
    """Walks both graphs at once; `graph` is the one that is changed."""

    graph: Graph
    other: Graph
    sizes: SizeVectors
    #: computed tensors of both graphs that stand for each other
    pairs: dict[Tensor, Tensor] = field(default_factory=dict)

    def run(self) -> None:
        for mine, theirs in zip(self.graph.inputs, self.other.inputs, strict=True):
            self._pair(mine, theirs, f"input '{mine.name}'")
        if len(self.graph.operators) != len(self.other.operators):
            raise _refuse("graph", "the number of operators depends on it")
        twins = zip(self.graph.operators, self.other.operators, strict=True)
        freed = [self._free(mine, theirs) for mine, theirs in twins]
        for mine, theirs in zip(self.graph.outputs, self.other.outputs, strict=True):
            if self.pairs.get(mine) is not theirs:
                raise _refuse(f"output '{mine.name}'", "it is computed another way")
        self.graph.operators = [*self.sizes.operators, *freed]
        self._free_shapes()

    def _free(self, mine: Operator, theirs: Operator) -> Operator:
        """The operator without sizes that depend on the batch."""
        where = _place(mine)
        if (mine.kind, mine.version) != (theirs.kind, theirs.version):
            raise _refuse(where, f"it becomes {mine.kind} or {theirs.kind}")
        if mine.bodies or theirs.bodies:
            raise _refuse(where, "it runs a graph of its own, whose sizes are fixed")
        if not _same_options(mine.options, theirs.options):
            raise _refuse(where, "its options depend on it")
        if len(mine.inputs) != len(theirs.inputs) or len(mine.outputs) != len(theirs.outputs):
            raise _refuse(where, "the number of its operands depends on it")
        if mine.bodies:
            raise _refuse(where, "its body is written for one size")
        options = dict(mine.options)
        operands = enumerate(zip(mine.inputs, theirs.inputs, strict=True))
        inputs = [self._operand(mine, position, *pair, options) for position, pair in operands]
        for pair in zip(mine.outputs, theirs.outputs, strict=True):
            self._pair(*pair, where)
        if _NEW_SHAPE in options:
            del options[_NEW_SHAPE]
            if inputs[1].data is not None:
                options[_NEW_SHAPE] = inputs[1].data
        return replace(mine, inputs=tuple(inputs), options=options)

    def _pair(self, mine: Tensor, theirs: Tensor, where: str) -> None:
        if not _same_numbers(mine, theirs) or len(mine.shape) != len(theirs.shape):
            raise _refuse(where, "the kind of its numbers depends on it")
        for one, two in zip(mine.shape, theirs.shape, strict=True):
            if one != two and _factor(one, two) is None:
                raise _refuse(where, f"a size of its result is {one} or {two}, no multiple of it")
        self.pairs[mine] = theirs

    def _free_shapes(self) -> None:
        """Case 1; last, because the comparison needs the sizes as they were."""
        for mine, theirs in self.pairs.items():
            if mine.shape != theirs.shape:
                sizes = list(zip(mine.shape, theirs.shape, strict=True))
                mine.shape_signature = tuple(one if one == two else -1 for one, two in sizes)
                mine.shape = tuple(
                    one if one == two else one // PROBED_BATCHES[0] for one, two in sizes
                )

    # ---- operands

    def _operand(
        self,
        operator: Operator,
        position: int,
        mine: Tensor,
        theirs: Tensor,
        options: dict[str, Any],
    ) -> Tensor:
        if mine.data is None or theirs.data is None:
            if mine.data is not None or self.pairs.get(mine) is not theirs:
                raise _refuse(_place(operator), "it reads another tensor")
            return mine
        if not _same_numbers(mine, theirs) or mine.data.ndim != theirs.data.ndim:
            raise _refuse(_place(operator), "the kind of a constant depends on it")
        if mine.shape != theirs.shape:
            return self._repeated(operator, mine, theirs.data)
        if np.array_equal(mine.data, theirs.data, equal_nan=mine.dtype.kind == "f"):
            return mine
        if mine.dtype != np.int32 or mine.data.ndim != 1:
            raise _refuse(_place(operator), "it calculates with it")
        return self._freed_sizes(operator, position, mine.data, theirs.data, options)

    def _freed_sizes(
        self,
        operator: Operator,
        position: int,
        mine: Array,
        theirs: Array,
        options: dict[str, Any],
    ) -> Tensor:
        """Cases 2 to 5."""
        axes = np.flatnonzero(mine != theirs)
        if operator.kind == "RESHAPE" and len(axes) == 1:
            return _with(mine, axes, -1)
        if operator.kind == "SLICE" and position == 2 and _slice_reaches_end(operator, axes):
            return _with(mine, axes, -1)
        if operator.kind == "STRIDED_SLICE" and position == 2 and _stride_ends(operator, axes):
            mask = sum(1 << int(axis) for axis in axes)
            options["endMask"] = int(options.get("endMask", 0)) | mask
            return _with(mine, axes, 1)
        return self._computed(operator, mine, theirs)

    def _computed(self, operator: Operator, mine: Array, theirs: Array) -> Tensor:
        """Case 5."""
        factors, rest = np.divmod(theirs - mine, PROBED_BATCHES[1] - PROBED_BATCHES[0])
        if rest.any():
            raise _refuse(_place(operator), "it calculates with it")
        return self.sizes.vector(mine - factors * PROBED_BATCHES[0], factors)

    def _repeated(self, operator: Operator, mine: Tensor, theirs: Array) -> Tensor:
        """Case 6."""
        data = mine.data
        assert data is not None  # the caller has seen it
        sizes = list(zip(data.shape, theirs.shape, strict=True))
        once = data[tuple(slice(0, 1) if one != two else slice(None) for one, two in sizes)]
        if any(one != two and _factor(one, two) is None for one, two in sizes):
            raise _refuse(_place(operator), "the size of a constant is no multiple of it")
        if not (data == once).all() or not (theirs == once).all():
            raise _refuse(_place(operator), "a constant has other numbers for each part of it")
        stored = Tensor(once.shape, mine.dtype, mine.quantization, once, mine.name)
        output = Tensor(mine.shape, mine.dtype, mine.quantization)
        shapes = (np.array(array.shape, np.int32) for array in (data, theirs))
        self.sizes.append("BROADCAST_TO", [stored, self._computed(operator, *shapes)], output)
        self.pairs[output] = Tensor(theirs.shape, mine.dtype)
        return output


def _slice_reaches_end(operator: Operator, axes: Array) -> bool:
    source, begin, size = operator.inputs
    if begin.data is None or size.data is None:
        return False
    return np.array_equal((begin.data + size.data)[axes], np.array(source.shape)[axes])


def _stride_ends(operator: Operator, axes: Array) -> bool:
    """Whether a strided slice goes forward to the very end of those axes."""
    source, _, end, strides = operator.inputs
    if end.data is None or strides.data is None or (strides.data[axes] < 1).any():
        return False
    return np.array_equal(end.data[axes], np.array(source.shape)[axes])


def _with(data: Array, positions: Array, number: int) -> Tensor:
    changed = data.copy()
    changed[positions] = number
    return int32(changed)


def _factor(one: int, two: int) -> int | None:
    """The `k` of two sizes that are `k` times their batch."""
    factor, rest = divmod(one, PROBED_BATCHES[0])
    return factor if not rest and factor * PROBED_BATCHES[1] == two else None


def _same_numbers(one: Tensor, two: Tensor) -> bool:
    if one.quantization is None or two.quantization is None:
        return one.dtype == two.dtype and one.quantization is two.quantization
    return one.dtype == two.dtype and one.quantization.same_as(two.quantization)


def _same_options(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return one.keys() == two.keys() and all(
        key == _NEW_SHAPE or np.array_equal(one[key], two[key]) for key in one
    )


def _signatures(
    signatures: Sequence[TensorSignature], tensors: Sequence[Tensor], name: str
) -> tuple[TensorSignature, ...]:
    """With the batch by name: `batch`, or `4*batch` where the model folds other axes into it."""
    named = []
    for signature, tensor in zip(signatures, tensors, strict=True):
        sizes = zip(tensor.shape, tensor.shape_signature or tensor.shape, strict=True)
        shape = [
            size if free != -1 else name if size == 1 else f"{size}*{name}" for size, free in sizes
        ]
        hub_shape = [shape[signature.perm.index(axis)] for axis in range(len(shape))]
        named.append(replace(signature, shape=tuple(shape), hub_shape=tuple(hub_shape)))
    return tuple(named)


def _place(operator: Operator) -> str:
    return f"node '{operator.origin}' ({operator.kind})"


def _refuse(where: str, why: str) -> ModelError:
    return ModelError(
        "the batch cannot be dynamic here",
        where=where,
        why=why,
        remedy="Build for a fixed batch (batch = 4), or export the model without it in its sizes.",
    )
