"""coremltools without its chatter: the one place that imports it.

At import coremltools warns about every library it has not been tested with and about each native
part that exists on Apple's systems only. None of it is for the users of Edgewise, so the
`coremltools` logger and Python's warnings are held back while it works.
"""

from __future__ import annotations

import functools
import logging
import os
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
_FRAMEWORKS = (
    "executorch",
    "libsvm",
    "sklearn",
    "tensorflow",
    "torch",
    "torchao",
    "transformers",
    "xgboost",
)


@contextmanager
def _tensorflow_is_silent() -> Iterator[None]:
    """TensorFlow, where the import brings it along, logs in C++; it asks once how much of it."""
    name = "TF_CPP_MIN_LOG_LEVEL"
    before = os.environ.get(name)
    os.environ.setdefault(name, "3")
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


with quiet(), _tensorflow_is_silent(), unneeded(*_FRAMEWORKS):
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
