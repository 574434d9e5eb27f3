"""The execution plan: built once from the program, then walked once per input.

Everything that depends only on constants happens here: compressed weights are expanded, each
operation gets its kernel, operations on constants alone are computed, and each intermediate value
learns the step after which it is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgewise.errors import ModelError
from edgewise.targets.apple._coremltools import types
from edgewise.targets.apple.interpreter.compressed import expand
from edgewise.targets.apple.interpreter.constant_names import part_names
from edgewise.targets.apple.interpreter.kernels import KERNELS
from edgewise.targets.apple.interpreter.kernels.base import Array, Node, Run
from edgewise.targets.apple.interpreter.nested import CAPTURED, Block, captured, runner
from edgewise.targets.apple.interpreter.numbers import (
    DICTIONARY,
    HELD_AS,
    LIST,
    MOVES_VALUES,
    TEXT,
    held,
    round_to_half,
)

#: gets name and value of a tensor; an array that it gives back takes the value's place
Observer = Callable[[str, Array], "Array | None"]
#: parameter -> name of a value, or names for a variadic parameter
Arguments = tuple[tuple[str, "str | tuple[str, ...]"], ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value of the program: MIL type name, and shape with text for symbolic dimensions."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One operation: `compute` maps its arguments to its outputs."""

    name: str
    op_type: str
    arguments: Arguments
    outputs: tuple[Tensor, ...]
    node: Node
    compute: Run
    round_half: bool  # results declared fp16 are rounded
    threads: int = 1
    release: tuple[str, ...] = ()  # values that no later step reads

    def run(self, values: dict[str, Any], observe: Observer | None = None) -> None:
        """Compute the outputs from `values` into `values`, then drop what is done with.

        Raises:
            ModelError: the kernel failed on these values.
        """
        inputs = {
            parameter: values[name] if isinstance(name, str) else [values[item] for item in name]
            for parameter, name in self.arguments
        }
        try:
            results = self.compute(inputs)
        except Exception as error:  # numpy raises many types on bad geometry; it is named here
            raise ModelError(
                "the operation failed", where=f"'{self.name}' {self.op_type}", why=str(error)
            ) from error
        arrays = results if isinstance(results, list | tuple) else (results,)
        for tensor, array in zip(self.outputs, arrays, strict=True):
            plain = tensor.dtype in HELD_AS
            values[tensor.name] = self._declared(np.asarray(array), tensor) if plain else array
            if observe is not None and plain:
                replaced = observe(tensor.name, values[tensor.name])
                values[tensor.name] = values[tensor.name] if replaced is None else replaced
        for name in self.release:
            del values[name]

    def _declared(self, array: Array, tensor: Tensor) -> Array:
        """The result in the type that the program declares for it."""
        kind = HELD_AS[tensor.dtype]
        if array.dtype != kind:
            array = array.astype(kind)
        rounds = self.round_half and tensor.dtype == "fp16"
        return round_to_half(array, self.threads) if rounds else array


@dataclass(frozen=True, slots=True)
class Plan:
    """Inputs, constants that steps read, steps in order, outputs, and what is kept."""

    inputs: tuple[Tensor, ...]
    constants: Mapping[str, Any]
    steps: tuple[Step, ...]
    outputs: tuple[Tensor, ...]
    states: tuple[Tensor, ...] = ()


def build_plan(function: Any, *, threads: int, rounding: bool) -> Plan:
    """Resolve every operation of a MIL function, all of which have kernels.

    Raises:
        ModelError: a parameter makes no sense, or a value has a type without tensors.
    """
    part_names(function)
    known = _Known({}, {})
    steps = _resolve(function.operations, known, threads, rounding)
    outputs = tuple(_tensor(variable) for variable in function.outputs)
    inputs = [v for v in function.inputs.values() if not types.is_state(v.sym_type)]
    states = [v for v in function.inputs.values() if types.is_state(v.sym_type)]
    plan = _finish(tuple(map(_tensor, inputs)), known.constants, steps, outputs)
    return replace(plan, states=tuple(map(_state, states)))


@dataclass(frozen=True, slots=True)
class _Known:
    """Values that are known before the program runs, by name, as kernels want them; and constants
    in their own types, which decompression reads."""

    constants: dict[str, Any]
    raw: dict[str, Any]


def _resolve(operations: Any, known: _Known, threads: int, rounding: bool) -> list[Step]:
    """The steps of a block; what depends on constants alone is computed into `known`."""
    constants, raw = known.constants, known.raw
    steps: list[Step] = []
    for operation in operations:
        if operation.op_type == "const":
            variable = operation.outputs[0]
            raw[variable.name] = variable.val
            if _is_plain(variable):
                constants[variable.name] = held(variable.val, _tensor(variable).dtype)
            elif types.is_list(variable.sym_type):
                constants[variable.name] = list(variable.val)
        elif operation.op_type.startswith("constexpr_"):
            for variable, value in zip(operation.outputs, expand(operation, raw), strict=True):
                raw[variable.name] = value
                constants[variable.name] = held(value, _tensor(variable).dtype)
        else:
            step = _step(operation, known, threads, rounding)
            if _is_known(step.arguments, constants):
                with np.errstate(all="ignore"):
                    step.run(constants)
            else:
                steps.append(step)
    return steps


def _block(block: Any, known: _Known, threads: int, rounding: bool) -> Block:
    """A block of `cond` or `while_loop`, which sees all that is known around it."""
    inner = _Known({**known.constants}, {**known.raw})
    steps = _resolve(block.operations, inner, threads, rounding)
    inputs = tuple(map(_tensor, block.inputs))
    plan = _finish(inputs, inner.constants, steps, tuple(map(_tensor, block.outputs)))
    own = {tensor.name for tensor in (*inputs, *(t for step in steps for t in step.outputs))}
    own |= inner.constants.keys()
    read = [name for step in steps for name in _names(step.arguments)]
    outputs = tuple(tensor.name for tensor in plan.outputs)
    return Block(
        tuple(tensor.name for tensor in inputs),
        tuple(name for name in dict.fromkeys([*read, *outputs]) if name not in own),
        plan.constants,
        plan.steps,
        outputs,
    )


def _step(operation: Any, known: _Known, threads: int, rounding: bool) -> Step:
    blocks = [_block(block, known, threads, rounding) for block in operation.blocks]
    arguments = _arguments(operation)
    if captured(blocks):
        arguments = (*arguments, (CAPTURED, captured(blocks)))
    constants = known.constants
    node = Node(
        name=operation.name,
        op_type=operation.op_type,
        parameters=frozenset(parameter for parameter, _ in arguments),
        constants={
            parameter: constants[name]
            for parameter, name in arguments
            if isinstance(name, str) and name in constants
        },
        threads=threads,
    )
    return Step(
        name=node.name,
        op_type=node.op_type,
        arguments=arguments,
        outputs=tuple(_tensor(variable) for variable in operation.outputs),
        node=node,
        compute=runner(node.op_type, blocks) if blocks else _kernel(node),
        round_half=rounding and node.op_type not in MOVES_VALUES,
        threads=threads,
    )


def _kernel(node: Node) -> Run:
    try:
        return KERNELS[node.op_type](node)
    except (KeyError, ValueError, TypeError) as error:  # a mode or a count that MIL does not define
        raise node.refuse(f"{type(error).__name__}: {error}") from error


def _arguments(operation: Any) -> Arguments:
    given = (
        (parameter, value)
        for parameter, value in operation.inputs.items()
        if value is not None and not parameter.startswith("_")
    )
    return tuple(
        (
            parameter,
            tuple(item.name for item in value) if isinstance(value, list | tuple) else value.name,
        )
        for parameter, value in given
    )


def _is_plain(variable: Any) -> bool:
    """A number, a tensor or a text; dictionaries and lists of texts are metadata."""
    return not types.is_list(variable.sym_type) and not types.is_dict(variable.sym_type)


def _tensor(variable: Any) -> Tensor:
    """A value's name, type and shape; inferred sizes may be whole numbers of any numeric type."""
    if types.is_dict(variable.sym_type):
        return Tensor(variable.name, DICTIONARY, ())
    if types.is_list(variable.sym_type):
        return Tensor(variable.name, LIST, ())
    dtype = "" if types.is_state(variable.sym_type) or not _is_plain(variable) else _type(variable)
    if dtype not in HELD_AS and dtype != TEXT:
        raise ModelError(
            "a value of a kind that cannot be executed here",
            where=f"'{variable.name}'",
            why=f"it is {dtype or 'a state'}",
            remedy="Run the package on a Mac.",
        )
    shape = (
        str(size) if types.symbolic.is_symbolic(size) else int(size) for size in variable.shape
    )
    return Tensor(variable.name, dtype, tuple(shape))


def _state(variable: Any) -> Tensor:
    kept = variable.sym_type.wrapped_type()
    dtype = str(types.builtin_to_string(kept.get_primitive()))
    return Tensor(variable.name, dtype, tuple(int(size) for size in kept.get_shape()))


def _type(variable: Any) -> str:
    return str(types.builtin_to_string(variable.dtype))


def _is_known(arguments: Arguments, constants: Mapping[str, Any]) -> bool:
    return all(name in constants for name in _names(arguments))


def _names(arguments: Arguments) -> list[str]:
    return [
        name for _, value in arguments for name in ((value,) if isinstance(value, str) else value)
    ]


def _finish(
    inputs: tuple[Tensor, ...],
    constants: Mapping[str, Any],
    steps: Sequence[Step],
    outputs: tuple[Tensor, ...],
) -> Plan:
    """Keep the constants that are read at run time, and say when each value is done with."""
    kept = {tensor.name for tensor in outputs}
    last_use: dict[str, int] = {}
    for position, step in enumerate(steps):
        for name in (*_names(step.arguments), *(tensor.name for tensor in step.outputs)):
            last_use[name] = position
    release: dict[int, list[str]] = {}
    for name, position in last_use.items():
        if name not in constants and name not in kept:
            release.setdefault(position, []).append(name)
    read = {name: value for name, value in constants.items() if name in last_use or name in kept}
    finished = tuple(
        replace(step, release=tuple(release.get(position, ())))
        for position, step in enumerate(steps)
    )
    return Plan(inputs, read, finished, outputs)
