"""Operators that work as well on data whose axes are in another order.

With P the transposition of all data inputs by one order, and Q that of the outputs by the same
order of the axes that are left,

    Q(op(x, ...)) = op'(P(x), ...)

where op' is the operator with its axes renumbered:

1. element by element: only constants change, which are broadcast from the last axis on
2. an attribute `axis`: Concat, Split, Softmax, LogSoftmax, Hardmax, ArgMax, ArgMin
3. an input `axes`: ReduceMean and its family, Squeeze
4. one constant number per axis: Pad, Slice, Tile
5. an input `axis`: CumSum
6. Gather with constant indices of one axis or none
7. Resize to the nearest entry by one constant factor per axis
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgewise.exporters.passes.base import Array
from edgewise.graph import attribute, constant, node_label

#: position in the new order -> axis in the old one
Order = tuple[int, ...]
#: adds a constant to the graph, by a name that gets a number where it is taken
AddConstant = Callable[[str, Array], ir.Value]
#: changes a node for data of another order; none of its other readers notices
Renumber = Callable[[ir.Node, AddConstant, Order], None]

_UNARY = frozenset(
    {
        "Abs",
        "Acos",
        "Acosh",
        "Asin",
        "Asinh",
        "Atan",
        "Atanh",
        "Cast",
        "Ceil",
        "Celu",
        "Clip",
        "Cos",
        "Cosh",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "IsInf",
        "IsNaN",
        "LeakyRelu",
        "Log",
        "Mish",
        "Neg",
        "Not",
        "Reciprocal",
        "Relu",
        "Round",
        "Selu",
        "Shrink",
        "Sigmoid",
        "Sign",
        "Sin",
        "Sinh",
        "Softplus",
        "Softsign",
        "Swish",
        "Sqrt",
        "Tan",
        "Tanh",
        "ThresholdedRelu",
    }
)
_BROADCAST = frozenset(
    {
        "Add",
        "And",
        "Div",
        "Equal",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "Max",
        "Mean",
        "Min",
        "Mod",
        "Mul",
        "Or",
        "PRelu",
        "Pow",
        "Sub",
        "Sum",
        "Where",
        "Xor",
    }
)
_REDUCTIONS = frozenset(
    {
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "ReduceSumSquare",
    }
)


@dataclass(frozen=True, slots=True)
class Passage:
    """How axes go through a node.

    Attributes:
        data: indices of the inputs whose axes are those of the node, in order.
        rank: how many axes they have.
        kept: which of them the outputs have, in order.
        renumber: lets the node work on data of another order; changes the node only.
    """

    data: tuple[int, ...]
    rank: int
    kept: Order
    renumber: Renumber


def passage(node: ir.Node) -> Passage | None:
    """None for a node that works in one order only, or about which too little is known."""
    if node.domain not in ("", "ai.onnx") or not node.inputs or node.inputs[0] is None:
        return None
    if node.op_type in _UNARY:
        return _through(node, (0,), lambda node, add, order: None)
    if node.op_type in _BROADCAST:
        return _broadcast(node)
    reader = _READERS.get(node.op_type)
    return None if reader is None else reader(node)


def reordered(dims: Sequence[int], order: Order) -> list[int]:
    """Axes of the old order as those of the new one."""
    return [order.index(axis) for axis in dims]


def _rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def _through(
    node: ir.Node,
    data: tuple[int, ...],
    renumber: Renumber,
    dropped: Sequence[int] = (),
) -> Passage | None:
    rank = _rank(node.inputs[data[0]])
    if not rank or any(_rank(node.inputs[index]) != rank for index in data):
        return None
    gone = {axis % rank for axis in dropped}
    kept = tuple(axis for axis in range(rank) if axis not in gone)
    return Passage(data, rank, kept, renumber)


def _broadcast(node: ir.Node) -> Passage | None:
    """Case 1: data of the result's rank, numbers, and constants, which turn with the data.

    A Where between two constants stays: it writes a mask, which quantization knows by its place
    before the sum.
    """
    if node.op_type == "Where" and all(constant(value) is not None for value in node.inputs[1:]):
        return None
    rank = _rank(node.outputs[0])
    data, turned = [], []
    for index, value in enumerate(node.inputs):
        if value is None or _single(value):
            continue
        if constant(value) is not None:
            turned.append(index)
        elif _rank(value) == rank:
            data.append(index)
        else:
            return None
    if not data:
        return None

    return _through(node, tuple(data), _turning(turned))


def _turning(inputs: Sequence[int]) -> Renumber:
    """Gives constants the axes of the data in their new order, less leading ones of size 1."""

    def renumber(node: ir.Node, add: AddConstant, order: Order) -> None:
        for index in inputs:
            array = constant(node.inputs[index])
            assert array is not None  # it was one when the passage was found
            full = array.reshape((1,) * (len(order) - array.ndim) + array.shape).transpose(order)
            while full.ndim > array.ndim and full.shape[0] == 1:
                full = full[0]
            _replace_constant(node, add, index, full)

    return renumber


def _single(value: ir.Value) -> bool:
    return value.shape is not None and all(dim == 1 for dim in value.shape)


def _replace_constant(node: ir.Node, add: AddConstant, index: int, array: Array) -> None:
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    old = node.inputs[index]
    name = f"{node_label(node)}_{index}" if old is None or not old.name else str(old.name)
    node.replace_input_with(index, add(name, array))


def _numbers(node: ir.Node, index: int) -> list[int] | None:
    """A constant input of whole numbers; None where it is computed or not given."""
    value = node.inputs[index] if index < len(node.inputs) else None
    array = constant(value)
    return None if array is None else [int(number) for number in array.reshape(-1)]


def _given(node: ir.Node, index: int) -> bool:
    return index < len(node.inputs) and node.inputs[index] is not None


def _with_axis(default: int) -> Callable[[ir.Node], Passage | None]:
    """Case 2, of operators with one input of data."""

    def read(node: ir.Node) -> Passage | None:
        rank = _rank(node.inputs[0])
        axis = int(attribute(node, "axis", default))
        if rank is None:
            return None
        drops = node.op_type.startswith("Arg") and not attribute(node, "keepdims", 1)
        return _through(node, (0,), _moving_axis(axis % rank), [axis] if drops else [])

    return read


def _moving_axis(axis: int) -> Renumber:
    def renumber(node: ir.Node, add: AddConstant, order: Order) -> None:
        node.attributes.add(ir.AttrInt64("axis", order.index(axis)))

    return renumber


def _concat(node: ir.Node) -> Passage | None:
    """Case 2, with constants among the inputs."""
    rank, axis = _rank(node.inputs[0]), int(attribute(node, "axis", 0))
    turned = [i for i, value in enumerate(node.inputs) if constant(value) is not None]
    data = tuple(index for index in range(len(node.inputs)) if index not in turned)
    if rank is None or not data:
        return None
    turn, move = _turning(turned), _moving_axis(axis % rank)

    def renumber(node: ir.Node, add: AddConstant, order: Order) -> None:
        turn(node, add, order)
        move(node, add, order)

    return _through(node, data, renumber)


def _reduction(node: ir.Node) -> Passage | None:
    """Case 3."""
    rank = _rank(node.inputs[0])
    axes = _numbers(node, 1)
    if rank is None or axes is None:
        return None

    def renumber(node: ir.Node, add: AddConstant, order: Order) -> None:
        new = sorted(reordered([axis % rank for axis in axes], order))
        _replace_constant(node, add, 1, np.array(new, np.int64))

    drops = node.op_type == "Squeeze" or not attribute(node, "keepdims", 1)
    return _through(node, (0,), renumber, axes if drops else [])


def _pad(node: ir.Node) -> Passage | None:
    """Case 4."""
    rank, pads = _rank(node.inputs[0]), _numbers(node, 1)
    axes = _numbers(node, 3)
    if rank is None or pads is None or (_given(node, 3) and axes is None):
        return None

    def renumber(node: ir.Node, add: AddConstant, order: Order) -> None:
        if axes is not None:
            new = reordered([axis % rank for axis in axes], order)
            _replace_constant(node, add, 3, np.array(new, np.int64))
            return
        both = np.array(pads, np.int64).reshape(2, rank)
        _replace_constant(node, add, 1, both[:, list(order)].reshape(-1))

    return _through(node, (0,), renumber)


def _slice(node: ir.Node) -> Passage | None:
    """Case 4."""
    rank, starts = _rank(node.inputs[0]), _numbers(node, 1)
    axes = _numbers(node, 3) if _given(node, 3) else None if starts is None else range(len(starts))
    if rank is None or axes is None:
        return None
    starts_value = node.inputs[1]
    narrow = starts_value is not None and starts_value.dtype == ir.DataType.INT32
    dtype = np.int32 if narrow else np.int64  # ONNX wants axes of the type of starts

    def renumber(node: ir.Node, add: AddConstant, order: Order) -> None:
        new = reordered([axis % rank for axis in axes], order)
        _replace_constant(node, add, 3, np.array(new, dtype))

    return _through(node, (0,), renumber)


def _tile(node: ir.Node) -> Passage | None:
    """Case 4."""
    repeats = _numbers(node, 1)
    if repeats is None:
        return None

    def renumber(node: ir.Node, add: AddConstant, order: Order) -> None:
        _replace_constant(node, add, 1, np.array([repeats[a] for a in order], np.int64))

    return _through(node, (0,), renumber)


def _cumulative_sum(node: ir.Node) -> Passage | None:
    """Case 5."""
    rank, axis = _rank(node.inputs[0]), _numbers(node, 1)
    if rank is None or axis is None:
        return None

    def renumber(node: ir.Node, add: AddConstant, order: Order) -> None:
        _replace_constant(node, add, 1, np.array(order.index(axis[0] % rank), np.int64))

    return _through(node, (0,), renumber)


def _gather(node: ir.Node) -> Passage | None:
    """Case 6."""
    rank, indices = _rank(node.inputs[0]), constant(node.inputs[1])
    if rank is None or indices is None or indices.ndim > 1 or constant(node.inputs[0]) is not None:
        return None
    axis = int(attribute(node, "axis", 0)) % rank
    return _through(node, (0,), _moving_axis(axis), [] if indices.ndim else [axis])


def _resize(node: ir.Node) -> Passage | None:
    """Case 7. Other modes are left to the order that runtimes have kernels for."""
    factors = constant(node.inputs[2]) if len(node.inputs) == 3 else None
    if factors is None or node.inputs[1] is not None or attribute(node, "axes") is not None:
        return None
    if attribute(node, "mode", "nearest") != "nearest":
        return None

    def renumber(node: ir.Node, add: AddConstant, order: Order) -> None:
        _replace_constant(node, add, 2, factors[list(order)])

    return _through(node, (0,), renumber)


_READERS: Mapping[str, Callable[[ir.Node], Passage | None]] = {
    "ArgMax": _with_axis(0),
    "ArgMin": _with_axis(0),
    "Concat": _concat,
    "CumSum": _cumulative_sum,
    "Gather": _gather,
    "Hardmax": _with_axis(-1),
    "LogSoftmax": _with_axis(-1),
    "Pad": _pad,
    "Resize": _resize,
    "Slice": _slice,
    "Softmax": _with_axis(-1),
    "Split": _with_axis(0),
    "Squeeze": _reduction,
    "Tile": _tile,
    **dict.fromkeys(_REDUCTIONS, _reduction),
}
