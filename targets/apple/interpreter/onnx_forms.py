"""MIL operations that ONNX Runtime computes to the very bits that their kernels do.

One function per operation writes its ONNX nodes. Here stand exact operations (movement, comparisons
and single IEEE additions, subtractions, multiplications and divisions) and those whose kernel is
ONNX Runtime's own already. What sums in another order than its kernel, or approximates a function
otherwise, has no place here. A form answers False where a parameter leaves that ground.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgewise.targets.apple.interpreter.kernels.base import Node
from edgewise.targets.apple.interpreter.kernels.convolution import convolution_attributes
from edgewise.targets.apple.interpreter.numbers import HELD_AS
from edgewise.targets.apple.interpreter.plan import Step, Tensor

#: a cast to float16 rounds to the nearest, ties to even
_HALF, _FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT


class Writer:
    """The ONNX nodes and small constants of one operation, in names that no other uses."""

    def __init__(self, step: Step, tensors: Mapping[str, Tensor]) -> None:
        self.step = step
        self.node: Node = step.node
        self.arguments = dict(step.arguments)
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._tensors = tensors
        self._prefix = f"{step.outputs[0].name}//"

    def name(self, parameter: str) -> str:
        name = self.arguments[parameter]
        assert isinstance(name, str)
        return name

    def names(self, parameter: str) -> tuple[str, ...]:
        name = self.arguments[parameter]
        return (name,) if isinstance(name, str) else name

    def tensors(self, parameter: str) -> list[Tensor]:
        return [self._tensors[name] for name in self.names(parameter)]

    def tensor(self, parameter: str) -> Tensor:
        return self._tensors[self.name(parameter)]

    def shape(self, parameter: str) -> tuple[int, ...] | None:
        """Where it is known before the program runs."""
        return static(self.tensor(parameter))

    def is_float(self, *parameters: str) -> bool:
        tensors = (tensor for parameter in parameters for tensor in self.tensors(parameter))
        return all(tensor.dtype in ("fp16", "fp32") for tensor in tensors)

    def constant(self, value: npt.ArrayLike) -> str:
        name = f"{self._prefix}c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def write(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """An inner value."""
        name = f"{self._prefix}v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], **attributes))
        return name

    def finish(self, op_type: str, *inputs: str, **attributes: Any) -> bool:
        """The operation's one output, rounded where the program declares it fp16."""
        (output,) = self.step.outputs
        if self.step.round_half and output.dtype == "fp16":
            exact = self.write(op_type, *inputs, **attributes)
            half = self.write("Cast", exact, to=_HALF)
            self.nodes.append(helper.make_node("Cast", [half], [output.name], to=_FLOAT))
        else:
            self.nodes.append(helper.make_node(op_type, inputs, [output.name], **attributes))
        return True


Form = Callable[[Writer], bool]


def static(tensor: Tensor) -> tuple[int, ...] | None:
    sizes = tuple(size for size in tensor.shape if isinstance(size, int) and size > 0)
    return sizes if len(sizes) == len(tensor.shape) else None


def _conv(w: Writer) -> bool:
    given, window = w.shape("x"), w.shape("weight")
    if given is None or window is None or not w.is_float("x", "weight"):
        return False
    attributes = convolution_attributes(w.node, given[2:], window[2:])
    operands = [name for name in ("x", "weight", "bias") if name in w.arguments]
    return w.finish("Conv", *map(w.name, operands), **dict(attributes))


def _linear(w: Writer) -> bool:
    given = w.shape("x")
    if given is None or len(given) != 2 or not w.is_float("x", "weight"):
        return False
    operands = [name for name in ("x", "weight", "bias") if name in w.arguments]
    return w.finish("Gemm", *map(w.name, operands), transB=1)


def _matmul(w: Writer) -> bool:
    if not w.is_float("x", "y"):
        return False
    operands = []
    for parameter in ("x", "y"):
        name, rank = w.name(parameter), len(w.tensor(parameter).shape)
        if rank < 2:
            return False
        if w.node.flag(f"transpose_{parameter}"):
            perm = [*range(rank - 2), rank - 1, rank - 2]
            name = w.write("Transpose", name, perm=perm)
        operands.append(name)
    return w.finish("MatMul", *operands)


def _binary(op_type: str) -> Form:
    def form(w: Writer) -> bool:
        return w.is_float("x", "y") and w.finish(op_type, w.name("x"), w.name("y"))

    return form


def _relu(w: Writer) -> bool:
    return w.is_float("x") and w.finish("Max", w.name("x"), w.constant(np.float32(0)))


def _between(w: Writer, low: Any, high: Any) -> bool:
    if not w.is_float("x"):
        return False
    above = w.write("Max", w.name("x"), w.constant(np.float32(low)))
    return w.finish("Min", above, w.constant(np.float32(high)))


def _clip(w: Writer) -> bool:
    return _between(w, w.node.number("alpha", -np.inf), w.node.number("beta", np.inf))


def _leaky_relu(w: Writer) -> bool:
    alpha = float(w.node.number("alpha", 0.01))
    return w.is_float("x") and w.finish("LeakyRelu", w.name("x"), alpha=alpha)


def _quantize(w: Writer) -> bool:
    return _with_scale(w, "QuantizeLinear", w.node.text("output_dtype", "int8"))


def _dequantize(w: Writer) -> bool:
    return _with_scale(w, "DequantizeLinear", w.tensor("input").dtype)


def _with_scale(w: Writer, op_type: str, dtype: str) -> bool:
    if dtype not in ("int8", "uint8"):
        return False
    scale = np.asarray(w.node.array("scale"), np.float32)
    zero = w.node.array("zero_point")
    zeros = np.zeros(scale.shape, dtype) if zero is None else zero.astype(dtype)
    if zeros.shape != scale.shape:
        zeros = np.broadcast_to(zeros, scale.shape).copy()
    axis = w.node.integer("axis", 0) if scale.ndim else 0
    return w.finish(op_type, w.name("input"), w.constant(scale), w.constant(zeros), axis=axis)


def _reshape(w: Writer) -> bool:
    """Every operation that changes the shape alone: its declared result has all of it."""
    shape = static(w.step.outputs[0])
    if shape is None or len(w.step.outputs) != 1:
        return False
    return w.finish("Reshape", w.name("x"), w.constant(np.asarray(shape, np.int64)))


def _transpose(w: Writer) -> bool:
    perm, rank = w.node.ints("perm") or [], len(w.tensor("x").shape)
    return w.finish("Transpose", w.name("x"), perm=[axis % rank for axis in perm])


def _concat(w: Writer) -> bool:
    names = w.names("values")
    tensors = w.tensors("values")
    one_type = len({HELD_AS[tensor.dtype] for tensor in tensors}) == 1
    if not one_type or not tensors[0].shape or w.node.flag("interleave"):
        return False
    return w.finish("Concat", *names, axis=w.node.integer("axis", 0))


def _pad(w: Writer) -> bool:
    pads, rank = w.node.ints("pad"), len(w.tensor("x").shape)
    if pads is None or w.node.text("mode", "constant") != "constant" or not w.is_float("x"):
        return False
    missing = [0] * (rank - len(pads) // 2)
    widths = np.asarray([*missing, *pads[0::2], *missing, *pads[1::2]], np.int64)
    value = w.constant(np.asarray(w.node.number("constant_val", 0.0)))
    return w.finish("Pad", w.name("x"), w.constant(widths), value)


#: MIL operation -> its ONNX form
FORMS: dict[str, Form] = {
    "add": _binary("Add"),
    "clip": _clip,
    "concat": _concat,
    "conv": _conv,
    "dequantize": _dequantize,
    "expand_dims": _reshape,
    "leaky_relu": _leaky_relu,
    "linear": _linear,
    "matmul": _matmul,
    "maximum": _binary("Max"),
    "minimum": _binary("Min"),
    "mul": _binary("Mul"),
    "pad": _pad,
    "quantize": _quantize,
    "real_div": _binary("Div"),
    "relu": _relu,
    "relu6": lambda w: _between(w, 0, 6),
    "reshape": _reshape,
    "squeeze": _reshape,
    "sub": _binary("Sub"),
    "transpose": _transpose,
}
