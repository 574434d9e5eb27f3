"""LSTM, GRU and RNN, one step after another (ONNX operator specification).

With X[t] of shape (batch, inputs), weights W of the inputs and R of the state, biases Wb and Rb:
  RNN   h' = f(X W^T + h R^T + Wb + Rb)
  GRU   z, r = f(X Wzr^T + h Rzr^T + Wbzr + Rbzr)
        n = g(X Wn^T + (r * h) Rn^T + Rbn + Wbn)            linear_before_reset = 0
        n = g(X Wn^T + r * (h Rn^T + Rbn) + Wbn)            otherwise
        h' = (1 - z) * n + z * h
  LSTM  i, f = f(X Wif^T + h Rif^T + Pif * c + Wbif + Rbif)   f = 1 - i with input_forget
        c' = f * c + i * g(X Wc^T + h Rc^T + Wbc + Rbc)
        o = f(X Wo^T + h Ro^T + Po * c' + Wbo + Rbo)
        h' = o * h(c')
What f, g and h of the gates get is clipped to [-clip, clip].

1. The products of all X[t] do not depend on the state: one matrix product, before the first step.
2. A reversed direction walks from the end; the results stay where their step is.
3. Past a sequence's own length its state stays and its output is 0. In a reversed direction these
   steps come first, so the state is still the initial one when the sequence begins. The last
   state of an empty sequence is 0, as ONNX Runtime has it: the standard does not say.
4. layout 1 has the batch first: X is transposed before, and what comes out after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import CannotExpand, Expansion
from edgewise.graph.expand.recurrent_activation import Activation, activations_of
from edgewise.graph.expand.sequence import Cost, Produced, Scanned, Step, Steps, Typed
from edgewise.graph.quantized import DEQUANTIZE, quantization_of
from edgewise.graph.read import constant

_FLOAT = ir.DataType.FLOAT
#: inputs of all three operators
_X, _W, _R, _B, _LENGTHS, _STATE, _CELL, _PEEPHOLES = range(8)


@dataclass(frozen=True, slots=True)
class Cell:
    """Everything that one direction's steps read."""

    hidden: int
    functions: Sequence[Activation]
    clip: float | None
    #: R^T, (hidden, gates * hidden), its columns in as many parts as the step multiplies with
    recurrent: Sequence[ir.Value]
    #: the recurrent bias where it is not part of the projection, (gates * hidden)
    recurrent_bias: ir.Value | None
    #: of i, o and f, each (hidden); none without
    peepholes: Sequence[ir.Value]


#: the step of an operator; it gets x and the states, and gives the new states, the output first
CellStep = Callable[[Expansion, Cell, ir.Value, Sequence[ir.Value]], Sequence[ir.Value]]


def expand_rnn(e: Expansion) -> Sequence[ir.Value | None]:
    return _Recurrent(e, (1,), ("Tanh",), 1).expand(_rnn_step, nodes=4)


def expand_gru(e: Expansion) -> Sequence[ir.Value | None]:
    functions = ("Sigmoid", "Tanh")
    if e.attribute("linear_before_reset", 0):
        recurrent = _Recurrent(e, (3,), functions, 1, bias_apart=True)
        return recurrent.expand(_gru_step_reset_after, nodes=16)
    return _Recurrent(e, (2, 1), functions, 1).expand(_gru_step_reset_before, nodes=16)


def expand_lstm(e: Expansion) -> Sequence[ir.Value | None]:
    coupled = bool(e.attribute("input_forget", 0))

    def step(
        e: Expansion, cell: Cell, x: ir.Value, states: Sequence[ir.Value]
    ) -> Sequence[ir.Value]:
        return _lstm_step(e, cell, x, states, coupled)

    return _Recurrent(e, (4,), ("Sigmoid", "Tanh", "Tanh"), 2).expand(step, nodes=16)


class _Recurrent:
    """A node with `states` states; `parts` says how many gates each product with a state makes."""

    def __init__(
        self,
        e: Expansion,
        parts: Sequence[int],
        functions: Sequence[str],
        states: int,
        *,
        bias_apart: bool = False,
    ) -> None:
        self.e, self.parts, self.gates = e, parts, sum(parts)
        self.state_count, self.bias_apart = states, bias_apart
        direction = e.attribute("direction", "forward")
        self.reverse = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}.get(
            direction
        ) or _unknown_direction(direction)
        self.batch_first = bool(e.attribute("layout", 0))
        first, second, self.inputs = e.shape(_X)
        self.length, self.batch = (second, first) if self.batch_first else (first, second)
        self.hidden = e.size(2, _R)
        if 0 in (self.length, self.batch):
            raise CannotExpand("its sequence is empty", "Give it at least one step and sample.")
        if e.dtype(_X) != np.float32:
            raise CannotExpand(f"it computes in {e.dtype(_X)}", "Export the model in float32.")
        clip = float(e.attribute("clip", 0.0))
        self.clip = clip if clip > 0 else None
        self.functions = activations_of(e, functions, len(self.reverse))

    def expand(self, cell_step: CellStep, *, nodes: int) -> Sequence[ir.Value | None]:
        """Y, and the last states, each None where nothing reads it."""
        e = self.e
        x = e.transpose(e.input(_X), (1, 0, 2)) if self.batch_first else e.input(_X)
        mask = self._mask()
        weights, recurrents = self._weights(_W), self._weights(_R)
        initial = [self._initial(_STATE + index) for index in range(self.state_count)]
        last: list[list[ir.Value]] = []
        outputs: list[ir.Value] = []
        for direction, reverse in enumerate(self.reverse):
            cell, bias = self._cell(direction, recurrents)
            projected = e.op("MatMul", x, self._transposed(weights, direction))
            projected = projected if bias is None else e.op("Add", projected, bias)
            steps = self._steps(
                self._step(cell_step, cell, mask is not None),
                [projected] if mask is None else [projected, mask],
                [states[direction] for states in initial],
                reverse,
                nodes,
            )
            states, results = steps.run(e)
            last.append(states)
            outputs.extend(results)
        found: list[ir.Value | None] = [self._stacked(outputs) if e.wants(0) else None]
        for index in range(self.state_count):
            if index + 1 < len(e.node.outputs):
                parts = [self._of_empty(states[index], index, mask) for states in last]
                found.append(self._final(parts) if e.wants(index + 1) else None)
        return found

    def _steps(
        self,
        step: Step,
        scanned: Sequence[ir.Value],
        initial: Sequence[ir.Value],
        reverse: bool,
        nodes: int,
    ) -> Steps:
        width = self.gates * self.hidden
        types = [(_FLOAT, width), (ir.DataType.BOOL, 1)]
        return Steps(
            self.length,
            step,
            [Typed(value, _FLOAT, (1, self.batch, self.hidden)) for value in initial],
            [
                Scanned(Typed(value, dtype, (self.length, self.batch, size)), reverse)
                for value, (dtype, size) in zip(scanned, types, strict=False)
            ],
            [Produced(_FLOAT, (self.batch, self.hidden), reverse)] if self.e.wants(0) else [],
            Cost(nodes, 4 * width * self.hidden),
        )

    def _step(self, cell_step: CellStep, cell: Cell, masked: bool) -> Step:
        """Case 3 around the step of the operator."""
        wanted = self.e.wants(0)

        def step(
            e: Expansion, states: Sequence[ir.Value], slices: Sequence[ir.Value]
        ) -> tuple[Sequence[ir.Value], Sequence[ir.Value]]:
            new = list(cell_step(e, cell, slices[0], states))
            if not masked:
                return new, new[:1] if wanted else []
            zero = e.array(0.0, np.float32)
            outputs = [e.op("Where", slices[1], new[0], zero)] if wanted else []
            kept = [e.op("Where", slices[1], n, old) for n, old in zip(new, states, strict=True)]
            return kept, outputs

        return step

    def _mask(self) -> ir.Value | None:
        """Whether a step belongs to each sequence, (length, batch, 1); None where all do."""
        e = self.e
        if not e.has(_LENGTHS):
            return None
        known = e.constant(_LENGTHS)
        steps = np.arange(self.length, dtype=np.int32).reshape(-1, 1, 1)
        if known is not None:
            inside = steps < known.astype(np.int32).reshape(1, -1, 1)
            return None if inside.all() else e.array(inside)
        lengths = e.reshape(e.input(_LENGTHS), (1, self.batch, 1))
        mask: ir.Value = e.op("Less", e.array(steps, np.int32), lengths)
        return mask

    def _of_empty(self, state: ir.Value, index: int, mask: ir.Value | None) -> ir.Value:
        """The last state, 0 for an empty sequence."""
        e, known = self.e, self.e.constant(_LENGTHS)
        if mask is None or not e.has(_STATE + index) or (known is not None and known.min() > 0):
            return state
        begins = e.op("Slice", mask, e.ints([0]), e.ints([1]), e.ints([0]))
        kept: ir.Value = e.op("Where", begins, state, e.array(0.0, np.float32))
        return kept

    def _initial(self, index: int) -> Sequence[ir.Value]:
        """The first state of each direction, (1, batch, hidden)."""
        e, count = self.e, len(self.reverse)
        if not e.has(index):
            return [e.array(np.zeros((1, self.batch, self.hidden), np.float32))] * count
        value = e.input(index)
        value = e.transpose(value, (1, 0, 2)) if self.batch_first else value
        return [value] if count == 1 else _parts(e, value, (1, 1), axis=0)

    def _weights(self, index: int) -> ir.Value:
        """An input, as floats known now where it is a dequantized constant."""
        value = self.e.input(index)
        node = value.producer()
        integers = constant(node.inputs[0]) if node is not None and node.inputs else None
        if node is None or node.op_type != DEQUANTIZE or integers is None:
            return value
        return self.e.array(quantization_of(node).dequantize(integers))

    def _row(self, value: ir.Value, direction: int) -> ir.Value:
        row: ir.Value = self.e.op("Gather", value, self.e.ints(direction), axis=0)
        return row

    def _transposed(self, weights: ir.Value, direction: int) -> ir.Value:
        return self.e.transpose(self._row(weights, direction), (1, 0))

    def _cell(self, direction: int, recurrents: ir.Value) -> tuple[Cell, ir.Value | None]:
        """What the steps read, and the bias of the projection."""
        e, per = self.e, len(self.functions) // len(self.reverse)
        bias, apart = self._biases(direction)
        transposed = self._transposed(recurrents, direction)
        peepholes: Sequence[ir.Value] = ()
        if self.gates == 4 and e.has(_PEEPHOLES):
            row = self._row(self._weights(_PEEPHOLES), direction)
            peepholes = _parts(e, row, (self.hidden,) * 3)
        cell = Cell(
            self.hidden,
            self.functions[direction * per : (direction + 1) * per],
            self.clip,
            _parts(e, transposed, [count * self.hidden for count in self.parts]),
            apart,
            peepholes,
        )
        return cell, bias

    def _biases(self, direction: int) -> tuple[ir.Value | None, ir.Value | None]:
        """Both biases as one, where nothing stands between them; else apart."""
        e = self.e
        if not e.has(_B):
            return None, None
        both = self._row(self._weights(_B), direction)
        of_inputs, of_state = _parts(e, both, (self.gates * self.hidden,) * 2)
        if self.bias_apart:
            return of_inputs, of_state
        return e.op("Add", of_inputs, of_state), None

    def _stacked(self, outputs: Sequence[ir.Value]) -> ir.Value:
        """Y: (length, directions, batch, hidden), or (batch, length, directions, hidden)."""
        e = self.e
        parts = [e.op("Unsqueeze", value, e.ints([1])) for value in outputs]
        y = parts[0] if len(parts) == 1 else e.op("Concat", *parts, axis=1)
        return e.transpose(y, (2, 0, 1, 3)) if self.batch_first else y

    def _final(self, parts: Sequence[ir.Value]) -> ir.Value:
        """(directions, batch, hidden), or (batch, directions, hidden)."""
        e = self.e
        value = parts[0] if len(parts) == 1 else e.op("Concat", *parts, axis=0)
        return e.transpose(value, (1, 0, 2)) if self.batch_first else value


def _unknown_direction(direction: str) -> list[bool]:
    raise CannotExpand(f"its direction is '{direction}'", "Export the model again.")


# ---- the steps: x is (1, batch, gates * hidden), states are (1, batch, hidden)


def _rnn_step(
    e: Expansion, cell: Cell, x: ir.Value, states: Sequence[ir.Value]
) -> Sequence[ir.Value]:
    total = e.op("Add", x, e.op("MatMul", states[0], cell.recurrent[0]))
    return [cell.functions[0](e, _clipped(e, cell, total))]


def _gru_step_reset_before(
    e: Expansion, cell: Cell, x: ir.Value, states: Sequence[ir.Value]
) -> Sequence[ir.Value]:
    h, hidden = states[0], cell.hidden
    gates, new = cell.recurrent
    x_gates, x_new = _columns(e, x, (2 * hidden, hidden))
    z, r = _gates(e, cell, e.op("Add", x_gates, e.op("MatMul", h, gates)))
    total = e.op("Add", x_new, e.op("MatMul", e.op("Mul", r, h), new))
    return [_gru_mix(e, cell, z, total, h)]


def _gru_step_reset_after(
    e: Expansion, cell: Cell, x: ir.Value, states: Sequence[ir.Value]
) -> Sequence[ir.Value]:
    h, hidden = states[0], cell.hidden
    product = e.op("MatMul", h, cell.recurrent[0])
    if cell.recurrent_bias is not None:
        product = e.op("Add", product, cell.recurrent_bias)
    h_gates, h_new = _columns(e, product, (2 * hidden, hidden))
    x_gates, x_new = _columns(e, x, (2 * hidden, hidden))
    z, r = _gates(e, cell, e.op("Add", x_gates, h_gates))
    total = e.op("Add", x_new, e.op("Mul", r, h_new))
    return [_gru_mix(e, cell, z, total, h)]


def _gates(e: Expansion, cell: Cell, total: ir.Value) -> Sequence[ir.Value]:
    """Update and reset gate of a GRU."""
    both = cell.functions[0](e, _clipped(e, cell, total))
    return _columns(e, both, (cell.hidden, cell.hidden))


def _gru_mix(e: Expansion, cell: Cell, z: ir.Value, total: ir.Value, h: ir.Value) -> ir.Value:
    """`(1 - z) * n + z * h` as `n + z * (h - n)`."""
    n = cell.functions[1](e, _clipped(e, cell, total))
    mixed: ir.Value = e.op("Add", n, e.op("Mul", z, e.op("Sub", h, n)))
    return mixed


def _lstm_step(
    e: Expansion, cell: Cell, x: ir.Value, states: Sequence[ir.Value], coupled: bool
) -> Sequence[ir.Value]:
    h, c = states
    f, g, last = cell.functions
    total = e.op("Add", x, e.op("MatMul", h, cell.recurrent[0]))
    if not cell.peepholes:
        three, candidate = _columns(e, total, (3 * cell.hidden, cell.hidden))
        i, o, forget = _columns(e, f(e, _clipped(e, cell, three)), (cell.hidden,) * 3)
    else:
        i, o, forget, candidate = _columns(e, total, (cell.hidden,) * 4)
        weight_i, weight_o, weight_f = cell.peepholes
        i = f(e, _clipped(e, cell, e.op("Add", i, e.op("Mul", weight_i, c))))
        forget = f(e, _clipped(e, cell, e.op("Add", forget, e.op("Mul", weight_f, c))))
    if coupled:
        forget = e.op("Sub", e.array(1.0, np.float32), i)
    candidate = g(e, _clipped(e, cell, candidate))
    c = e.op("Add", e.op("Mul", forget, c), e.op("Mul", i, candidate))
    if cell.peepholes:
        o = f(e, _clipped(e, cell, e.op("Add", o, e.op("Mul", weight_o, c))))
    return [e.op("Mul", o, last(e, c)), c]


def _clipped(e: Expansion, cell: Cell, value: ir.Value) -> ir.Value:
    if cell.clip is None:
        return value
    low, high = e.array(-cell.clip, np.float32), e.array(cell.clip, np.float32)
    clipped: ir.Value = e.op("Clip", value, low, high)
    return clipped


def _parts(
    e: Expansion, value: ir.Value, sizes: Sequence[int], axis: int = -1
) -> Sequence[ir.Value]:
    """As `_columns`, of what may be a constant: folding takes no Split."""
    if len(sizes) == 1:
        return [value]
    ends = list(accumulate(sizes, initial=0))
    return [
        e.op("Slice", value, e.ints([start]), e.ints([end]), e.ints([axis]))
        for start, end in pairwise(ends)
    ]


def _columns(e: Expansion, value: ir.Value, sizes: Sequence[int]) -> Sequence[ir.Value]:
    """Parts of these sizes along the last axis."""
    if len(sizes) == 1:
        return [value]
    parts: Sequence[ir.Value] = e.op(
        "Split", value, e.ints(list(sizes)), outputs=len(sizes), axis=-1
    )
    return parts
