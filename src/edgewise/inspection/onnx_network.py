"""An ONNX graph as a `Network`.

1. A constant that only settles how an operator works is no parameter: shapes, axes and other
   indices, scales and zero points, the bounds of a Clip, single numbers beside weights.
2. What is computed from constants alone (a dequantized, transposed or widened weight) is that
   constant for whoever reads it: runtimes compute it once.
3. Free dimensions are 1; a shape that inference then leaves open is that of a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir
import onnx_ir.passes.common as common

from edgewise.graph import attribute, node_label
from edgewise.graph.bodies import bodies_of, captured, infer_loop_shapes, trip_count
from edgewise.graph.prepare import fix_input_shapes
from edgewise.inspection.network import Effect, Network, Operation, Stored, Value
from edgewise.inspection.observed_shapes import observe_shapes
from edgewise.inspection.onnx_macs import STANDARD, UnknownShape, is_known, macs_of

_QUANTIZE = {"QuantizeLinear": "quantize", "DequantizeLinear": "dequantize"}
_VIEWS = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
#: with one computed input; fused by runtimes
_FUNCTIONS = frozenset(
    {
        "Celu", "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu",
        "QuickGelu", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Swish", "Tanh",
        "ThresholdedRelu",
    }
)  # fmt: skip
_POINTWISE = frozenset(
    {
        "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BiasGelu",
        "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Ceil", "Cos", "Cosh",
        "Div", "Dropout", "Equal", "Erf", "Exp", "FastGelu", "Floor", "Greater", "GreaterOrEqual",
        "IsInf", "IsNaN", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mod", "Mul", "Neg",
        "Not", "Or", "Pow", "QLinearAdd", "QLinearLeakyRelu", "QLinearMul", "QLinearSigmoid",
        "Reciprocal", "Round", "Sign", "Sin", "Sinh", "Sqrt", "Sub", "Sum", "Tan", "Where", "Xor",
    }
)  # fmt: skip
#: operator -> inputs that are no parameters whatever they hold
_SETTINGS: Mapping[str, frozenset[int]] = {
    "Clip": frozenset({1, 2}),
    "ConvInteger": frozenset({2, 3}),
    "DequantizeLinear": frozenset({1, 2}),
    "DynamicQuantizeMatMul": frozenset({2, 3}),
    "GatherBlockQuantized": frozenset({1, 2, 3}),
    "MatMulInteger": frozenset({2, 3}),
    "MatMulIntegerToFloat": frozenset({2, 3, 4, 5}),
    "MatMulNBits": frozenset({2, 3, 4}),
    "OneHot": frozenset({1, 2}),
    "Pad": frozenset({1, 2, 3}),
    "QAttention": frozenset({3, 4, 6, 7}),
    "QGemm": frozenset({1, 2, 4, 5, 7, 8}),
    "QLinearAdd": frozenset({1, 2, 4, 5, 6, 7}),
    "QLinearConv": frozenset({1, 2, 4, 5, 6, 7}),
    "QLinearMatMul": frozenset({1, 2, 4, 5, 6, 7}),
    "QLinearMul": frozenset({1, 2, 4, 5, 6, 7}),
    "QuantizeLinear": frozenset({1, 2}),
    "Resize": frozenset({1, 2, 3}),
    "Upsample": frozenset({1}),
}
#: operators whose integers are weights, and not indices
_INTEGER_WEIGHTS = frozenset(
    {
        "ConvInteger", "DequantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul",
        "GatherBlockQuantized", "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits",
        "QAttention", "QGemm", "QLinearAdd", "QLinearConv", "QLinearMatMul", "QLinearMul",
    }
)  # fmt: skip
#: layers: the inputs that are weights and biases, of any size
_WEIGHTS: Mapping[str, tuple[int, ...]] = {
    "Attention": (1,), "BatchNormalization": (1, 2, 3, 4), "Conv": (1, 2), "ConvInteger": (1,),
    "ConvTranspose": (1, 2), "DeformConv": (1, 3), "DynamicQuantizeLSTM": (1, 2, 3),
    "DynamicQuantizeMatMul": (1, 4), "Einsum": (1, 0), "FusedConv": (1, 2), "FusedGemm": (1, 0, 2),
    "FusedMatMul": (1, 0), "GRU": (1, 2, 3), "Gather": (0,), "GatherBlockQuantized": (0,),
    "Gemm": (1, 0, 2), "LSTM": (1, 2, 3, 7), "LayerNormalization": (1, 2), "MatMul": (1, 0),
    "MatMulInteger": (1, 0), "MatMulIntegerToFloat": (1,), "MatMulNBits": (1, 5), "PRelu": (1,),
    "QAttention": (1, 2), "QGemm": (3, 0, 6), "QLinearConv": (3, 8), "QLinearMatMul": (3, 0),
    "RNN": (1, 2, 3),
}  # fmt: skip
_WHOLE = ("int", "uint")


def network_of(model: ir.Model, input_shapes: Mapping[str, Sequence[int | str]]) -> Network:
    """The network of a model, which is changed: functions are written out, free sizes become 1.

    Raises UsageError for shapes of inputs that there are not.
    """
    fix_input_shapes(model, input_shapes, None)
    free = _fix_free_dimensions(model)
    if model.functions:
        common.InlinePass()(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    _infer_shapes(model)
    infer_loop_shapes(model, _infer_shapes)
    observe_shapes(model)
    common.TopologicalSortPass()(model)
    return _Reader().network(model.graph, free)


def _infer_shapes(model: ir.Model) -> None:
    common.ShapeInferencePass(check_type=True, strict_mode=False, data_prop=True)(model)


def _fix_free_dimensions(model: ir.Model) -> tuple[str, ...]:
    """Make them 1; gives their names."""
    found: dict[str, None] = {}
    shapes: dict[str, list[int]] = {}
    for value in model.graph.inputs:
        if value.shape is None or value.shape.is_static() or value.name is None:
            continue
        for axis, size in enumerate(value.shape):
            if not isinstance(size, int):
                found[size.value or f"{value.name}[{axis}]"] = None
        shapes[value.name] = [size if isinstance(size, int) else 1 for size in value.shape]
    if shapes:
        fix_input_shapes(model, shapes, None)
    return tuple(found)


@dataclass(slots=True)
class _Reader:
    """Constants, and what is computed from them, by value: none are parameters where they only
    settle something."""

    constants: dict[ir.Value, tuple[Stored, ...]] = field(default_factory=dict)

    def network(self, graph: ir.Graph, free: tuple[str, ...] = ()) -> Network:
        values: dict[str, Value] = {}
        for value in graph.initializers.values():
            if value.const_value is not None:
                self.constants[value] = (_stored(value),)
        inputs = [v for v in graph.inputs if v not in self.constants]
        for value in inputs:
            values[str(value.name)] = _value(value)
        operations = []
        for node in graph:
            if self._is_constant(node):
                held = self._parameters(node)
                self.constants.update(dict.fromkeys(node.outputs, held))
                continue
            for value in node.outputs:
                values[str(value.name)] = _value(value)
            operations.append(self._operation(node))
        outputs = tuple(str(v.name) for v in graph.outputs if v not in self.constants)
        names = tuple(str(value.name) for value in inputs)
        return Network(tuple(operations), values, names, outputs, free)

    def _is_constant(self, node: ir.Node) -> bool:
        read = [value for value in node.inputs if value is not None]
        around = [value for body in bodies_of(node) for value in captured(body)]
        return bool(read) and all(value in self.constants for value in (*read, *around))

    def _operation(self, node: ir.Node) -> Operation:
        parameters = self._parameters(node)
        read = [value for value in node.inputs if value is not None]
        read += [value for body in bodies_of(node) for value in captured(body)]
        macs, unknown = _macs(node)
        return Operation(
            name=node_label(node),
            kind=node.op_type,
            reads=tuple(dict.fromkeys(str(v.name) for v in read if v not in self.constants)),
            writes=tuple(str(value.name) for value in node.outputs if value.name),
            parameters=parameters,
            weight=self._weight(node),
            macs=macs,
            unknown=unknown,
            effect=_effect(node),
            bodies=tuple(self.network(body) for body in bodies_of(node)),
            runs=_runs(node),
            alternatives=node.op_type == "If",
        )

    def _parameters(self, node: ir.Node) -> tuple[Stored, ...]:
        """What it reads of the constants that are parameters, each once."""
        found: dict[str, Stored] = {}
        for index, value in enumerate(node.inputs):
            if value is None or index in _SETTINGS.get(node.op_type, ()):
                continue
            for stored in self.constants.get(value, ()):
                if value.const_value is None or _is_parameter(node, index, stored):
                    found[stored.name] = _as_read(node, index, stored)
        return tuple(found.values())

    def _weight(self, node: ir.Node) -> Stored | None:
        for index in _WEIGHTS.get(node.op_type, ()):
            value = node.inputs[index] if index < len(node.inputs) else None
            held = () if value is None else self.constants.get(value, ())
            if held:
                return _as_read(node, index, held[0])
        return None


def _is_parameter(node: ir.Node, index: int, stored: Stored) -> bool:
    """Case 1, of a constant that the node reads itself."""
    if stored.dtype.startswith(_WHOLE) or stored.dtype in ("bool", "object"):
        return node.op_type in _INTEGER_WEIGHTS
    return stored.elements > 1 or index in _WEIGHTS.get(node.op_type, ())


def _as_read(node: ir.Node, index: int, stored: Stored) -> Stored:
    """As the numbers that they are: packed ones stand several in an element."""
    if node.op_type != "MatMulNBits" or index != 1:
        return stored
    elements = int(attribute(node, "N")) * int(attribute(node, "K"))
    return Stored(stored.name, elements, f"uint{attribute(node, 'bits', 4)}", stored.bytes)


def _stored(value: ir.Value) -> Stored:
    tensor = value.const_value
    if tensor is None:
        raise ValueError(f"'{value.name}' is computed")
    dtype = _dtype(value)
    size = tensor.nbytes if dtype != "object" else 0
    return Stored(str(value.name), int(tensor.size), dtype, int(size))


def _dtype(value: ir.Value) -> str:
    if value.const_value is not None:
        return _name(value.const_value.dtype)
    return "unknown" if value.dtype is None else _name(value.dtype)


def _name(dtype: ir.DataType) -> str:
    try:
        return str(dtype.numpy())
    except TypeError:  # UNDEFINED, and types that numpy has no name for
        return dtype.name.lower()


def _value(value: ir.Value) -> Value:
    shape = value.shape
    known = shape is not None and all(isinstance(size, int) for size in shape)
    sizes = tuple(int(size) for size in shape) if known and shape is not None else None  # type: ignore[arg-type]
    return Value(str(value.name), sizes, _dtype(value))


def _effect(node: ir.Node) -> Effect:
    if node.domain in STANDARD and node.op_type in _QUANTIZE:
        return "quantize" if node.op_type == "QuantizeLinear" else "dequantize"
    if node.op_type in _VIEWS:
        return "view"
    if node.op_type in _FUNCTIONS:
        return "function"
    return "pointwise" if node.op_type in _POINTWISE else "compute"


def _macs(node: ir.Node) -> tuple[int | None, str]:
    if not is_known(node):
        return None, f"operators of domain '{node.domain}' are not known"
    try:
        return macs_of(node), ""
    except UnknownShape as unknown:
        return None, f"the shape of '{unknown}' is not known"


def _runs(node: ir.Node) -> int | None:
    if node.op_type == "Loop":
        return trip_count(node)
    if node.op_type == "Scan":
        return _steps(node)
    return None if node.op_type == "SequenceMap" else 1


def _steps(scan: ir.Node) -> int | None:
    """The length of the first sequence that it walks over."""
    count = int(attribute(scan, "num_scan_inputs"))
    axes = attribute(scan, "scan_input_axes") or [0]
    value = scan.inputs[len(scan.inputs) - count]
    shape = None if value is None else value.shape
    size = None if shape is None else shape[int(axes[0])]
    return size if isinstance(size, int) else None
