"""Run coremltools' passes without what it does around them for its own developers.

coremltools checks the whole program after each of some forty passes, writes it out for a debug log
before the first and after the last, and draws a progress bar; at the end `convert` collects
garbage, which walks through every object of the process. Together that is a third of the time of a
conversion of a large model, and nine tenths of that of a small one. Here a program is checked once,
behind the last pass of a pipeline.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from edgewise.targets.apple._coremltools import (
    PASS_REGISTRY,
    PassPipelineManager,
    Program,
    converters_entry,
)


@contextmanager
def passes_alone() -> Iterator[None]:
    """While it is entered, `coremltools.convert` does no more than it has to."""
    runner, collector = vars(PassPipelineManager)["apply_pipeline"], converters_entry.gc
    PassPipelineManager.apply_pipeline = staticmethod(_apply)
    converters_entry.gc = SimpleNamespace(collect=lambda: 0)
    try:
        yield
    finally:
        PassPipelineManager.apply_pipeline = runner
        converters_entry.gc = collector


def _apply(program: Program, pipeline: Any) -> None:
    pipeline.validate()
    for name in pipeline.passes:
        graph_pass = PASS_REGISTRY[name]
        graph_pass.set_options(pipeline.get_options(name))
        graph_pass(program)
    if pipeline.passes:
        program.validate(check_essential_scope=True)
