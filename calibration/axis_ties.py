"""Which axes of a node's inputs and outputs count the same things.

Each rule gives ties: pairs of an axis of an input and the axis of an output (or of another input)
that runs along the same elements in the same order. An axis that is summed or normalized over is
mixed: elements along it meet, each weighed by what the node multiplies it with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from edgewise.graph import attribute, constant

Dim = int | ir.SymbolicDim


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a tensor, counted from the front."""

    value: ir.Value
    index: int

    @property
    def key(self) -> str:
        return f"{self.index}:{self.value.name}"


@dataclass(slots=True)
class Ties:
    """`same`: axes that run along the same elements. `mixed`: for each axis that is mixed, the
    tensors that weigh its elements, any one of which may be zero to leave an element out.
    `picked`: axes that single elements are picked from."""

    same: list[tuple[Axis, Axis]] = field(default_factory=list)
    mixed: list[tuple[Axis, ...]] = field(default_factory=list)
    picked: list[Axis] = field(default_factory=list)

    def covers(self, axis: Axis) -> bool:
        """Whether a rule says what becomes of the elements along the axis."""
        return (
            any(axis in pair for pair in self.same)
            or any(axis in group for group in self.mixed)
            or axis in self.picked
        )


def ties_of(node: ir.Node) -> Ties:
    """What the node's rule gives; nothing for an operator without a rule, or unknown shapes."""
    rule = _RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    ties = Ties()
    if rule is not None and all(value.shape is not None for value in node.outputs if value.name):
        rule(node, ties)
    return ties


def shape_of(value: ir.Value | None) -> Sequence[Dim] | None:
    """The dimensions, where the rank is known."""
    return None if value is None or value.shape is None else tuple(value.shape)


def same_size(one: Dim, two: Dim) -> bool:
    """Whether two dimensions are certainly equal, and more than one element."""
    if isinstance(one, int) or isinstance(two, int):
        return one == two and one != 1
    return one.value is not None and one.value == two.value


def _elementwise(node: ir.Node, ties: Ties) -> None:
    """Numpy's broadcasting: axes are counted from the back."""
    for value in node.inputs:
        for out in node.outputs:
            ties.same += _from_back(value, out)


def _from_back(value: ir.Value | None, out: ir.Value) -> Iterator[tuple[Axis, Axis]]:
    shape, wanted = shape_of(value), shape_of(out)
    if value is None or shape is None or wanted is None:
        return
    offset = len(wanted) - len(shape)
    for index, size in enumerate(shape):
        if index + offset >= 0 and same_size(size, wanted[index + offset]):
            yield Axis(value, index), Axis(out, index + offset)


def _reshaping(node: ir.Node, ties: Ties) -> None:
    """An axis survives where as many elements lie before it and it has the same size."""
    source, out = node.inputs[0], node.outputs[0]
    before, after = shape_of(source), shape_of(out)
    if source is None or before is None or after is None:
        return
    i = j = 0
    left = right = 1  # elements of the axes passed since the last that survived
    while i < len(before) and j < len(after):
        one, two = before[i], after[j]
        if left == right and same_size(one, two):
            ties.same.append((Axis(source, i), Axis(out, j)))
            i, j = i + 1, j + 1
        elif left == right and 1 in (one, two):
            i, j = i + (one == 1), j + (two == 1)
        elif not isinstance(one, int) or not isinstance(two, int):
            return
        elif left * one <= right * two:
            left, i = left * one, i + 1
        else:
            right, j = right * two, j + 1


def _transpose(node: ir.Node, ties: Ties) -> None:
    source, shape = node.inputs[0], shape_of(node.inputs[0])
    if source is None or shape is None:
        return
    order = attribute(node, "perm") or list(reversed(range(len(shape))))
    ties.same += [(Axis(source, old), Axis(node.outputs[0], new)) for new, old in enumerate(order)]


def _matmul(node: ir.Node, ties: Ties) -> None:
    """(..., m, k) (..., k, n): m and n stay, k is mixed."""
    one, two = node.inputs[0], node.inputs[1]
    first, second = shape_of(one), shape_of(two)
    if one is None or two is None or first is None or second is None:
        return
    if min(len(first), len(second)) < 2:
        return
    out, rank = node.outputs[0], max(len(first), len(second))
    for value, shape in ((one, first), (two, second)):
        offset = rank - len(shape)
        for index in range(len(shape) - 2):
            if shape[index] != 1:
                ties.same.append((Axis(value, index), Axis(out, index + offset)))
    ties.same.append((Axis(one, len(first) - 2), Axis(out, rank - 2)))
    ties.same.append((Axis(two, len(second) - 1), Axis(out, rank - 1)))
    _contract(Axis(one, len(first) - 1), Axis(two, len(second) - 2), ties)


def _gemm(node: ir.Node, ties: Ties) -> None:
    one, two = node.inputs[0], node.inputs[1]
    if one is None or two is None:
        return
    row, column = int(attribute(node, "transA", 0)), 1 - int(attribute(node, "transB", 0))
    ties.same.append((Axis(one, row), Axis(node.outputs[0], 0)))
    ties.same.append((Axis(two, column), Axis(node.outputs[0], 1)))
    _contract(Axis(one, 1 - row), Axis(two, 1 - column), ties)
    if len(node.inputs) > 2:
        ties.same += _from_back(node.inputs[2], node.outputs[0])


def _contract(one: Axis, two: Axis, ties: Ties) -> None:
    ties.same.append((one, two))
    ties.mixed.append((one, two))


def _softmax(node: ir.Node, ties: Ties) -> None:
    """What gets no weight has no part in the sum either."""
    _elementwise(node, ties)
    rank = len(shape_of(node.outputs[0]) or ())
    ties.mixed.append((Axis(node.outputs[0], int(attribute(node, "axis", -1)) % max(rank, 1)),))


def _layer_normalization(node: ir.Node, ties: Ties) -> None:
    source, shape = node.inputs[0], shape_of(node.inputs[0])
    if source is None or shape is None:
        return
    axis = int(attribute(node, "axis", -1)) % max(len(shape), 1)
    ties.same += [(Axis(source, index), Axis(node.outputs[0], index)) for index in range(axis)]


def _reduce(node: ir.Node, ties: Ties) -> None:
    source, shape = node.inputs[0], shape_of(node.inputs[0])
    given = node.inputs[1] if len(node.inputs) > 1 else None
    listed = constant(given)
    if source is None or shape is None or (given is not None and listed is None):
        return
    chosen = attribute(node, "axes") if listed is None else listed.reshape(-1).tolist()
    if not chosen and attribute(node, "noop_with_empty_axes", 0):
        return
    axes = {int(axis) % len(shape) for axis in chosen or range(len(shape))}
    keep, position = bool(attribute(node, "keepdims", 1)), 0
    for index in range(len(shape)):
        if index in axes:
            ties.mixed.append((Axis(source, index),))
        else:
            ties.same.append((Axis(source, index), Axis(node.outputs[0], position)))
        position += keep or index not in axes


def _except_axis(node: ir.Node, ties: Ties) -> None:
    """Split and Concat."""
    for value in node.inputs if node.op_type == "Concat" else node.inputs[:1]:
        rank = len(shape_of(value) or ())
        axis = int(attribute(node, "axis", 0)) % max(rank, 1)
        for out in node.outputs:
            if value is not None:
                kept = (index for index in range(rank) if index != axis)
                ties.same += [(Axis(value, index), Axis(out, index)) for index in kept]


def _slice(node: ir.Node, ties: Ties) -> None:
    source, shape, kept = node.inputs[0], shape_of(node.inputs[0]), shape_of(node.outputs[0])
    axes = constant(node.inputs[3]) if len(node.inputs) > 3 else None
    if source is None or shape is None or kept is None or axes is None:
        return
    cut = {int(axis) % len(shape) for axis in axes.reshape(-1)}
    for index in range(len(shape)):
        if index not in cut:
            ties.same.append((Axis(source, index), Axis(node.outputs[0], index)))
        else:
            ties.picked.append(Axis(source, index))


def _gather(node: ir.Node, ties: Ties) -> None:
    source, indices = node.inputs[0], shape_of(node.inputs[1])
    shape = shape_of(source)
    if source is None or shape is None or indices is None:
        return
    axis = int(attribute(node, "axis", 0)) % max(len(shape), 1)
    for index in range(len(shape)):
        if index == axis:
            ties.picked.append(Axis(source, index))
        else:
            moved = index if index < axis else index + len(indices) - 1
            ties.same.append((Axis(source, index), Axis(node.outputs[0], moved)))


_ELEMENTWISE = (
    "Abs", "Add", "And", "Cast", "Ceil", "Celu", "Clip", "Cos", "Div", "Dropout", "Elu", "Equal",
    "Erf", "Exp", "Expand", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid",
    "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max",
    "Min", "Mish", "Mul", "Neg", "Not", "Or", "Pow", "Reciprocal", "Relu", "Round", "Selu",
    "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tanh",
    "Where",
)  # fmt: skip
_REDUCING = ("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum",
             "ReduceSumSquare")  # fmt: skip

_RULES: Mapping[str, Callable[[ir.Node, Ties], None]] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_REDUCING, _reduce),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), _reshaping),
    "Concat": _except_axis,
    "Gather": _gather,
    "Gemm": _gemm,
    "LayerNormalization": _layer_normalization,
    "MatMul": _matmul,
    "RMSNormalization": _layer_normalization,
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _except_axis,
    "Transpose": _transpose,
}
