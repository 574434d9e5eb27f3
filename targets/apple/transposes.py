"""coremltools' pass `reduce_transposes`, with transpositions moved in the order of the program.

A transposition is moved down to where its inverse cancels it, or to the operations that need it.
coremltools (9.0) goes through those that meet in one operation in the order of a set of objects,
which differs from run to run, and numbers the transpositions that it makes by it: the same model
gave packages with different names inside.
"""

from __future__ import annotations

from typing import Any

from edgewise.targets.apple._coremltools import (
    AbstractGraphPass,
    Function,
    Program,
    TransposeOptimization,
    register_pass,
)


class _InOrder(TransposeOptimization):  # type: ignore[misc]  # coremltools has no types
    def _verify_cancellable_transposes(self) -> None:
        super()._verify_cancellable_transposes()
        found: dict[Any, Any] = self.transpose_op_to_cancel_ops
        self.transpose_op_to_cancel_ops: dict[Any, Any] = {
            operation: found[operation] for operation in self.block.operations if operation in found
        }


@register_pass(namespace="edgewise")
class reduce_transposes(AbstractGraphPass):  # type: ignore[misc]  # as passes are named
    def apply(self, program: Program) -> None:
        for function in program.functions.values():
            if not any(operation.blocks for operation in function.operations):
                _reduce(function)


def _reduce(function: Function) -> None:
    """coremltools takes on functions without control flow only."""
    with function:
        reduction = _InOrder(function)
        reduction.block_traversal()
        reduction.apply_transform()
