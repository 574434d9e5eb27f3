"""Recurrent layers (coremltools MIL ops: iOS15/recurrent.py, iOS18/recurrent.py).

The formulas are those of the operator documentation, made definite by coremltools' own tests on
Macs (mil/ops/tests/iOS14/test_recurrent.py):

  lstm  i, f, o = rec(W x + R h + b + p * c), where o reads the new c; z = cell(W x + R h + b)
        c' = clip(f * c + i * z); h' = o * act(c'); rows of W, R and b in the order i, f, o, z
  gru   r, z = rec(W x + R h + b); n = act(W x + R (r * h) + b); h' = (1 - z) * n + z * h;
        rows in the order r, n, z
  rnn   h' = act(W x + R h + b)

"reverse" walks from the end and gives its outputs in the order of the walk; the backward half of
"bidirectional" gives them where their steps are. Without `output_sequence` the only output is the
last of the walk. The products of all x are one matrix product before the first step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgewise.targets.apple.interpreter.kernels.activation import sigmoid
from edgewise.targets.apple.interpreter.kernels.base import (
    Array,
    Inputs,
    Kernel,
    Node,
    Result,
    Run,
)

Function = Callable[[Array], Array]


def _hard_sigmoid(x: Array) -> Array:
    return np.asarray(np.clip(np.float32(0.2) * x + np.float32(0.5), 0, 1))


def _relu(x: Array) -> Array:
    return np.asarray(np.maximum(x, np.float32(0)))


def _linear(x: Array) -> Array:
    return x


#: each with the defaults of its parameters, which `scaled_tanh` and `linear` have as 1, 1 and 1, 0
_FUNCTIONS: dict[str, Function] = {
    "hard_sigmoid": _hard_sigmoid,
    "linear": _linear,
    "relu": _relu,
    "scaled_tanh": np.tanh,
    "sigmoid": sigmoid,
    "sigmoid_hard": _hard_sigmoid,
    "tanh": np.tanh,
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One direction: transposed weights, the gates side by side."""

    weight_ih: Array
    weight_hh: Array
    bias: Array
    peephole: Array | None = None

    @classmethod
    def of(cls, node: Node, suffix: str = "") -> Cell:
        weights = [node.array(f"{name}{suffix}") for name in ("weight_ih", "weight_hh")]
        if weights[0] is None or weights[1] is None:
            raise node.refuse(f"weight_ih{suffix} and weight_hh{suffix} are missing")
        bias = node.array(f"bias{suffix}")
        return cls(
            np.ascontiguousarray(weights[0].T),
            np.ascontiguousarray(weights[1].T),
            np.zeros(weights[0].shape[0], np.float32) if bias is None else bias,
            node.array(f"peephole{suffix}"),
        )

    @property
    def hidden(self) -> int:
        return int(self.weight_hh.shape[0])

    def projected(self, x: Array) -> Array:
        """What the gates get from the inputs, (length, batch, gates * hidden)."""
        length, batch, size = x.shape
        flat = x.reshape(-1, size) @ self.weight_ih + self.bias
        return np.asarray(flat).reshape(length, batch, -1)


def _function(node: Node, parameter: str, default: str) -> Function:
    name = node.text(parameter, default).lower()
    if name not in _FUNCTIONS:
        raise node.refuse(f"{parameter} '{name}' is none of {', '.join(sorted(_FUNCTIONS))}")
    return _FUNCTIONS[name]


def _direction(node: Node, *known: str) -> str:
    direction = node.text("direction", "forward")
    if direction not in known:
        raise node.refuse(f"direction '{direction}' is none of {', '.join(known)}")
    return direction


#: x of all steps and the first states to the outputs in the order of the walk and the last states
Walk = Callable[[Array, list[Array]], tuple[list[Array], list[Array]]]


def _lstm_walk(node: Node, cell: Cell) -> Walk:
    rec = _function(node, "recurrent_activation", "sigmoid")
    candidate = _function(node, "cell_activation", "tanh")
    act = _function(node, "activation", "tanh")
    clip = node.number("clip", 0) if node.has("clip") else None
    n = cell.hidden
    peep = None if cell.peephole is None else np.split(cell.peephole, 3)

    def walk(x: Array, states: list[Array]) -> tuple[list[Array], list[Array]]:
        h, c = states
        outputs = []
        for step in cell.projected(x):
            total = step + h @ cell.weight_hh
            if peep is not None:
                total[:, :n] += peep[0] * c
                total[:, n : 2 * n] += peep[1] * c
            i_f = rec(total[:, : 2 * n])
            c = i_f[:, n:] * c + i_f[:, :n] * candidate(total[:, 3 * n :])
            c = c if clip is None else np.clip(c, -clip, clip)
            o = total[:, 2 * n : 3 * n] + (0 if peep is None else peep[2] * c)
            h = rec(o) * act(c)
            outputs.append(h)
        return outputs, [h, c]

    return walk


def _gru_walk(node: Node, cell: Cell) -> Walk:
    rec = _function(node, "recurrent_activation", "sigmoid")
    act = _function(node, "activation", "tanh")
    n = cell.hidden
    of_r, of_n, of_z = (np.ascontiguousarray(part) for part in np.split(cell.weight_hh, 3, axis=1))
    of_gates = np.concatenate([of_r, of_z], axis=1)

    def walk(x: Array, states: list[Array]) -> tuple[list[Array], list[Array]]:
        (h,) = states
        outputs = []
        projected = cell.projected(x)
        gates = np.concatenate([projected[..., :n], projected[..., 2 * n :]], axis=-1)
        for of_gate, of_new in zip(gates, projected[..., n : 2 * n], strict=True):
            r_z = rec(of_gate + h @ of_gates)
            z = r_z[:, n:]
            new = act(of_new + (r_z[:, :n] * h) @ of_n)
            h = (1 - z) * new + z * h
            outputs.append(h)
        return outputs, [h]

    return walk


def _rnn_walk(node: Node, cell: Cell) -> Walk:
    act = _function(node, "activation", "tanh")

    def walk(x: Array, states: list[Array]) -> tuple[list[Array], list[Array]]:
        (h,) = states
        outputs = []
        for step in cell.projected(x):
            h = act(step + h @ cell.weight_hh)
            outputs.append(h)
        return outputs, [h]

    return walk


def _lstm(node: Node) -> Run:
    direction = _direction(node, "forward", "reverse", "bidirectional")
    walks = [_lstm_walk(node, Cell.of(node))]
    if direction == "bidirectional":
        walks.append(_lstm_walk(node, Cell.of(node, "_back")))
    return _run(node, walks, direction, ("initial_h", "initial_c"))


def _gru(node: Node) -> Run:
    if node.flag("reset_after") or node.has("input_bias"):
        raise node.refuse("what reset_after and input_bias do is not documented well enough")
    walk = _gru_walk(node, Cell.of(node))
    return _run(node, [walk], _direction(node, "forward", "reverse"), ("initial_h",))


def _rnn(node: Node) -> Run:
    walk = _rnn_walk(node, Cell.of(node))
    return _run(node, [walk], _direction(node, "forward", "reverse"), ("initial_h",))


def _run(node: Node, walks: list[Walk], direction: str, states: tuple[str, ...]) -> Run:
    whole = node.flag("output_sequence")

    def run(inputs: Inputs) -> Result:
        x = inputs["x"]
        first = [np.split(np.asarray(inputs[name]), len(walks), axis=-1) for name in states]
        sequences, finals = [], []
        for index, walk in enumerate(walks):
            backward = direction == "reverse" or index == 1
            outputs, last = walk(x[::-1] if backward else x, [state[index] for state in first])
            kept = outputs if whole else outputs[-1:]
            sequences.append(np.stack(kept[::-1] if index == 1 else kept))
            finals.append(last)
        joined = [np.concatenate(parts, axis=-1) for parts in zip(*finals, strict=True)]
        return [np.concatenate(sequences, axis=-1), *joined]

    return run


KERNELS: dict[str, Kernel] = {
    "gru": _gru,
    "lstm": _lstm,
    "rnn": _rnn,
}
