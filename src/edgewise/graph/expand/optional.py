"""Optionals that are plain tensors: they are always there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import CannotExpand, Expansion


def expand_has_element(e: Expansion) -> Sequence[ir.Value]:
    """True where a tensor is given, false where no input is (ONNX operator OptionalHasElement)."""
    if e.has(0) and not isinstance(e.input(0).type, ir.TensorType):
        raise CannotExpand("its input is an optional", "Export the model with plain tensors.")
    return [e.array(e.has(0), np.bool_)]


def expand_get_element(e: Expansion) -> Sequence[ir.Value]:
    """The tensor itself (ONNX operator OptionalGetElement)."""
    if not isinstance(e.input(0).type, ir.TensorType):
        raise CannotExpand("its input is an optional", "Export the model with plain tensors.")
    return [e.input(0)]
