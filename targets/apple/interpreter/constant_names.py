"""A name of its own for each constant of a program that was read.

coremltools' reader makes names up for literals, such as a classifier's labels, and may take one
that a value of the file has. Values are told apart by name here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def part_names(function: Any) -> None:
    """Rename constants, in place, whose name another value of the function has."""
    operations = list(_operations(function.operations))
    taken = set(function.inputs)
    for operation in operations:
        taken |= {variable.name for block in operation.blocks for variable in block.inputs}
        if operation.op_type != "const":
            taken |= {variable.name for variable in operation.outputs}
    for operation in operations:
        if operation.op_type == "const":
            variable = operation.outputs[0]
            while variable.name in taken:
                variable.name += "'"
            taken.add(variable.name)


def _operations(operations: Any) -> Iterator[Any]:
    for operation in operations:
        yield operation
        for block in operation.blocks:
            yield from _operations(block.operations)
