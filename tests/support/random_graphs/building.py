"""A random graph while it grows: every node is computed in ONNX Runtime as soon as it is added.

So the graph is valid whatever is drawn: a node that ONNX Runtime refuses, or whose result is not
finite, too large, or too large to be told apart at a jump, is not taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

Array = np.ndarray[Any, Any]

MOST_ELEMENTS = 3000
MOST_AXES = 6
LARGEST = 200.0


class NotTaken(Exception):
    """The node that was drawn does not work on these operands."""


def take(condition: bool) -> None:
    if not condition:
        raise NotTaken


@dataclass(frozen=True)
class Val:
    """A tensor of the graph and what it holds for the sample input."""

    name: str
    array: Array
    constant: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    @property
    def rank(self) -> int:
        return int(self.array.ndim)

    @property
    def kind(self) -> str:
        return str(self.array.dtype.kind)


@dataclass
class Growth:
    """The graph so far; `random` is the only source of chance."""

    random: np.random.Generator
    opset: int
    nodes: list[Any] = field(default_factory=list)
    inputs: dict[str, Array] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    values: list[Val] = field(default_factory=list)
    uses: dict[str, int] = field(default_factory=dict)

    # ---- chance

    def chance(self, share: float) -> bool:
        return bool(self.random.random() < share)

    def integer(self, low: int, high: int) -> int:
        """Both ends included."""
        return int(self.random.integers(low, high + 1))

    def pick(self, options: Sequence[Any]) -> Any:
        take(len(options) > 0)
        return options[int(self.random.integers(len(options)))]

    def dims(self, rank: int, largest: int = 6) -> tuple[int, ...]:
        return tuple(1 if self.chance(0.15) else self.integer(2, largest) for _ in range(rank))

    def normal(self, *shape: int, scale: float = 1.0) -> Array:
        return np.asarray(self.random.normal(0, scale, shape), np.float32)

    def value(self, accept: Callable[[Val], bool] = lambda _: True) -> Val:
        """A value of the graph, more often a young one."""
        fitting = [v for v in self.values if accept(v)]
        take(len(fitting) > 0)
        if self.chance(0.6):
            fitting = fitting[-6:]
        return fitting[int(self.random.integers(len(fitting)))]

    def floats(self, ranks: Sequence[int] = range(7)) -> Val:
        return self.value(lambda v: v.kind == "f" and v.rank in ranks)

    # ---- growth

    def input(self, name: str, array: Array) -> Val:
        array = np.asarray(array)
        self.inputs[name] = array
        return self._publish(Val(name, array))

    def const(self, array: Any) -> Val:
        array = np.asarray(array)
        name = f"c{len(self.constants)}"
        self.constants[name] = array
        return Val(name, array, constant=True)

    def ints(self, *numbers: int) -> Val:
        return self.const(np.array(numbers, np.int64))

    def op(
        self,
        kind: str,
        *inputs: Val | None,
        outputs: int = 1,
        keep: Sequence[int] = (0,),
        **attrs: Any,
    ) -> Any:
        """Add a node, and give its outputs (those in `keep`; others have no name)."""
        number = len(self.nodes)
        names = [f"{kind.lower()}{number}" + (f"_{i}" if i else "") for i in range(outputs)]
        names = [name if i in keep else "" for i, name in enumerate(names)]
        while names and not names[-1]:
            names.pop()
        node = helper.make_node(
            kind,
            ["" if v is None else v.name for v in inputs],
            names,
            name=f"n{number}_{kind}",
            **{k: v for k, v in attrs.items() if v is not None},
        )
        results = _run_node(node, [v for v in inputs if v is not None], self.opset)
        for array in results.values():
            take(array.size > 0 and array.size <= MOST_ELEMENTS and array.ndim <= MOST_AXES)
            if array.dtype.kind == "f":
                take(bool(np.isfinite(array).all()) and float(np.abs(array).max()) < LARGEST)
            elif array.dtype.kind in "iu":
                take(int(np.abs(array.astype(np.int64)).max()) < 2**30)
        self.nodes.append(node)
        for v in inputs:
            if v is not None:
                self.uses[v.name] = self.uses.get(v.name, 0) + 1
        made = [self._publish(Val(name, results[name])) for name in names if name]
        return made[0] if len(made) == 1 else made

    def _publish(self, value: Val) -> Val:
        self.values.append(value)
        return value

    def try_(self, operator: Callable[[Growth], Any]) -> bool:
        """Let an operator add its nodes; leaves nothing of it where it does not work."""
        state = (len(self.nodes), dict(self.constants), len(self.values), dict(self.uses))
        try:
            operator(self)
        except NotTaken:
            del self.nodes[state[0] :]
            self.constants = state[1]
            del self.values[state[2] :]
            self.uses = state[3]
            return False
        return True

    def model(self, outputs: Sequence[str]) -> onnx.ModelProto:
        arrays = {v.name: v.array for v in self.values} | self.constants
        used = {name for node in self.nodes for name in node.input} | set(outputs)
        return _model(
            self.nodes,
            self.inputs,
            {name: arrays[name] for name in outputs},
            {k: v for k, v in self.constants.items() if k in used},
            self.opset,
        )


def _info(name: str, array: Array) -> Any:
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
    )


def _model(
    nodes: Sequence[Any],
    inputs: Mapping[str, Array],
    outputs: Mapping[str, Array],
    constants: Mapping[str, Array],
    opset: int,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [_info(k, v) for k, v in inputs.items()],
        [_info(k, v) for k, v in outputs.items()],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


_OPTIONS = onnxruntime.SessionOptions()
_OPTIONS.intra_op_num_threads = 1
_OPTIONS.log_severity_level = 4
_OPTIONS.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL


def _run_node(node: Any, inputs: Sequence[Val], opset: int) -> dict[str, Array]:
    feeds = {v.name: v.array for v in inputs if not v.constant}
    constants = {v.name: v.array for v in inputs if v.constant}
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    graph = helper.make_graph(
        [node],
        "g",
        [_info(k, v) for k, v in feeds.items()],
        outputs,
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), _OPTIONS)
        names = [o.name for o in session.get_outputs()]
        return dict(zip(names, map(np.asarray, session.run(names, feeds)), strict=True))
    except Exception as error:
        raise NotTaken(str(error)) from error
