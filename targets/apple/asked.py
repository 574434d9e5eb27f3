"""A model lowered as a project asks for it: its sizes, picture, states, labels and oldest system.

`check` does it before the data are read for scales, on the float model, and `emit` on the model
that is written: what a project asks and cannot have is told before any work is done for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgewise.calibration.scheme import Scheme
from edgewise.graph import prepare
from edgewise.targets.apple.classifier import Classifier, classifier_of
from edgewise.targets.apple.images import Picture, take_picture
from edgewise.targets.apple.interface import interface_needs
from edgewise.targets.apple.legalize import LegalModel, legalize
from edgewise.targets.apple.options import AppleOptions
from edgewise.targets.apple.scheme import format_needs
from edgewise.targets.base import EmitOptions

if TYPE_CHECKING:
    from edgewise.targets.apple.flexible.sizes import Shape
    from edgewise.targets.apple.oldest_system import Fitted


@dataclass(frozen=True, slots=True)
class Asked:
    """The precision, and the options as checked values and as they were given."""

    scheme: Scheme
    chosen: AppleOptions
    given: EmitOptions

    @property
    def is_plain(self) -> bool:
        """Whether nothing is asked that depends on the model, or that it must agree with."""
        chosen = self.chosen
        interface = chosen.fold_preprocessing or chosen.classifier or chosen.states
        return not (interface or chosen.shapes or chosen.deployment_target)


@dataclass(frozen=True, slots=True)
class Made:
    """The program, and what stands around it."""

    legal: LegalModel
    fitted: Fitted
    picture: Picture | None
    classifier: Classifier | None


def legal_for_check(model: ir.Model, asked: Asked | None) -> LegalModel:
    """The model as it will be lowered, at the default sizes of those asked. Never changes `model`.

    Raises:
        UsageError: `shapes` names what the model has not.
        ModelError: the model cannot be prepared.
    """
    # coremltools takes seconds to import: only what writes a package pays for it
    from edgewise.targets.apple.table import is_known

    wanted = {} if asked is None else asked.chosen.shapes
    if wanted:
        from edgewise.targets.apple.flexible.lowering import named_dimensions

        named_dimensions(model, wanted)
    defaults = {name: shape.default for name, shape in wanted.items()}
    return legalize(model, is_known, input_shapes=defaults)


def check_asked(model: ir.Model, asked: Asked) -> None:
    """Raise what `lower_as_asked` would raise of a model whose operators can all be lowered.

    A float model may stand for the quantized one that will be made of it.
    """
    if not asked.is_plain:
        lower_as_asked(model, asked)


def lower_as_asked(
    model: ir.Model,
    asked: Asked,
    *,
    owned: bool = False,
    admit: Callable[[ir.Model], None] | None = None,
) -> Made:
    """The program of a model.

    Args:
        owned: the model may be changed.
        admit: raises where the legal model is not to be lowered.

    Raises:
        UsageError: an option names what the model has not, or lacks labels or preprocessing.
        UnsupportedOperator: Core ML cannot express a node, or not for all sizes.
        ModelError: the model cannot be as an option asks, or needs a newer system.
    """
    chosen, picture = asked.chosen, None
    if chosen.shapes:
        legal, fitted = _for_sizes(model, asked)
        if admit is not None:
            admit(legal.model)
    else:
        legal, picture = _ready(model, asked, owned)
        if admit is not None:
            admit(legal.model)
        from edgewise.targets.apple.oldest_system import lower_for_oldest

        needs = [*format_needs(asked.scheme), *interface_needs(legal)]
        fitted = lower_for_oldest(legal, needs, chosen.deployment_target)
    classifier = None
    if chosen.classifier:
        output = None if chosen.classifier is True else chosen.classifier
        classifier = classifier_of(fitted.program, asked.given.labels, output)
    return Made(legal, fitted, picture, classifier)


def _ready(model: ir.Model, asked: Asked, owned: bool) -> tuple[LegalModel, Picture | None]:
    """The model as it will be lowered, and the picture that it takes where that is wanted."""
    from edgewise.targets.apple.table import is_known

    picture = None
    if asked.chosen.fold_preprocessing:
        model, owned = prepare(model, batch=1, owned=owned), True
        picture = take_picture(model, asked.given.preprocessing)
    return legalize(model, is_known, owned=owned, states=asked.chosen.states), picture


def _for_sizes(model: ir.Model, asked: Asked) -> tuple[LegalModel, Fitted]:
    """The model as it will be lowered at its default sizes, and one program for all."""
    from edgewise.targets.apple.flexible.lowering import lower_for_sizes, named_dimensions
    from edgewise.targets.apple.table import is_known

    def legal_at(shapes: Mapping[str, Shape]) -> LegalModel:
        return legalize(model, is_known, input_shapes=shapes)

    wanted = asked.chosen.shapes
    dimensions = named_dimensions(model, wanted)
    needs = format_needs(asked.scheme)
    return lower_for_sizes(legal_at, wanted, needs, asked.chosen.deployment_target, dimensions)
