"""The model lowered for each of several sizes, and the one program of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from edgewise.errors import UsageError
from edgewise.targets.apple.deployment import Need, System
from edgewise.targets.apple.flexible.sizes import FlexibleShape, Shape, proving_shapes
from edgewise.targets.apple.flexible.unify import unify
from edgewise.targets.apple.legalize import LegalModel
from edgewise.targets.apple.lower import lower
from edgewise.targets.apple.oldest_system import Fitted, lower_for_oldest

#: `upsample_bilinear` with half-pixel centres
_RESIZE_NEED = Need("a resize of inputs of several sizes", "iOS16")


def lower_for_sizes(
    legal_at: Callable[[Mapping[str, Shape]], LegalModel],
    wanted: Mapping[str, FlexibleShape],
    needs: Sequence[Need],
    demanded: System | None,
    dimensions: Mapping[tuple[str, int], str],
) -> tuple[LegalModel, Fitted]:
    """The legal model at the default sizes, and the program for all.

    Args:
        legal_at: legalizes the model for static shapes of some inputs.
        dimensions: see `unify`.

    Raises:
        UnsupportedOperator: a node has no expression in Core ML, or none for all sizes.
        ModelError: the model does not take one of the shapes, or the demanded system is too old.
    """
    shapes = proving_shapes(wanted)
    first = legal_at(shapes[0])
    if any(node.op_type == "Resize" for node in first.model.graph):
        needs = [*needs, _RESIZE_NEED]
    fitted = lower_for_oldest(first, needs, demanded)
    others = [lower(legal_at(chosen), fitted.program.system) for chosen in shapes[1:]]
    program = unify([fitted.program, *others], wanted, dimensions)
    return first, replace(fitted, program=program)


def named_dimensions(
    model: ir.Model, wanted: Mapping[str, FlexibleShape]
) -> dict[tuple[str, int], str]:
    """Input and axis -> name of its size in the model, where it has one.

    Raises UsageError for shapes of an input that the model has not, or of another rank.
    """
    inputs = {str(value.name): value for value in model.graph.inputs}
    found: dict[tuple[str, int], str] = {}
    for name, shape in wanted.items():
        if name not in inputs:
            raise UsageError(
                f"the model has no input '{name}'",
                where="[targets.apple] shapes",
                why=f"its inputs are {', '.join(sorted(inputs))}",
            )
        known = inputs[name].shape
        if known is not None and len(known) != len(shape.default):
            raise UsageError(
                f"input '{name}' has {len(known)} axes, and not {len(shape.default)}",
                where="[targets.apple] shapes",
            )
        for axis, size in enumerate(known or ()):
            if isinstance(size, ir.SymbolicDim) and size.value is not None:
                found[name, axis] = str(size.value)
    return found
