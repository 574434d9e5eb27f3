"""A TFLite graph as a `Network`.

1. Integers without a scale are indices, shapes and axes, and no parameters; so are single numbers
   beside weights.
2. A constant that a DEQUANTIZE or DENSIFY reads is the constant of whoever reads its result: that
   is how weights in float16, and sparse ones, are stored.
3. Integers are stored as such: nothing marks them. QUANTIZE and DEQUANTIZE compute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from edgewise.inspection.network import Effect, Network, Operation, Stored, Value
from edgewise.inspection.tflite_loops import trip_count
from edgewise.targets.android.islands import products
from edgewise.targets.android.model import INT4, Graph, Operator, Tensor
from edgewise.targets.android.reader import ABSENT, CUSTOM_CODE, UnreadableFile

_VIEWS = frozenset({"EXPAND_DIMS", "RESHAPE", "SQUEEZE"})
_FUNCTIONS = frozenset(
    {
        "ELU", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "PRELU", "RELU", "RELU6",
        "RELU_0_TO_1", "RELU_N1_TO_1", "TANH",
    }
)  # fmt: skip
_POINTWISE = frozenset(
    {
        "ABS", "ADD", "ATAN2", "CEIL", "COS", "DIV", "EQUAL", "EXP", "FLOOR", "FLOOR_DIV",
        "FLOOR_MOD", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "LOG", "LOGICAL_AND",
        "LOGICAL_NOT", "LOGICAL_OR", "MAXIMUM", "MINIMUM", "MUL", "NEG", "NOT_EQUAL", "POW",
        "ROUND", "RSQRT", "SELECT", "SELECT_V2", "SIGN", "SIN", "SQRT", "SQUARE",
        "SQUARED_DIFFERENCE", "SUB",
    }
)  # fmt: skip
#: where the weight stands, and the biases that count whatever their size
_WEIGHTS: Mapping[str, tuple[int, ...]] = {
    "BATCH_MATMUL": (1, 0), "BIDIRECTIONAL_SEQUENCE_LSTM": (2,), "CONV_2D": (1, 2),
    "BIDIRECTIONAL_SEQUENCE_RNN": (1,), "CONV_3D": (1, 2), "CONV_3D_TRANSPOSE": (1, 3),
    "DEPTHWISE_CONV_2D": (1, 2), "EMBEDDING_LOOKUP": (1,), "FULLY_CONNECTED": (1, 2),
    "GATHER": (0,), "LSTM": (2,), "PRELU": (1,), "RNN": (1,), "SVDF": (1, 2),
    "TRANSPOSE_CONV": (1, 3), "UNIDIRECTIONAL_SEQUENCE_LSTM": (2,),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 3),
}  # fmt: skip
#: recurrent layers: the inputs that are matrices; each is multiplied by once a step
_MATRICES: Mapping[str, Sequence[int]] = {
    "BIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 9), 16, *range(18, 26), 33),
    "BIDIRECTIONAL_SEQUENCE_RNN": (1, 2, 5, 6),
    "LSTM": (*range(1, 9), 16),
    "RNN": (1, 2),
    "SVDF": (1, 2),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 9), 16),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (1, 2),
}
#: what has products that are not counted
_UNCOUNTED = frozenset(
    {"CUSTOM", "STABLEHLO_COMPOSITE", "STABLEHLO_CONVOLUTION", "STABLEHLO_DOT_GENERAL"}
)
_STORED_AS = ("DENSIFY", "DEQUANTIZE")
#: inner names of values: unique, and those of the file as far as it can be
Names = Callable[[Tensor], str]


def network_of(
    graph: Graph, free: tuple[str, ...], known: Mapping[Tensor, Tensor] | None = None
) -> Network:
    """The network of a graph, with the bodies of its operators inside.

    `known` maps inputs of a body to what stands for them around it. Raises UnreadableFile for
    bodies that run each other.
    """
    return _Reader(_unique_names(graph), known or {}, (graph,)).network(graph, free)


def tensor_dtype(tensor: Tensor) -> str:
    """The name of its type; `string` for texts and handles."""
    return "string" if tensor.dtype.hasobject else str(tensor.dtype)


@dataclass(slots=True)
class _Reader:
    name: Names
    known: Mapping[Tensor, Tensor]
    around: tuple[Graph, ...]
    #: begins the names of constants, which other graphs of the file may have as well
    scope: str = ""
    constants: dict[Tensor, tuple[Stored, ...]] = field(default_factory=dict)

    def network(self, graph: Graph, free: tuple[str, ...]) -> Network:
        for tensor in graph.tensors():
            if tensor.data is not None:
                self.constants[tensor] = (self._stored(tensor),)
        operations = []
        for operator in graph.operators:
            if operator.kind in _STORED_AS and operator.inputs[0] in self.constants:
                self.constants[operator.outputs[0]] = self.constants[operator.inputs[0]]
            else:
                operations.append(self._operation(operator))
        values = {
            self.name(tensor): Value(self.name(tensor), tensor.shape, tensor_dtype(tensor))
            for tensor in graph.tensors()
            if tensor not in self.constants
        }
        return Network(
            tuple(operations),
            values,
            tuple(self.name(tensor) for tensor in graph.inputs),
            tuple(self.name(t) for t in graph.outputs if t not in self.constants),
            free,
        )

    def _operation(self, operator: Operator) -> Operation:
        macs = _macs(operator)
        is_loop = operator.kind == "WHILE"
        return Operation(
            name=self.name(operator.outputs[0]) if operator.outputs else operator.kind,
            kind=_kind(operator),
            reads=tuple(
                dict.fromkeys(self.name(t) for t in operator.inputs if t not in self.constants)
            ),
            writes=tuple(self.name(tensor) for tensor in operator.outputs),
            parameters=tuple(self._parameters(operator)),
            weight=self._weight(operator),
            macs=macs,
            unknown="its products are not known" if macs is None else "",
            effect=_effect(operator),
            bodies=tuple(self._body(operator, body) for body in operator.bodies.values()),
            runs=trip_count(operator, self.known) if is_loop else 1,
            alternatives=operator.kind == "IF",
        )

    def _body(self, operator: Operator, body: Graph) -> Network:
        if body in self.around:
            raise UnreadableFile(f"a body of {operator.kind} runs itself")
        given = operator.inputs[len(operator.inputs) - len(body.inputs) :]
        known = {
            inside: self.known.get(outside, outside)
            for inside, outside in zip(body.inputs, given, strict=False)
        }
        scope = f"{self.scope}{operator.origin}/"
        reader = _Reader(_unique_names(body), known, (*self.around, body), scope)
        return reader.network(body, ())

    def _parameters(self, operator: Operator) -> list[Stored]:
        found: dict[str, Stored] = {}
        for index, tensor in enumerate(operator.inputs):
            for stored in self.constants.get(tensor, ()):
                if tensor is not ABSENT and _is_parameter(operator, index, tensor, stored):
                    found[stored.name] = stored
        return list(found.values())

    def _weight(self, operator: Operator) -> Stored | None:
        for index in _WEIGHTS.get(operator.kind, ())[:2]:
            tensor = operator.inputs[index] if index < len(operator.inputs) else ABSENT
            if tensor is not ABSENT and (held := self.constants.get(tensor)):
                return held[0]
        return None

    def _stored(self, tensor: Tensor) -> Stored:
        data = tensor.data
        size = 0 if data is None else data.nbytes
        elements = prod(tensor.shape)
        packed = -(-elements // 2) if tensor.dtype == INT4 else size
        return Stored(self.scope + self.name(tensor), elements, tensor_dtype(tensor), packed)


def _unique_names(graph: Graph) -> Names:
    names: dict[int, str] = {}
    taken: dict[str, int] = {}
    for tensor in graph.tensors():
        count = taken.get(tensor.name, 0)
        taken[tensor.name] = count + 1
        names[id(tensor)] = tensor.name if not count else f"{tensor.name}#{count + 1}"
    return lambda tensor: names[id(tensor)]


def _is_parameter(operator: Operator, index: int, tensor: Tensor, stored: Stored) -> bool:
    """Case 1."""
    is_number = tensor.dtype.kind == "f" or stored.dtype in ("float16", "bfloat16")
    if not (is_number or tensor.quantization is not None or tensor.blocks is not None):
        return False
    is_layer = index in _WEIGHTS.get(operator.kind, ()) or operator.kind in _MATRICES
    return stored.elements > 1 or is_layer


def _kind(operator: Operator) -> str:
    name = operator.options.get(CUSTOM_CODE)
    return str(name) if operator.kind == "CUSTOM" and name else operator.kind


def _macs(operator: Operator) -> int | None:
    if operator.kind in _UNCOUNTED:
        return None
    if operator.kind in _MATRICES:
        steps = prod(operator.inputs[0].shape[:-1])  # and examples
        places = [i for i in _MATRICES[operator.kind] if i < len(operator.inputs)]
        return steps * sum(prod(operator.inputs[i].shape) for i in places)
    if operator.kind == "CONV_3D_TRANSPOSE":
        weights = operator.inputs[1].shape
        return prod(operator.inputs[2].shape) * prod(weights[:-1])
    return products(operator)


def _effect(operator: Operator) -> Effect:
    if operator.kind in _VIEWS:
        return "view"
    if operator.kind in _FUNCTIONS:
        return "function"
    return "pointwise" if operator.kind in _POINTWISE else "compute"


def quantization_of(tensor: Tensor) -> tuple[float | None, int | None]:
    """Scale and zero point of a tensor that has one of each."""
    found = tensor.quantization
    if found is None or not found.is_per_tensor or tensor.dtype.kind == "f":
        return None, None
    return float(np.float32(found.scale[0])), int(found.zero_point[0])
