"""The commands of single stages: a model, statistics, a QDQ model and an artifact, by hand.

Only typer is imported here: see `edgewise.cli`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgewise import cli_options as options
from edgewise.cli_run import run_command
from edgewise.cli_values import (
    Values,
    data_values,
    image_values,
    settings,
    shapes,
    source_values,
)


def export(
    source: Annotated[
        str, typer.Argument(help="Model: a file or folder, or package.module:factory.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="PATH", help="The hub model.")] = Path(
        "hub.onnx"
    ),
    input_shape: options.InputShapes = None,
    weights: options.Weights = None,
    signature: options.Signature = None,
    task: options.Task = None,
    exporter: options.Exporter = None,
    allow_code: options.AllowCode = False,
    calibration: options.Calibration = None,
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
    """Bring a model to its canonical ONNX form."""

    def action(terminal: Any) -> None:
        from edgewise.cli_commands import export_command

        values: Values = {
            ("model", "source"): source,
            **shapes(input_shape),
            **source_values(weights, signature, task, exporter, allow_code),
            **data_values(calibration),
            **image_values(resize, crop, color, mean, std, layout),
            **settings(setting),
        }
        export_command(terminal, project, values, out)

    run_command(action, verbose=verbose)


def calibrate(
    model: Annotated[Path, typer.Argument(help="Hub model, from `edgewise export`.")],
    calibration: options.Calibration = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="PATH", help="The statistics.")
    ] = Path("statistics.npz"),
    limit: options.Limit = None,
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
    """Collect statistics once for all targets."""

    def action(terminal: Any) -> None:
        from edgewise.cli_commands import calibrate_command

        values = {
            ("model", "source"): str(model),
            **data_values(calibration, limit=limit),
            **image_values(resize, crop, color, mean, std, layout),
            **settings(setting),
        }
        calibrate_command(terminal, project, values, out)

    run_command(action, verbose=verbose)


def quantize(
    model: Annotated[Path, typer.Argument(help="Hub model.")],
    statistics: Annotated[
        Path | None,
        typer.Argument(
            help="Statistics, from `edgewise calibrate`; not for w8, w4 and palettes, which need "
            "no data."
        ),
    ] = None,
    *,
    target: Annotated[str, typer.Option(metavar="NAME", help="android, apple or arm.")],
    precision: Annotated[str | None, typer.Option(metavar="NAME", help="w8a8 by default.")] = None,
    method: options.Method = None,
    percentile: options.Percentile = None,
    weight_method: options.WeightMethod = None,
    repair: options.Repairs = None,
    calibration: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Data that the statistics come from, for repairs."),
    ] = None,
    limit: options.Limit = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="PATH", help="The QDQ model; qdq-<target>.onnx."),
    ] = None,
    project: options.Project = None,
    setting: options.Settings = None,
    verbose: options.Verbose = False,
) -> None:
    """Make the QDQ model of one target."""

    def action(terminal: Any) -> None:
        from edgewise.cli_commands import quantize_command

        values: Values = {
            ("model", "source"): str(model),
            ("targets", target, "precision"): precision,
            ("calibration", "method"): method,
            ("calibration", "percentile"): percentile,
            ("calibration", "weights"): weight_method,
            ("calibration", "repairs"): repair,
            **data_values(calibration, limit=limit),
            **settings(setting),
        }
        quantize_command(terminal, project, values, statistics, target, out)

    run_command(action, verbose=verbose)


def emit(
    model: Annotated[Path, typer.Argument(help="QDQ model; hub model for fp32 and fp16.")],
    target: Annotated[str, typer.Option(metavar="NAME", help="android, apple or arm.")],
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="w8a8 for a QDQ model and fp32 for a hub model by default."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="PATH", help="Folder of the artifact; <target>."),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the artifact.")] = None,
    labels: options.Labels = None,
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
    """Write the artifact of one target."""

    def action(terminal: Any) -> None:
        from edgewise.cli_commands import emit_command

        values: Values = {
            ("model", "source"): str(model),
            ("model", "name"): name,
            ("targets", target, "precision"): precision,
            **data_values(labels=labels),
            **image_values(resize, crop, color, mean, std, layout),
            **settings(setting),
        }
        emit_command(terminal, project, values, target, out)

    run_command(action, verbose=verbose)
