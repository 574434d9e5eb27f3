"""States: what a package keeps from run to run, such as the key-value caches of a decoder.

A model that passes its memory from call to call has it as an input and again as an output. As a
state, Core ML keeps it: the program reads the state where the model read the input, and writes the
state with what the model put out (`read_state` and `coreml_update_state`, iOS18). Neither remains
an input or output of the package.

Core ML's states are tensors of fixed shape in fp16, also in a package that computes in fp32: what
is kept is rounded to fp16 once per run (coremltools guide, "Stateful Models").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from edgewise.errors import ModelError, UsageError
from edgewise.graph import static_shape
from edgewise.targets.apple.deployment import Need

#: what the names of `states` say, in errors
_WHERE = "[targets.apple] states"
NEED = Need("a state", "iOS18")
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)


@dataclass(frozen=True, slots=True)
class State:
    """An input and an output of the model that are one state of the package."""

    input: ir.Value
    output: ir.Value


def states_of(graph: ir.Graph, wanted: Mapping[str, str]) -> tuple[State, ...]:
    """The states of a prepared model, in the order of its inputs.

    Args:
        wanted: name of an input -> name of the output that is its next value.

    Raises:
        UsageError: a name is none of the model's, or an output is named twice.
        ModelError: input and output differ, or Core ML cannot keep them.
    """
    inputs = {str(v.name): v for v in graph.inputs if v.name not in graph.initializers}
    outputs = {str(v.name): v for v in graph.outputs}
    for source, result in wanted.items():
        _known(source, "input", inputs)
        _known(result, "output", outputs)
    twice = sorted({name for name in wanted.values() if list(wanted.values()).count(name) > 1})
    if twice:
        raise UsageError(f"output '{twice[0]}' is the next value of two states", where=_WHERE)
    found = tuple(State(v, outputs[wanted[name]]) for name, v in inputs.items() if name in wanted)
    for state in found:
        _check(state)
    if found and len(found) == len(outputs):
        raise ModelError(
            "a package needs an output",
            where=_WHERE,
            why="every output of the model is a state",
            remedy="Leave one of them out.",
        )
    return found


def _known(name: str, kind: str, known: Mapping[str, ir.Value]) -> None:
    if name not in known:
        raise UsageError(
            f"the model has no {kind} '{name}'",
            where=_WHERE,
            remedy=f"Its {kind}s are {', '.join(known)}.",
        )


def _check(state: State) -> None:
    source, result = state.input, state.output
    shapes = static_shape(source), static_shape(result)
    why = ""
    if shapes[0] != shapes[1]:
        why = f"the input is {list(shapes[0])}, the output {list(shapes[1])}"
    elif source.dtype != result.dtype:
        why = f"the input is {source.dtype}, the output {result.dtype}"
    elif source.dtype not in _FLOATS:
        why = f"it is {source.dtype}, and Core ML keeps fp16"
    elif not shapes[0]:
        why = "it has no dimension"
    elif result in (source.graph.inputs if source.graph is not None else ()):
        why = "the model never changes it"
    if why:
        raise ModelError(
            f"'{source.name}' and '{result.name}' cannot be a state",
            where=_WHERE,
            why=why,
            remedy="Leave them out, or export the model with a cache of fixed shape in float32.",
        )
