"""Operations without a kernel, computed by coremltools' own constant folding.

The operation is rebuilt on constants in a program of its own, and the value that coremltools
infers for it is the result. Slow, but it is the reference implementation of Apple's own tool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from coremltools.converters.mil.mil import Operation

from edgewise.errors import ModelError
from edgewise.targets.apple._coremltools import Builder, Function, quiet
from edgewise.targets.apple.interpreter.kernels.base import Array, Inputs, Node, Run


def infers_values(operation: Any) -> bool:
    """Whether coremltools can compute this kind of operation at all."""
    return type(operation).value_inference is not Operation.value_inference


def fallback(node: Node, opset: Any) -> Run:
    """A kernel that asks coremltools. Its error is ModelError when no value comes back."""
    rebuild: Callable[..., Any] = getattr(Builder, node.op_type)

    def run(inputs: Inputs) -> Sequence[Array]:
        with quiet(), Function({}, opset_version=opset):
            out = rebuild(**{name: _constant(value) for name, value in inputs.items()})
        outputs = out if isinstance(out, list | tuple) else [out]
        if any(output.val is None for output in outputs):
            raise ModelError("coremltools infers no value", where=f"'{node.name}' {node.op_type}")
        return [np.asarray(output.val) for output in outputs]

    return run


def _constant(value: Any) -> Any:
    """What the builder takes: scalars as numpy scalars, not as arrays of rank 0."""
    if isinstance(value, list):
        return [_constant(item) for item in value]
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value
