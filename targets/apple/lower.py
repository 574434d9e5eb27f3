"""ONNX graph in, MIL program out: the driver that walks the nodes once.

A node whose inputs are all constants has been folded before, except for those that make quantized
constants. After each node the shapes that MIL inferred are compared with those of ONNX: a lowering
that breaks a shape is found at the node that it broke. ONNX's own shape inference (1.23) counts one
window too many for some poolings with `ceil_mode`, where ONNX Runtime follows the specification;
from the first such pooling on, its shapes prove nothing and are not compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.errors import EdgewiseError, InternalError, ModelError
from edgewise.graph import attribute, node_label, static_shape
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Function, Program, Var, quiet, types
from edgewise.targets.apple.call import Call, Operand, emit, refusal
from edgewise.targets.apple.collapse import MAX_RANK
from edgewise.targets.apple.deployment import System, core_ml_target
from edgewise.targets.apple.flexible.sizes import FlexibleShape
from edgewise.targets.apple.legalize import LegalModel
from edgewise.targets.apple.names import NameTable
from edgewise.targets.apple.origins import origin
from edgewise.targets.apple.states import State
from edgewise.targets.apple.table import LOWERINGS
from edgewise.targets.apple.weights import QuantizedConstant


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of the package: `value` of the model, named and typed as in the file.

    `model_shape` differs from `shape` for scalars, which are vectors of one element in the file,
    and for tensors of more axes than Core ML has (see `rank_limit`).
    Sizes of outputs that depend on the data are names.
    """

    value: ir.Value
    file_name: str
    dtype: str
    shape: tuple[int | str, ...]
    model_shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class KeptState:
    """A state of the package: an input and an output of the model under one name."""

    source: Port
    result: Port


@dataclass(frozen=True, slots=True)
class LoweredProgram:
    """A MIL program with the ports in the order of the model's inputs and outputs.

    Every operation is in the scope of the node that it was written for (see `origins`). `flexible`
    has, by file name, the sizes of inputs that may have several.
    """

    program: Program
    system: System
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    states: tuple[KeptState, ...] = ()
    flexible: Mapping[str, FlexibleShape] = field(default_factory=dict)


def lower(legal: LegalModel, system: System) -> LoweredProgram:
    """The model as one MIL function in float32; narrowing to fp16 is a pass of its own.

    Args:
        legal: with static shapes.
        system: whose operations are used.

    Raises:
        UnsupportedOperator: a node has no expression in Core ML.
        ModelError: an input has a symbolic shape or an element type that Core ML has not.
    """
    with quiet():
        return _Builder(legal, system).build(None)


def try_lower(
    legal: LegalModel, system: System
) -> tuple[LoweredProgram | None, list[EdgewiseError]]:
    """The program, or everything that `lower` would refuse, not only the first: a refused node is
    replaced by values of the right shape, so that the nodes behind it are tried as well."""
    found: list[EdgewiseError] = []
    program = None
    with quiet():
        try:
            program = _Builder(legal, system).build(found)
        except ModelError as error:
            found += [error] if error not in found else []
    return (None if found else program), found


def refusals(legal: LegalModel, system: System) -> list[EdgewiseError]:
    """What keeps the model from being lowered."""
    return try_lower(legal, system)[1]


class _Builder:
    def __init__(self, legal: LegalModel, system: System) -> None:
        self._graph = legal.model.graph
        self._declined = legal.declined
        self._states = legal.states
        self._user_shapes = legal.user_shapes
        self._system = system
        self._names = NameTable()
        self._operands: dict[ir.Value, Operand] = {}
        self._shapes_known = True

    def build(self, collected: list[EdgewiseError] | None) -> LoweredProgram:
        mb.name_count.clear()  # generated names would otherwise depend on earlier conversions
        inputs = tuple(self._input_port(value) for value in self._model_inputs())
        kept = tuple(self._kept_state(state) for state in self._states)
        placeholders = {
            port.file_name: mb.placeholder(shape=port.shape, dtype=_MIL_TYPES[port.dtype])
            for port in inputs
        } | {k.source.file_name: _state_placeholder(k.source) for k in kept}
        output_names = [self._names.of(str(value.name)) for value in self._model_outputs()]
        with Function(placeholders, opset_version=core_ml_target(self._system)) as function:
            for port in inputs:
                self._operands[port.value] = _typed_input(port, function.inputs[port.file_name])
            for k in kept:
                self._operands[k.source.value] = _read_state(function.inputs[k.source.file_name])
            self._load_initializers(self._graph)
            for node in self._graph:
                self._lower_node(node, collected)
            taken = {port.file_name for port in inputs} | {k.source.file_name for k in kept}
            outputs = self._finish(output_names, taken)
            for k in kept:
                value = emit(self._operands[k.result.value])
                _write_state(function.inputs[k.source.file_name], value)
            function.set_outputs([var for _, var in outputs])
        program = Program()
        program.add_function("main", function)
        ports = tuple(port for port, _ in outputs)
        return LoweredProgram(program, self._system, inputs, ports, kept)

    def _model_inputs(self) -> list[ir.Value]:
        """Those that the package has as inputs, too."""
        kept = {state.input for state in self._states}
        inputs = self._graph.inputs
        return [v for v in inputs if v.name not in self._graph.initializers and v not in kept]

    def _model_outputs(self) -> list[ir.Value]:
        """Those that the package has as outputs, too."""
        kept = {state.output for state in self._states}
        return [value for value in self._graph.outputs if value not in kept]

    def _kept_state(self, state: State) -> KeptState:
        shape, name = static_shape(state.input), self._names.of(str(state.input.name))
        source, result = (
            Port(value, name, "float16", shape, shape) for value in (state.input, state.output)
        )
        return KeptState(source, result)

    def _input_port(self, value: ir.Value) -> Port:
        shape = static_shape(value)
        if value.dtype is None or value.dtype not in _FILE_TYPES:
            raise ModelError(
                f"Core ML has no input of type {value.dtype}",
                where=f"input '{value.name}'",
                remedy="Give the input another element type.",
            )
        if 0 in shape:
            raise _without_elements(f"input '{value.name}'")
        if len(shape) > MAX_RANK:
            raise ModelError(
                f"Core ML tensors have at most {MAX_RANK} axes, not {len(shape)}",
                where=f"input '{value.name}'",
                remedy="Give the input fewer axes.",
            )
        name, dtype = self._names.of(str(value.name)), _FILE_TYPES[value.dtype]
        return Port(
            value, name, dtype, shape or (1,), self._user_shapes.get(str(value.name), shape)
        )

    def _lower_body(self, body: ir.Graph, given: Sequence[Operand]) -> list[Operand]:
        """A body of control flow. coremltools may ask for the same one twice, to find the types."""
        self._operands.update(zip(body.inputs, given, strict=True))
        self._load_initializers(body)
        for node in body:
            self._lower_node(node, None)
        return [self._operands[value] for value in body.outputs]

    def _load_initializers(self, graph: ir.Graph) -> None:
        for value in graph.initializers.values():
            if value.const_value is not None:
                self._operands[value] = value.const_value.numpy()

    def _lower_node(self, node: ir.Node, collected: list[EdgewiseError] | None) -> None:
        try:
            results = self._results(node)
        except ModelError as error:
            if collected is None:
                raise
            collected.append(error)
            try:
                results = [_stand_in(output) for output in node.outputs]
            except ModelError:  # without static shapes nothing behind it can be tried
                raise error from None
        if node.op_type in ("AveragePool", "MaxPool") and attribute(node, "ceil_mode", 0):
            self._shapes_known = False
        for output, result in zip(node.outputs, results, strict=False):
            if self._shapes_known and (output.uses() or output.is_graph_output()):
                _check_shape(node, output, result)
            self._operands[output] = result

    def _results(self, node: ir.Node) -> list[Operand]:
        lowering = LOWERINGS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if node in self._declined:
            raise refusal(node, self._declined[node].why, self._declined[node].remedy)
        if lowering is None:
            raise refusal(
                node,
                f"operator {node.domain + '.' if node.domain else ''}{node.op_type} has no"
                " Core ML lowering",
                "Replace it with operators that have one, or cut the model in front of it.",
            )
        name = self._operation_name(node)
        call = Call(node, self._operands, name, self._system, self._lower_body)
        try:
            with origin(node_label(node)):
                result = lowering.lower(call)
        except EdgewiseError:
            raise
        except Exception as error:  # coremltools raises ValueError, TypeError, AssertionError, ...
            why = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise refusal(
                node, f"coremltools refuses it: {why}", "Simplify the node or leave it out."
            ) from error
        single = isinstance(result, (Var, np.ndarray, QuantizedConstant))
        results: list[Operand] = [result] if single else list(result)  # type: ignore[arg-type]
        most = max((len(found.shape) for found in results if isinstance(found, Var)), default=0)
        if most > MAX_RANK:
            why = f"Core ML tensors have at most {MAX_RANK} axes, not {most}"
            raise refusal(node, why, "Write it with fewer axes.")
        return results

    def _operation_name(self, node: ir.Node) -> str:
        """After the first output; the name of a model output is kept for the output itself."""
        first = node.outputs[0]
        name = str(first.name)
        return self._names.fresh(f"{name}_value" if first.is_graph_output() else name)

    def _finish(self, names: list[str], inputs: set[str]) -> list[tuple[Port, Var]]:
        """An identity per output gives it its name, even where two outputs are one value or an
        output is an input or a constant."""
        finished = []
        for value, name in zip(self._model_outputs(), names, strict=True):
            if name in inputs:
                name = self._names.fresh(name)
            var = emit(self._operands[value])
            model_shape = _sizes(var, name)
            if 0 in model_shape:
                raise _without_elements(f"output '{value.name}'")
            if not model_shape:
                var = mb.expand_dims(x=var, axes=[0])
            dtype = _OUTPUT_TYPES[types.builtin_to_string(var.dtype)]
            if types.builtin_to_string(var.dtype) in ("bool", "int8", "uint8"):
                var = mb.cast(x=var, dtype=dtype, name=name)
            else:
                var = mb.identity(x=var, name=name)
            user_shape = self._user_shapes.get(str(value.name), model_shape)
            port = Port(value, name, dtype, model_shape or (1,), user_shape)
            finished.append((port, var))
        return finished


#: element type in the model -> element type in the file
_FILE_TYPES: Mapping[ir.DataType, str] = {
    ir.DataType.FLOAT: "float32",
    ir.DataType.FLOAT16: "float32",
    ir.DataType.DOUBLE: "float32",
    ir.DataType.INT64: "int32",
    ir.DataType.INT32: "int32",
    ir.DataType.INT16: "int32",
    ir.DataType.UINT16: "int32",
    ir.DataType.INT8: "int32",
    ir.DataType.UINT8: "int32",
    ir.DataType.BOOL: "int32",
}
_MIL_TYPES = {"float32": types.fp32, "int32": types.int32}
#: element type in the program -> element type in the file
_OUTPUT_TYPES = {
    "fp32": "float32",
    "int32": "int32",
    "bool": "int32",
    "int8": "int32",
    "uint8": "int32",
}
#: input types that Core ML cannot receive but can compute with
_NARROW = {ir.DataType.BOOL: "bool"}


def _typed_input(port: Port, var: Var) -> Var:
    narrow = _NARROW.get(port.value.dtype) if port.value.dtype is not None else None
    var = var if port.model_shape else mb.squeeze(x=var, axes=[0])
    return var if narrow is None else mb.cast(x=var, dtype=narrow)


def _sizes(var: Var, name: str) -> tuple[int | str, ...]:
    """A size that depends on the data is a name of its own."""
    return tuple(
        f"{name}_size{axis}" if types.symbolic.is_symbolic(size) else int(size)
        for axis, size in enumerate(var.shape)
    )


def _without_elements(where: str) -> ModelError:
    return ModelError(
        "Core ML has no tensors without elements",
        where=where,
        remedy="Leave it out of the model, or give no axis the size 0.",
    )


def _state_placeholder(port: Port) -> Any:
    """A state among the inputs of a function. Core ML keeps fp16 alone."""
    return mb.state_tensor_placeholder(shape=port.shape, dtype=types.fp16)


def _read_state(state: Var) -> Var:
    """What the state holds, in the float32 that programs are written in."""
    return mb.cast(x=mb.read_state(input=state), dtype="fp32")


def _write_state(state: Var, value: Var) -> None:
    mb.coreml_update_state(state=state, value=mb.cast(x=value, dtype="fp16"))


def _check_shape(node: ir.Node, output: ir.Value, result: Operand) -> None:
    known = output.shape
    if known is None or not all(isinstance(dim, int) for dim in known):
        return
    expected, found = tuple(known), tuple(result.shape)
    if expected != found:
        raise InternalError(
            f"the lowering of {node.op_type} changed a shape",
            where=f"node '{node_label(node)}'",
            why=f"expected {expected}, found {found}",
        )


def _stand_in(output: ir.Value) -> Operand:
    """A run-time value of the output's shape and type: random numbers are never folded."""
    shape = list(static_shape(output))
    var = mb.random_uniform(shape=shape or [1], low=0.0, high=1.0, seed=0)
    var = var if shape else mb.squeeze(x=var, axes=[0])
    if output.dtype is not None and output.dtype in _FILE_TYPES:
        dtype = (
            _NARROW.get(output.dtype)
            or {"float32": "fp32", "int32": "int32"}[_FILE_TYPES[output.dtype]]
        )
        return var if dtype == "fp32" else mb.cast(x=var, dtype=dtype)
    return var
