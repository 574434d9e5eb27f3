"""A function of an ML Program as a `Network`.

1. Constants of integers are shapes, axes and modes, and no parameters; so are single numbers beside
   weights. Compressed weights (`constexpr_...`) are parameters in the form they are stored in.
2. `quantize` and `dequantize` mark integers, as their likes in ONNX do.
3. Free dimensions are 1.

MACs are those of `onnx_macs`; a `linear` is a product, a `scaled_dot_product_attention` an
Attention, and a recurrent layer has its weights as matrices of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from edgewise.inspection.network import Effect, Network, Operation, Stored, Value, bytes_of
from edgewise.targets.apple._coremltools import types

#: names of MIL's number types -> numpy's
_DTYPES = {"fp16": "float16", "fp32": "float32", "fp64": "float64"}
_VIEWS = frozenset({"expand_dims", "flatten2d", "identity", "reshape", "reshape_like", "squeeze"})
_FUNCTIONS = frozenset(
    {
        "clamped_relu", "clip", "elu", "gelu", "leaky_relu", "linear_activation", "prelu", "relu",
        "relu6", "scaled_tanh", "sigmoid", "sigmoid_hard", "silu", "softplus",
        "softplus_parametric", "softsign", "tanh", "thresholded_relu",
    }
)  # fmt: skip
_POINTWISE = frozenset(
    {
        "abs", "acos", "add", "asin", "atan", "atanh", "ceil", "cos", "cosh", "equal", "erf",
        "exp", "exp2", "floor", "floor_div", "greater", "greater_equal", "inverse", "less",
        "less_equal", "log", "logical_and", "logical_not", "logical_or", "logical_xor", "maximum",
        "minimum", "mod", "mul", "not_equal", "pow", "real_div", "round", "rsqrt", "select",
        "sign", "sin", "sinh", "sqrt", "square", "sub", "tan", "threshold",
    }
)  # fmt: skip
#: the parameter that is the weight, and those that count whatever their size
_WEIGHTS: Mapping[str, tuple[str, ...]] = {
    "batch_norm": ("gamma", "beta", "mean", "variance"),
    "conv": ("weight", "bias"),
    "conv_transpose": ("weight", "bias"),
    "gather": ("x",),
    "gru": ("weight_ih", "weight_hh", "bias", "input_bias"),
    "layer_norm": ("gamma", "beta"),
    "linear": ("weight", "bias"),
    "lstm": (
        "weight_ih", "weight_hh", "bias", "weight_ih_back", "weight_hh_back", "bias_back",
    ),
    "matmul": ("y", "x"),
    "prelu": ("alpha",),
    "rnn": ("weight_ih", "weight_hh", "bias"),
}  # fmt: skip
#: of compressed weights: what is not stored for each of them
_SCALES = frozenset({"offset", "scale", "shape", "vector_axis", "zero_point"})
_MATRICES = ("weight_ih", "weight_hh", "weight_ih_back", "weight_hh_back")


def network_of(function: Any, free: tuple[str, ...]) -> Network:
    """The network of a MIL function."""
    inputs = [v for v in function.inputs.values() if not types.is_state(v.sym_type)]
    return _Reader().network(function, inputs, free)


def dtype_of(variable: Any) -> str:
    """numpy's name of its type; `dictionary` and the like for what has no numbers."""
    if types.is_dict(variable.sym_type):
        return "dictionary"
    if types.is_list(variable.sym_type) or types.is_state(variable.sym_type):
        return "list" if types.is_list(variable.sym_type) else "state"
    name = "string" if variable.dtype is types.str else types.builtin_to_string(variable.dtype)
    return _DTYPES.get(str(name), str(name))


def shape_of(variable: Any) -> tuple[int, ...] | None:
    """Its sizes, with 1 in the place of every symbol."""
    try:
        sizes = list(variable.shape)
    except (AttributeError, TypeError):  # lists, dictionaries and states have none
        return None
    return tuple(_size(size) for size in sizes)


def _size(size: Any) -> int:
    if not types.symbolic.is_symbolic(size):
        return int(size)
    return int(size.subs(dict.fromkeys(size.free_symbols, 1)))


@dataclass(slots=True)
class _Reader:
    constants: dict[str, tuple[Stored, ...]] = field(default_factory=dict)

    def network(self, block: Any, inputs: Iterable[Any], free: tuple[str, ...] = ()) -> Network:
        values: dict[str, Value] = {}
        given = list(inputs)
        operations: list[Operation] = []
        for variable in given:
            values[variable.name] = _value(variable)
        for operation in block.operations:
            if self._is_constant(operation):
                continue
            for variable in operation.outputs:
                values[variable.name] = _value(variable)
            operations.append(self._operation(operation))
        return Network(
            tuple(operations),
            values,
            tuple(variable.name for variable in given),
            tuple(v.name for v in block.outputs if v.name not in self.constants),
            free,
        )

    def _is_constant(self, operation: Any) -> bool:
        """Whether its result is known before the program runs; it is taken into `constants`."""
        kind = str(operation.op_type)
        if kind == "const":
            (variable,) = operation.outputs
            self.constants[variable.name] = tuple(_plain(variable))
        elif kind.startswith("constexpr_"):
            held = tuple(_compressed(operation, self.constants))
            self.constants.update({variable.name: held for variable in operation.outputs})
        elif list(_read(operation)) and not operation.blocks and not self._computed(operation):
            held = tuple(self._parameters(operation))
            self.constants.update({variable.name: held for variable in operation.outputs})
        else:
            return False
        return True

    def _computed(self, operation: Any) -> list[str]:
        return [v.name for _, v in _read(operation) if v.name not in self.constants]

    def _operation(self, operation: Any) -> Operation:
        kind = str(operation.op_type)
        is_loop = kind == "while_loop"
        captured = [name for block in operation.blocks for name in self._captured(block)]
        return Operation(
            name=str(operation.outputs[0].name if operation.outputs else operation.name),
            kind=kind,
            reads=tuple(dict.fromkeys([*self._computed(operation), *captured])),
            writes=tuple(variable.name for variable in operation.outputs),
            parameters=tuple(self._parameters(operation)),
            weight=self._weight(operation),
            macs=_MACS.get(kind, _none)(operation),
            effect=_effect(kind),
            bodies=tuple(self.network(block, block.inputs) for block in operation.blocks),
            runs=None if is_loop else 1,
            alternatives=kind == "cond",
        )

    def _captured(self, block: Any) -> list[str]:
        """What a block reads of the values around it."""
        own = {variable.name for variable in block.inputs}
        found: list[str] = []
        for operation in block.operations:
            own.update(variable.name for variable in operation.outputs)
            found += [v.name for _, v in _read(operation)]
            for inner in operation.blocks:
                found += self._captured(inner)
        found += [variable.name for variable in block.outputs]
        return [name for name in found if name not in own and name not in self.constants]

    def _parameters(self, operation: Any) -> list[Stored]:
        found: dict[str, Stored] = {}
        layer = _WEIGHTS.get(str(operation.op_type), ())
        if operation.op_type in ("quantize", "dequantize"):
            return []
        for parameter, variable in _read(operation):
            for stored in self.constants.get(variable.name, ()):
                if stored.elements > 1 or parameter in layer:
                    found[stored.name] = stored
        return list(found.values())

    def _weight(self, operation: Any) -> Stored | None:
        given = dict(_read(operation))
        for parameter in _WEIGHTS.get(str(operation.op_type), ()):
            if parameter in given and (held := self.constants.get(given[parameter].name)):
                return held[0]
        return None


def _read(operation: Any) -> Iterator[tuple[str, Any]]:
    """Parameter and value of everything that it reads."""
    for parameter, value in operation.inputs.items():
        for item in value if isinstance(value, list | tuple) else (value,):
            if item is not None and not parameter.startswith("_"):
                yield parameter, item


def _plain(variable: Any) -> Iterator[Stored]:
    """A constant that holds floats."""
    dtype = dtype_of(variable)
    if dtype.startswith("float"):
        elements = prod(shape_of(variable) or ())
        yield Stored(variable.name, elements, dtype, bytes_of(elements, dtype) or 0)


def _compressed(operation: Any, known: Mapping[str, tuple[Stored, ...]]) -> Iterator[Stored]:
    """What `constexpr_...` expands, in the form it is stored in; bytes are those of the numbers,
    masks and tables, without scales. What expands another one's result keeps that one's form."""
    given = dict(_read(operation))
    output = operation.outputs[-1]
    elements = prod(shape_of(output) or ())
    stored = sum(_stored_bytes(given[name]) for name in given if name not in _SCALES)
    inner = [held[0] for v in given.values() if (held := known.get(v.name)) and v.op is not None
             and str(v.op.op_type).startswith("constexpr_")]  # fmt: skip
    if "lut" in given:
        shape = given["lut"].shape
        values = shape[-2] if len(shape) > 1 else shape[0]
        dtype = f"palette{int(values).bit_length() - 1}"
    elif inner:
        dtype, stored = inner[0].dtype, stored + sum(one.bytes for one in inner)
    else:
        names = ("quantized_data", "data", "nonzero_data", "source_val")
        dtype = next((dtype_of(given[name]) for name in names if name in given), "unknown")
    yield Stored(output.name, elements, dtype, stored)


def _stored_bytes(variable: Any) -> int:
    if variable.op is None or variable.op.op_type != "const":
        return 0
    elements = prod(shape_of(variable) or ())
    return bytes_of(elements, dtype_of(variable)) or 0 if elements > 1 else 0


def _value(variable: Any) -> Value:
    return Value(variable.name, shape_of(variable), dtype_of(variable))


def _effect(kind: str) -> Effect:
    if kind == "quantize":
        return "quantize"
    if kind == "dequantize":
        return "dequantize"
    if kind in _VIEWS:
        return "view"
    if kind in _FUNCTIONS:
        return "function"
    return "pointwise" if kind in _POINTWISE else "compute"


def _none(operation: Any) -> int:
    return 0


def _sizes(variable: Any) -> tuple[int, ...]:
    return shape_of(variable) or ()


def _conv(operation: Any) -> int:
    return prod(_sizes(operation.outputs[0])) * prod(_sizes(operation.inputs["weight"])[1:])


def _conv_transpose(operation: Any) -> int:
    return prod(_sizes(operation.inputs["x"])) * prod(_sizes(operation.inputs["weight"])[1:])


def _linear(operation: Any) -> int:
    return prod(_sizes(operation.outputs[0])) * _sizes(operation.inputs["x"])[-1]


def _matmul(operation: Any) -> int:
    flag = operation.inputs.get("transpose_x")
    transposed = flag is not None and bool(flag.val)
    x = _sizes(operation.inputs["x"])
    summed = x[-2] if transposed and len(x) > 1 else x[-1]
    return prod(_sizes(operation.outputs[0])) * summed


def _einsum(operation: Any) -> int:
    terms = str(operation.inputs["equation"].val).replace(" ", "").partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, variable in zip(terms, operation.inputs["values"], strict=True):
        sizes.update(zip(term, _sizes(variable), strict=True))
    return prod(sizes.values())


def _attention(operation: Any) -> int:
    query, key = (_sizes(operation.inputs[name]) for name in ("query", "key"))
    value = _sizes(operation.inputs["value"])
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _recurrent(operation: Any) -> int:
    steps, batch = _sizes(operation.inputs["x"])[:2]
    given = [operation.inputs.get(name) for name in _MATRICES]
    return steps * batch * sum(prod(_sizes(one)) for one in given if one is not None)


_MACS: Mapping[str, Callable[[Any], int]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "einsum": _einsum,
    "gru": _recurrent,
    "linear": _linear,
    "lstm": _recurrent,
    "matmul": _matmul,
    "rnn": _recurrent,
    "scaled_dot_product_attention": _attention,
}
