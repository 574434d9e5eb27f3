"""`edgewise diagnose`: which layers cost accuracy in integers, and why.

Only typer is imported here, as in `edgewise.cli`; the work begins in `diagnose_command`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgewise import cli_options as options
from edgewise.cli_run import run_command
from edgewise.cli_values import Values, data_values, image_values, settings


def diagnose(
    path: Annotated[
        Path,
        typer.Argument(
            help="A build's output folder, a project file (.toml), or a hub model with "
            "--statistics."
        ),
    ],
    calibration: options.Calibration = None,
    statistics: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Of a hub model, from `edgewise calibrate`."),
    ] = None,
    target: options.Targets = None,
    precision: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of a hub model: w8a8 by default.")
    ] = None,
    method: options.Method = None,
    percentile: options.Percentile = None,
    weight_method: options.WeightMethod = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="Samples to compare; 4 by default.")
    ] = None,
    top: Annotated[
        int | None, typer.Option(metavar="N", help="Layers to explain; 10 by default.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write everything as JSON.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Write a picture (.svg).")
    ] = None,
    project: options.Project = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    color: options.Color = None,
    mean: options.Mean = None,
    std: options.Std = None,
    layout: options.Layout = None,
    setting: options.Settings = None,
    verbose: options.Verbose = False,
) -> None:
    """Tell which layers cost accuracy in integers, worst first, and why."""

    def action(terminal: Any) -> None:
        from edgewise.diagnosis.command import Asked, diagnose_command

        values: Values = {
            ("calibration", "method"): method,
            ("calibration", "percentile"): percentile,
            ("calibration", "weights"): weight_method,
            **{("targets", name, "precision"): precision for name in target or ()},
            **data_values(calibration),
            **image_values(resize, crop, color, mean, std, layout),
            **settings(setting),
        }
        asked = Asked(path, project, statistics, tuple(target or ()), limit, top, json, plot)
        diagnose_command(terminal, asked, values)

    run_command(action, verbose=verbose)
