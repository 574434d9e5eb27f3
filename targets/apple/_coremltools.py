"""coremltools without its chatter: the one place that imports it.

At import coremltools warns about every library it has not been tested with and about each native
part that exists on Apple's systems only. None of it is for the users of Edgewise, so the
`coremltools` logger and Python's warnings are held back while it works.
"""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from edgewise.imports import unneeded

__all__ = [
    "PASS_REGISTRY",
    "AbstractGraphPass",
    "Builder",
    "Function",
    "PassPipeline",
    "PassPipelineManager",
    "Program",
    "ScopeInfo",
    "ScopeSource",
    "TransposeOptimization",
    "Var",
    "converters_entry",
    "ct",
    "new_symbol",
    "quiet",
    "register_pass",
    "types",
]


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what coremltools logs below ERROR and every Python warning."""
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


#: the frameworks that coremltools converts from, which Edgewise does not need it for
_FRAMEWORKS = ("executorch", "libsvm", "sklearn", "tensorflow", "torch", "torchao", "xgboost")

with quiet(), unneeded(*_FRAMEWORKS):
    import coremltools as ct
    from coremltools.converters import _converters_entry as converters_entry
    from coremltools.converters.mil.mil import Builder, Function, Program, Var, types
    from coremltools.converters.mil.mil import get_new_symbol as new_symbol
    from coremltools.converters.mil.mil.ops.defs.iOS15 import tensor_operation
    from coremltools.converters.mil.mil.passes.defs.optimize_repeat_ops import (
        _TransposeOptimization as TransposeOptimization,
    )
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.pass_pipeline import (
        PassPipeline,
        PassPipelineManager,
    )
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY, register_pass
    from coremltools.converters.mil.mil.scope import ScopeInfo, ScopeSource


def _known_whole(infer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Of a tensor that is joined from known and unknown elements coremltools (9.0) keeps the known
    ones, to find shapes; what is taken out of it later it holds for integers. Shapes are integers:
    of fractions nothing is known unless all is."""

    @functools.wraps(infer)
    def value(concat: Any) -> Any:
        parts = concat.values
        is_float = parts[0].dtype in (types.fp16, types.fp32)
        return None if is_float and any(part.val is None for part in parts) else infer(concat)

    return value


tensor_operation.concat.value_inference = _known_whole(tensor_operation.concat.value_inference)


def _numbers_or_integers(infer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The value of joined tensors, unless it has symbols in place of floats.

    coremltools (9.0) joins known elements and a symbol for each unknown one. That serves shapes;
    but what is then picked from the known ones is folded to integers, whatever its type was.
    """

    @functools.wraps(infer)
    def infer_some(operation: Any) -> Any:
        found = infer(operation)
        has_symbols = getattr(getattr(found, "dtype", None), "kind", "") == "O"
        return None if has_symbols and operation.values[0].dtype != types.int32 else found

    return infer_some


for _joining in (tensor_operation.concat, tensor_operation.stack):
    _joining.value_inference = _numbers_or_integers(_joining.value_inference)
