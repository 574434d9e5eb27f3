"""The metric of a model in its own framework, on the data of an `edgewise build` command.

The command line is read as `edgewise build` reads it; the source is opened as a build opens it, and
run by the framework that it was made with. Inputs and labels are those of the build's validation,
which the hub model in the build's output folder tells the form of. Prints one number.

    python benchmarks/source_metric.py OUT -- SOURCE --evaluation DATA ...
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from edgewise.cli import app
from edgewise.cli_values import (
    Values,
    data_values,
    image_values,
    settings,
    shapes,
    source_values,
)
from edgewise.config import Project
from edgewise.config_file import from_flags, load_project
from edgewise.exporters.source import open_source_model
from edgewise.graph import load
from edgewise.hub_data import open_for
from edgewise.plan import data_settings, metric_of, source_options
from edgewise.targets.validation.baseline import observe

_SOURCE = ("weights", "signature", "task", "exporter", "allow_code")
_DATA = ("calibration", "evaluation", "metric", "limit", "labels")
_IMAGE = ("resize", "crop", "color", "mean", "std", "layout")


def read_project(arguments: list[str]) -> Project:
    """What the options of `edgewise build` say of the model and the data."""
    command: Any = typer.main.get_command(app)
    given = command.commands["build"].make_context("build", list(arguments)).params
    values: Values = {
        ("model", "source"): given["source"],
        **shapes(given["input_shape"]),
        **source_values(**{name: given[name] for name in _SOURCE}),
        **data_values(**{name: given[name] for name in _DATA}),
        **image_values(**{name: given[name] for name in _IMAGE}),
        **settings(given["setting"]),
    }
    return load_project(None, from_flags(values))


def measure(project: Project, out: Path) -> float:
    """The metric of the original, over the whole evaluation data."""
    hub = load(out / "stages" / "hub.onnx")
    opened = open_source_model(project.model.source, source_options(project))
    metric = metric_of(project.data)
    if project.data.evaluation is None or metric is None:
        raise SystemExit("the command names no labelled data and metric")
    source = open_for(
        hub, project.data.evaluation, data_settings(project.data), limit=project.data.limit
    )
    run, names = opened.open_runner(), [str(value.name) for value in hub.graph.outputs]
    records = [
        observe(metric, dict(zip(names, run(sample.feeds), strict=True)), sample)
        for sample in source
    ]
    return metric.compute(records)


def main() -> None:
    out, dashes, *arguments = sys.argv[1:]
    if dashes != "--":
        raise SystemExit(__doc__)
    sys.path.insert(0, str(Path.cwd()))
    print(measure(read_project(arguments), Path(out)))


if __name__ == "__main__":
    main()
