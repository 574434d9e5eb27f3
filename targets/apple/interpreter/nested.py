"""Operations that hold programs of their own: `cond` and `while_loop`.

coremltools MIL ops: iOS15/control_flow.py. A block sees every value of the blocks around it. Which
of them it reads is told to the operation as one more argument, so that to the plan it is an
operation like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from edgewise.targets.apple.interpreter.kernels.base import Array, Inputs, Result, Run

#: they hold a block for true and one for false; the condition and the body
BLOCK_OPERATIONS = frozenset(("cond", "while_loop"))
#: the added argument: what the blocks read from around
CAPTURED = "captured"


class Runnable(Protocol):
    """A step of a plan."""

    def run(self, values: dict[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class Block:
    """Steps that make `outputs` of `inputs`, `captured` values and constants, all by name."""

    inputs: tuple[str, ...]
    captured: tuple[str, ...]
    constants: Mapping[str, Any]
    steps: Sequence[Runnable]
    outputs: tuple[str, ...]

    def run(self, around: Mapping[str, Any], given: Sequence[Array] = ()) -> list[Array]:
        values = {**self.constants, **{name: around[name] for name in self.captured}}
        values.update(zip(self.inputs, given, strict=True))
        for step in self.steps:
            step.run(values)
        return [values[name] for name in self.outputs]


def captured(blocks: Sequence[Block]) -> tuple[str, ...]:
    """What the blocks read from around, each name once."""
    return tuple(dict.fromkeys(name for block in blocks for name in block.captured))


def runner(op_type: str, blocks: Sequence[Block]) -> Run:
    """What the operation computes."""
    return {"cond": _cond, "while_loop": _while_loop}[op_type](*blocks)


def _around(names: Sequence[str], inputs: Inputs) -> dict[str, Array]:
    return dict(zip(names, inputs.get(CAPTURED, ()), strict=True))


def _cond(true: Block, false: Block) -> Run:
    names = captured([true, false])

    def run(inputs: Inputs) -> Result:
        chosen = true if np.asarray(inputs["pred"]).item() else false
        return chosen.run(_around(names, inputs))

    return run


def _while_loop(condition: Block, body: Block) -> Run:
    names = captured([condition, body])

    def run(inputs: Inputs) -> Result:
        around = _around(names, inputs)
        carried = list(inputs["loop_vars"])
        while np.asarray(condition.run(around, carried)[0]).item():
            carried = body.run(around, carried)
        return carried

    return run
