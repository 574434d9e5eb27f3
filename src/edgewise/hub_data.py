"""The data that feed a hub model, prepared as its source told and as the user says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgewise.data import DataSource, InputSpec, Sample, input_specs, open_source
from edgewise.data.notes import notes_of
from edgewise.data.preprocessing import (
    DataSettings,
    Preprocessing,
    as_dict,
    companions,
    for_inputs,
)
from edgewise.data.text import TextPreprocessing
from edgewise.exporters import ExampleOpener
from edgewise.graph import OrtSession


def open_for(
    hub: ir.Model,
    spec: str | Path,
    settings: DataSettings,
    *,
    limit: int | None = None,
    require_labels: bool = False,
) -> DataSource:
    """The data that `spec` names, for a hub model that may carry notes; see `open_source`."""
    notes = notes_of(hub)
    return open_source(
        spec,
        inputs=input_specs(hub),
        preprocessing=settings.over(notes.preprocessing),
        columns=settings.columns,
        model_labels=notes.labels,
        open_run=lambda: OrtSession(hub).run,
        limit=limit,
        require_labels=require_labels,
    )


def examples(
    spec: str | Path | DataSource | None, settings: DataSettings, limit: int
) -> ExampleOpener | None:
    """What opens real inputs for the parity check, once the inputs are known; None without data."""
    if spec is None:
        return None

    def opened(
        inputs: Sequence[InputSpec], told: Preprocessing | None
    ) -> DataSource | Sequence[Sample]:
        if not isinstance(spec, str | Path):
            return spec
        chosen = settings.over(told)
        if isinstance(chosen, TextPreprocessing) and chosen.states:
            return ()  # the caches of a step come from the very model that is compared
        return open_source(
            spec, inputs=inputs, preprocessing=chosen, columns=settings.columns, limit=limit
        )

    return opened


def for_application(
    model: ir.Model, settings: DataSettings
) -> tuple[dict[str, Any] | None, dict[str, bytes]]:
    """What an application has to do before it runs an artifact of the model, and the files that it
    needs for that, by name."""
    settled = for_inputs(settings.over(notes_of(model).preprocessing), input_specs(model))
    return None if settled is None else as_dict(settled), companions(settled)
