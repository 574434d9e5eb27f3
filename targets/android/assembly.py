"""From a model and the user's options to the finished graph: all that comes before the bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgewise.graph import load, prepare
from edgewise.graph.expand import CannotExpand
from edgewise.targets.android.boundary import Ends
from edgewise.targets.android.dynamic_batch import (
    PROBED_BATCHES,
    batch_name,
    check_batch,
    free_batch,
)
from edgewise.targets.android.legalize import legalize
from edgewise.targets.android.lower import Lowered, lower
from edgewise.targets.android.options import DYNAMIC, AndroidOptions
from edgewise.targets.android.pixels import Folded, fold_preprocessing
from edgewise.targets.android.shared_memory import keep_apart
from edgewise.targets.android.tables import use_tables
from edgewise.targets.pictures import remaining_preprocessing

#: raises when a model does not fit what is asked for
Check = Callable[[ir.Model], None]


@dataclass(frozen=True, slots=True)
class Assembled:
    """`legal` is the model as it was lowered, `preprocessing` what is left to the application."""

    legal: ir.Model
    lowered: Lowered
    preprocessing: Mapping[str, Any] | None


def assemble(
    source: str | Path | ir.Model,
    options: AndroidOptions,
    preprocessing: Mapping[str, Any] | None,
    check: Check,
    *,
    admit: Check | None = None,
) -> Assembled:
    """Lower the model as the options say. The first refusal of a node is raised.

    Args:
        source: never changed.
        preprocessing: how a picture becomes an input of the model, where that is known.
        check: looks at the prepared model before it is lowered.
        admit: looks at the model before it is prepared.

    Raises:
        UsageError: an option does not fit the model.
        ModelError: the model cannot be prepared; UnsupportedOperator names the node.
    """
    model = load(source)
    if admit is not None:
        admit(model)
    assembled = _assembled(_Assembly(options, preprocessing, check), model, model is not source)
    keep_apart(assembled.lowered.graph)
    return assembled


def _assembled(assembly: _Assembly, model: ir.Model, owned: bool) -> Assembled:
    if assembly.options.batch != DYNAMIC:
        check_batch(model, assembly.options.batch)
        return assembly.at(model, assembly.options.batch, owned)
    name = batch_name(model)
    first, second = (
        assembly.at(model, batch, owned and batch == PROBED_BATCHES[-1]) for batch in PROBED_BATCHES
    )
    return replace(first, lowered=free_batch(first.lowered, second.lowered, name))


@dataclass(frozen=True, slots=True)
class _Assembly:
    """See `assemble`."""

    options: AndroidOptions
    preprocessing: Mapping[str, Any] | None
    check: Check

    def at(self, model: ir.Model, batch: int, owned: bool) -> Assembled:
        """The graph for one batch; `owned` models are changed instead of copied."""
        ends = Ends(self.options.io, self.options.layout)
        if not self.options.fold_preprocessing:
            legal, declined = legalize(model, batch=batch, owned=owned)
            self.check(legal)
            lowered = self._lowered(legal, declined, ends)
            return Assembled(legal, lowered, self.preprocessing)
        prepared = prepare(model, batch=batch, owned=owned)
        self.check(prepared)
        folded = fold_preprocessing(prepared, self.preprocessing)
        legal, declined = legalize(prepared, batch=batch, owned=True)
        lowered = _with_pixels(self._lowered(legal, declined, ends), folded)
        rest = remaining_preprocessing(self.preprocessing or {}, lowered.inputs[0].layout)
        return Assembled(legal, lowered, rest)

    def _lowered(
        self, legal: ir.Model, declined: Mapping[ir.Node, CannotExpand], ends: Ends
    ) -> Lowered:
        lowered = _complete(lower(legal, declined, ends=ends))
        if not self.options.is_for_npu:
            use_tables(lowered.graph)
        return lowered


def _complete(lowered: Lowered) -> Lowered:
    """The graph when every node could be lowered; raises the first refusal otherwise."""
    if not lowered.refusals:
        return lowered
    first, others = lowered.refusals[0], len(lowered.refusals) - 1
    if others:
        first.add_note(f"{others} more operators cannot be expressed; see check().")
    raise first


def _with_pixels(lowered: Lowered, folded: Folded) -> Lowered:
    """The signature of the input as the model knows it: what the file's pixels stand for."""
    inputs = tuple(
        replace(signature, hub_dtype=folded.hub_dtype, normalization=folded.normalization)
        for signature in lowered.inputs
    )
    return replace(lowered, inputs=inputs, findings=(*lowered.findings, *folded.findings))
