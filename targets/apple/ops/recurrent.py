"""LSTM, GRU and RNN as one MIL operation per layer, where MIL defines exactly the same.

What MIL computes is told by its operator documentation, by NeuralNetwork.proto (whose layers these
are) and by coremltools' own tests on Macs, where a plain implementation stands beside each:

1. lstm  gates in the order i, f, o, candidate, where ONNX has i, o, f, candidate; one bias is the
         sum of both; peepholes of i, f, o, that of o reading the new cell. `clip` bounds the cell,
         not what goes into the gates: a node with `clip` is written step by step, and so is one
         with `input_forget`. Both directions may be in one operation, if their functions agree.
2. gru   r * h goes into the product with the recurrent weights: `linear_before_reset` = 0. Gates
         in the order r, candidate, z, where ONNX has z, r, candidate. From the second sample of a
         batch on Core ML gives 0 (a remark in its tests): batch 1 only.
3. rnn   one gate.

A sequence that MIL walks in "reverse" comes out in the order of the walk, unlike in ONNX. So the
sequence is turned round before and after, and the operation walks forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.graph import attribute
from edgewise.graph.quantized import DEQUANTIZE
from edgewise.graph.read import constant
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Var
from edgewise.targets.apple.call import Array, Call, Operand

#: inputs of all three operators
_X, _W, _R, _B, _LENGTHS, _H, _C, _PEEPHOLES = range(8)
_DIRECTIONS = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
_FUNCTIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
#: ONNX function -> MIL's, where the numbers are the same; of LSTM alone MIL names all its functions
_MIL_FUNCTIONS = {
    "LSTM": {
        "sigmoid": "sigmoid",
        "tanh": "tanh",
        "relu": "relu",
        "hardsigmoid": "hard_sigmoid",
    },
    "GRU": {"sigmoid": "sigmoid", "tanh": "tanh"},
    "RNN": {"sigmoid": "sigmoid", "tanh": "tanh", "relu": "relu"},
}
#: positions of MIL's gates among those of ONNX
_ORDER = {"LSTM": (0, 2, 1, 3), "GRU": (1, 2, 0), "RNN": (0,)}
_PEEPHOLE_ORDER = (0, 2, 1)


# ---- which nodes


def fits(node: ir.Node) -> bool:
    """Whether MIL's operation is exactly the node's (cases 1 to 3)."""
    return (
        attribute(node, "direction", "forward") in _DIRECTIONS
        and all(_is_known(node, index) for index in (_W, _R, _B, _PEEPHOLES))
        and _has_plain_functions(node)
        and not attribute(node, "clip", 0.0)
        and not attribute(node, "input_forget", 0)
        and not attribute(node, "linear_before_reset", 0)
        and _has_fitting_sequence(node)
    )


def _is_known(node: ir.Node, index: int) -> bool:
    """An absent input, a constant, or one that is dequantized."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None or constant(value) is not None:
        return True
    producer = value.producer()
    return (
        producer is not None
        and producer.op_type == DEQUANTIZE
        and all(constant(given) is not None for given in producer.inputs if given is not None)
    )


def _functions(node: ir.Node) -> list[str]:
    """ONNX names in lower case (the standard takes any case), direction by direction."""
    count = len(_DIRECTIONS[attribute(node, "direction", "forward")])
    given = attribute(node, "activations") or list(_FUNCTIONS[node.op_type]) * count
    return [name.lower() for name in given]


def _has_plain_functions(node: ir.Node) -> bool:
    names = _functions(node)
    per = len(_FUNCTIONS[node.op_type])
    same = node.op_type != "LSTM" or names[:per] == names[-per:]
    plain = not attribute(node, "activation_alpha") and not attribute(node, "activation_beta")
    return same and plain and all(name in _MIL_FUNCTIONS[node.op_type] for name in names)


def _has_fitting_sequence(node: ir.Node) -> bool:
    """A float32 sequence of static shape that every sample has in full length."""
    x = node.inputs[_X]
    if x is None or x.dtype != ir.DataType.FLOAT or x.shape is None or not x.shape.is_static():
        return False
    length, batch, _ = x.shape.numpy()
    if attribute(node, "layout", 0):
        length, batch = batch, length
    if 0 in x.shape.numpy() or (node.op_type == "GRU" and batch != 1):
        return False
    lengths = node.inputs[_LENGTHS] if len(node.inputs) > _LENGTHS else None
    known = constant(lengths)
    return lengths is None or (known is not None and bool((known == length).all()))


# ---- the operations


@dataclass(frozen=True, slots=True)
class _Direction:
    """Weights in MIL's order of gates; biases are sums, peepholes those of an LSTM."""

    reverse: bool
    weight_ih: Array
    weight_hh: Array
    bias: Array | None
    peephole: Array | None
    functions: tuple[str, ...]


def recurrent(call: Call) -> Sequence[Operand]:
    """Y, then the last states."""
    batch_first = bool(call.attribute("layout", 0))
    x = call.var(_X)
    x = mb.transpose(x=x, perm=[1, 0, 2]) if batch_first else x
    directions = _directions(call)
    states = [_initial(call, index, x, directions) for index in _state_inputs(call)]
    if call.node.op_type == "LSTM":
        whole, last = _lstm(call, x, states, directions)
    else:
        whole, last = _one_by_one(call, x, states[0], directions)
    count = len(directions)
    hidden = directions[0].weight_hh.shape[1]
    results = [_stacked(whole, count, hidden, batch_first)] if call.wants_output(0) else [whole]
    return [*results, *(_final(state, count, hidden, batch_first) for state in last)]


def _state_inputs(call: Call) -> Sequence[int]:
    return (_H, _C) if call.node.op_type == "LSTM" else (_H,)


def _directions(call: Call) -> list[_Direction]:
    kind = call.node.op_type
    order, names = _ORDER[kind], _functions(call.node)
    known = _MIL_FUNCTIONS[kind]
    flags, per = _DIRECTIONS[call.attribute("direction", "forward")], len(_FUNCTIONS[kind])
    found = []
    for index, reverse in enumerate(flags):
        weight_ih, weight_hh = (_gates(call.array(i, "weight")[index], order) for i in (_W, _R))
        bias = peephole = None
        if call.has(_B):
            of_inputs, of_state = np.split(call.array(_B, "bias")[index], 2)
            bias = _gates(of_inputs + of_state, order)
        if kind == "LSTM" and call.has(_PEEPHOLES):
            peephole = _gates(call.array(_PEEPHOLES, "peephole")[index], _PEEPHOLE_ORDER)
        functions = tuple(known[name] for name in names[index * per : (index + 1) * per])
        found.append(_Direction(reverse, weight_ih, weight_hh, bias, peephole, functions))
    return found


def _gates(array: Array, order: Sequence[int]) -> Array:
    """Blocks of rows in another order."""
    parts = np.split(array.astype(np.float32), len(order))
    return np.ascontiguousarray(np.concatenate([parts[position] for position in order]))


def _initial(call: Call, index: int, x: Var, directions: Sequence[_Direction]) -> Operand:
    """(batch, directions * hidden)."""
    count, hidden = len(directions), directions[0].weight_hh.shape[1]
    batch = int(x.shape[1])
    if not call.has(index):
        return np.zeros((batch, count * hidden), np.float32)
    value = call.var(index)
    if count > 1 and not call.attribute("layout", 0):
        value = mb.transpose(x=value, perm=[1, 0, 2])
    return mb.reshape(x=value, shape=[batch, count * hidden])


def _lstm(
    call: Call, x: Var, states: Sequence[Operand], directions: Sequence[_Direction]
) -> tuple[Var, list[Var]]:
    """Case 1."""
    first, turned = directions[0], directions[0].reverse
    recurrent_function, cell_function, output_function = first.functions
    arguments: dict[str, Any] = _weights(first)
    if len(directions) == 2:
        arguments |= {f"{name}_back": value for name, value in _weights(directions[1]).items()}
        arguments["direction"] = "bidirectional"
        turned = False
    whole, h, c = mb.lstm(
        x=mb.reverse(x=x, axes=[0]) if turned else x,
        initial_h=states[0],
        initial_c=states[1],
        recurrent_activation=recurrent_function,
        cell_activation=cell_function,
        activation=output_function,
        output_sequence=call.wants_output(0),
        name=call.name,
        **arguments,
    )
    if turned and call.wants_output(0):
        whole = mb.reverse(x=whole, axes=[0])
    return whole, [h, c]


def _weights(direction: _Direction) -> dict[str, Array]:
    given = {
        "weight_ih": direction.weight_ih,
        "weight_hh": direction.weight_hh,
        "bias": direction.bias,
        "peephole": direction.peephole,
    }
    return {name: array for name, array in given.items() if array is not None}


def _one_by_one(
    call: Call, x: Var, state: Operand, directions: Sequence[_Direction]
) -> tuple[Var, list[Var]]:
    """Cases 2 and 3: an operation per direction, side by side."""
    hidden = directions[0].weight_hh.shape[1]
    outputs, last = [], []
    for index, direction in enumerate(directions):
        begin, end = index * hidden, (index + 1) * hidden
        part = state
        if len(directions) > 1 and isinstance(state, Var):
            part = mb.slice_by_index(
                x=state, begin=[0, begin], end=[0, end], begin_mask=[True, False],
                end_mask=[True, False],
            )  # fmt: skip
        elif isinstance(state, np.ndarray):
            part = state[:, begin:end]
        arguments: dict[str, Any] = _weights(direction)
        if call.node.op_type == "GRU":
            arguments["recurrent_activation"] = direction.functions[0]
        operation = mb.gru if call.node.op_type == "GRU" else mb.rnn
        whole, h = operation(
            x=mb.reverse(x=x, axes=[0]) if direction.reverse else x,
            initial_h=part,
            activation=direction.functions[-1],
            output_sequence=call.wants_output(0),
            **arguments,
        )
        if direction.reverse and call.wants_output(0):
            whole = mb.reverse(x=whole, axes=[0])
        outputs.append(whole)
        last.append(h)
    if len(directions) == 1:
        return outputs[0], last
    return mb.concat(values=outputs, axis=2), [mb.concat(values=last, axis=1)]


def _stacked(whole: Var, count: int, hidden: int, batch_first: bool) -> Var:
    """Y from (length, batch, directions * hidden): (length, directions, batch, hidden), or (batch,
    length, directions, hidden).

    With a batch of one no element moves, and a reshape behind it can take this one over.
    """
    length, batch = int(whole.shape[0]), int(whole.shape[1])
    if batch == 1:
        sizes = [1, length, count, hidden] if batch_first else [length, count, 1, hidden]
        return mb.reshape(x=whole, shape=sizes)
    split = mb.reshape(x=whole, shape=[length, batch, count, hidden])
    return mb.transpose(x=split, perm=[1, 0, 2, 3] if batch_first else [0, 2, 1, 3])


def _final(state: Var, count: int, hidden: int, batch_first: bool) -> Var:
    """A last state from (batch, directions * hidden): (directions, batch, hidden), or (batch,
    directions, hidden)."""
    split = mb.reshape(x=state, shape=[int(state.shape[0]), count, hidden])
    return split if batch_first else mb.transpose(x=split, perm=[1, 0, 2])
