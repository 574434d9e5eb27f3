"""One program for many sizes, out of the programs for single sizes.

The model is lowered for several sizes as for one. Where these programs have the same operations in
the same places with the same parameters, so has the program for all sizes; its inputs have symbols
for sizes, and Core ML infers the rest. Parameters that differ are written by `rules`, or refused
with the node that they belong to. No lowering has to know of sizes that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgewise.errors import EdgewiseError
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Function, Program, Var, new_symbol, quiet, types
from edgewise.targets.apple.deployment import core_ml_target
from edgewise.targets.apple.flexible.rules import RULES, Varied, refusal
from edgewise.targets.apple.flexible.sizes import FlexibleShape
from edgewise.targets.apple.lower import LoweredProgram, Port
from edgewise.targets.apple.origins import origin, origin_of


def unify(
    programs: Sequence[LoweredProgram],
    wanted: Mapping[str, FlexibleShape],
    dimensions: Mapping[tuple[str, int], str],
) -> LoweredProgram:
    """The program for all sizes.

    Args:
        programs: for each of `sizes.proving_shapes(wanted)`, in that order.
        wanted: name of an input in the model -> its sizes.
        dimensions: input and axis -> name of the size in the model: equal names are equal sizes.

    Raises:
        UnsupportedOperator: a node depends on sizes in a way that one program cannot compute.
    """
    with quiet():
        return _Union(programs, wanted, dimensions).build()


class _Union:
    def __init__(
        self,
        programs: Sequence[LoweredProgram],
        wanted: Mapping[str, FlexibleShape],
        dimensions: Mapping[tuple[str, int], str],
    ) -> None:
        self._first = programs[0]
        self._functions = [lowered.program.functions["main"] for lowered in programs]
        self._wanted = wanted
        self._dimensions = dimensions
        self._symbols: dict[Any, str] = {}  # symbol -> its name in the manifest
        self._mapped: dict[Var, Any] = {}
        self._places: list[dict[Var, tuple[object, ...]]] = [{} for _ in programs]

    def build(self) -> LoweredProgram:
        mb.name_count.clear()
        ports = [self._input_port(port) for port in self._first.inputs]
        placeholders = {
            port.file_name: mb.placeholder(shape=shape, dtype=old.dtype)
            for (port, shape), old in zip(ports, self._functions[0].inputs.values(), strict=True)
        }
        with Function(placeholders, opset_version=core_ml_target(self._first.system)) as function:
            self._enter_inputs(function)
            for place, operations in enumerate(self._operations()):
                self._rewrite(place, operations)
            outputs = [self._mapped[var] for var in self._functions[0].outputs]
            function.set_outputs(outputs)
        program = Program()
        program.add_function("main", function)
        named = [
            self._output_port(port, var)
            for port, var in zip(self._first.outputs, outputs, strict=True)
        ]
        return replace(
            self._first,
            program=program,
            inputs=tuple(port for port, _ in ports),
            outputs=tuple(named),
            flexible={
                port.file_name: self._wanted[str(port.value.name)]
                for port, _ in ports
                if str(port.value.name) in self._wanted
            },
        )

    def _input_port(self, port: Port) -> tuple[Port, tuple[Any, ...]]:
        """The port with names, and the placeholder's shape with symbols for the sizes that vary."""
        wanted = self._wanted.get(str(port.value.name))
        if wanted is None:
            return port, port.shape
        shape: list[Any] = list(wanted.default)
        for axis in wanted.varying:
            name = self._dimensions.get((str(port.value.name), axis))
            shape[axis] = self._symbol(name or f"{port.file_name}_size{axis}")
        sizes = tuple(self._symbols.get(size, size) for size in shape)
        return replace(port, shape=sizes, model_shape=sizes), tuple(shape)

    def _output_port(self, port: Port, var: Var) -> Port:
        sizes = tuple(
            self._symbols.get(size, f"{var.name}_size{axis}")
            if types.symbolic.is_symbolic(size)
            else int(size)
            for axis, size in enumerate(var.shape)
        )
        return replace(port, shape=sizes, model_shape=sizes if port.model_shape else ())

    def _symbol(self, name: str) -> Any:
        found = next((symbol for symbol, known in self._symbols.items() if known == name), None)
        if found is None:
            found = new_symbol()
            self._symbols[found] = name
        return found

    def _enter_inputs(self, function: Any) -> None:
        for places, old in zip(self._places, self._functions, strict=True):
            for name, var in old.inputs.items():
                places[var] = (name,)
        for name, var in self._functions[0].inputs.items():
            self._mapped[var] = function.inputs[name]

    def _operations(self) -> list[tuple[Any, ...]]:
        lists = [list(function.operations) for function in self._functions]
        for operations in zip(*lists, strict=False):
            first = operations[0]
            if len({operation.op_type for operation in operations}) > 1 or first.blocks:
                raise refusal(first, "its operations")
        if len({len(operations) for operations in lists}) > 1:
            shortest = min(lists, key=len)
            raise refusal(shortest[-1], "how many operations follow it")
        return list(zip(*lists, strict=True))

    def _rewrite(self, place: int, operations: tuple[Any, ...]) -> None:
        first = operations[0]
        for places, operation in zip(self._places, operations, strict=True):
            places.update((var, (place, index)) for index, var in enumerate(operation.outputs))
        if first.op_type == "const":
            if _same([operation.outputs[0].val for operation in operations]):
                with origin(origin_of(first)):
                    self._mapped[first.outputs[0]] = mb.const(val=first.val.val, name=first.name)
            return
        given, differing = self._arguments(operations)
        try:
            with origin(origin_of(first)):
                found = self._written(operations, given, differing)
        except EdgewiseError:
            raise
        except Exception as error:  # coremltools raises ValueError, TypeError, AssertionError, ...
            raise refusal(first, "its shape") from error
        results = found if isinstance(found, list | tuple) else (found,)
        self._mapped.update(zip(first.outputs, results, strict=True))

    def _written(
        self, operations: tuple[Any, ...], given: dict[str, Any], differing: list[str]
    ) -> Any:
        first = operations[0]
        if not differing and first.op_type != "slice_by_index":
            return getattr(mb, first.op_type)(**given, name=first.name)
        if first.op_type not in RULES:
            raise refusal(first, f"'{differing[0]}'")
        return RULES[first.op_type](Varied(operations, given))

    def _arguments(self, operations: tuple[Any, ...]) -> tuple[dict[str, Any], list[str]]:
        """The arguments in the new program, and the parameters that differ between sizes."""
        first = operations[0]
        given: dict[str, Any] = {}
        differing: list[str] = []
        for parameter, value in first.inputs.items():
            if value is None or parameter.startswith("_"):
                continue
            values = [operation.inputs.get(parameter) for operation in operations]
            if isinstance(value, list | tuple):
                columns = list(zip(*values, strict=True))
                if any(self._differ(column) for column in columns):
                    raise refusal(first, f"'{parameter}'")
                given[parameter] = [self._argument(first, item) for item in value]
            elif self._differ(values):
                differing.append(parameter)
            else:
                given[parameter] = self._argument(first, value)
        return given, differing

    def _argument(self, operation: Any, var: Var) -> Any:
        """Compressed constants want their parts as arrays."""
        stored = operation.op_type.startswith("constexpr_")
        return var.val if stored and var.val is not None else self._mapped[var]

    def _differ(self, values: Sequence[Any]) -> bool:
        """Whether an argument is not the same one at all sizes."""
        if any(value is None for value in values):
            return True
        found = {places[value] for places, value in zip(self._places, values, strict=True)}
        if len(found) > 1:
            raise refusal(values[0].op, "what it reads")
        return values[0] not in self._mapped


def _same(values: Sequence[Any]) -> bool:
    first = values[0]
    if isinstance(first, np.ndarray):
        return all(
            value.shape == first.shape and np.array_equal(value, first, equal_nan=_is_float(first))
            for value in values
        )
    return all(bool(value == first) for value in values)


def _is_float(array: Any) -> bool:
    return bool(array.dtype.kind == "f")
