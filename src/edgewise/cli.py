"""The `edgewise` command. Only typer is imported here: `--help` must answer at once.

Each command gathers its options into overrides of a project and hands over to
`edgewise.cli_commands`, which imports what the work needs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from edgewise import cli_devices, cli_diagnose, cli_emulator, cli_files, cli_stages
from edgewise import cli_options as options
from edgewise.cli_run import run_app, run_command
from edgewise.cli_values import (
    Values,
    budget_values,
    data_values,
    image_values,
    precisions,
    settings,
    shapes,
    source_values,
)

app = typer.Typer(
    name="edgewise",
    help="Turn a trained model into validated Android, Apple and ARM artifacts.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich doubles the time of --help
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run() -> NoReturn:
    """The console script."""
    raise SystemExit(run_app(app))


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"edgewise {version('edgewise')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    pass


@app.command()
def build(
    source: Annotated[
        str | None,
        typer.Argument(
            help="Project file (.toml), or a model: a file or folder, or package.module:factory. "
            "Without it, ./edgewise.toml."
        ),
    ] = None,
    calibration: options.Calibration = None,
    evaluation: options.Evaluation = None,
    target: options.Targets = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="w8a8 (default), w8a16, w8, w4, palette8, palette6, palette4, fp16, fp32; or for "
            "one target, as in apple=fp16.",
        ),
    ] = None,
    out: options.Out = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the artifacts.")] = None,
    metric: options.MetricName = None,
    limit: options.Limit = None,
    labels: options.Labels = None,
    input_shape: options.InputShapes = None,
    weights: options.Weights = None,
    signature: options.Signature = None,
    task: options.Task = None,
    exporter: options.Exporter = None,
    allow_code: options.AllowCode = False,
    accuracy_drop: options.AccuracyDrop = None,
    min_accuracy: options.MinAccuracy = None,
    max_latency_ms: options.MaxLatency = None,
    min_speedup: options.MinSpeedup = None,
    max_size_mb: options.MaxSize = None,
    max_instructions: options.MaxInstructions = None,
    method: options.Method = None,
    percentile: options.Percentile = None,
    weight_method: options.WeightMethod = None,
    repair: options.Repairs = None,
    search: options.Search = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    color: options.Color = None,
    mean: options.Mean = None,
    std: options.Std = None,
    layout: options.Layout = None,
    devices: options.Devices = None,
    threads: options.Threads = None,
    profile: options.Profile = False,
    instructions: options.Instructions = False,
    baseline: options.InstructionBaseline = None,
    json: options.Json = False,
    setting: options.Settings = None,
    verbose: options.Verbose = False,
) -> None:
    """Build and validate the artifacts of every target."""

    def action(terminal: Any) -> None:
        from edgewise.cli_commands import build_command

        values: Values = {
            ("model", "name"): name,
            ("output", "dir"): None if out is None else str(out),
            ("calibration", "method"): method,
            ("calibration", "percentile"): percentile,
            ("calibration", "weights"): weight_method,
            ("calibration", "repairs"): repair,
            ("search", "max_minutes"): search,
            ("latency", "threads"): threads,
            ("latency", "profile"): profile or None,
            ("latency", "instructions"): instructions or None,
            ("latency", "baseline"): baseline,
            **shapes(input_shape),
            **source_values(weights, signature, task, exporter, allow_code),
            **data_values(calibration, evaluation, metric, limit, labels),
            **image_values(resize, crop, color, mean, std, layout),
            **budget_values(
                accuracy_drop,
                min_accuracy,
                max_latency_ms,
                min_speedup,
                max_size_mb,
                max_instructions,
            ),
            **precisions(precision),
            **settings(setting),
        }
        build_command(terminal, source, values, target, devices, json=json)

    run_command(action, verbose=verbose)


for _command in (cli_stages.export, cli_stages.calibrate, cli_stages.quantize, cli_stages.emit):
    app.command()(_command)


@app.command()
def validate(
    artifact: Annotated[
        Path, typer.Argument(help="A build's output folder, an artifact, or its folder.")
    ],
    evaluation: options.Evaluation = None,
    hub: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Hub model; ../stages/hub.onnx by default.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Model it was emitted from; ../stages/qdq-<target>.onnx."
        ),
    ] = None,
    devices: options.Devices = None,
    target: options.Targets = None,
    metric: options.MetricName = None,
    limit: options.Limit = None,
    accuracy_drop: options.AccuracyDrop = None,
    min_accuracy: options.MinAccuracy = None,
    max_latency_ms: options.MaxLatency = None,
    min_speedup: options.MinSpeedup = None,
    max_size_mb: options.MaxSize = None,
    max_instructions: options.MaxInstructions = None,
    project: options.Project = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    color: options.Color = None,
    mean: options.Mean = None,
    std: options.Std = None,
    layout: options.Layout = None,
    threads: options.Threads = None,
    profile: options.Profile = False,
    instructions: options.Instructions = False,
    baseline: options.InstructionBaseline = None,
    json: options.Json = False,
    setting: options.Settings = None,
    verbose: options.Verbose = False,
) -> None:
    """Measure artifacts against models and budgets."""

    def action(terminal: Any) -> None:
        from edgewise.cli_validate import validate_command

        values: Values = {
            ("latency", "threads"): threads,
            ("latency", "profile"): profile or None,
            ("latency", "instructions"): instructions or None,
            ("latency", "baseline"): baseline,
            **data_values(None, evaluation, metric, limit),
            **image_values(resize, crop, color, mean, std, layout),
            **budget_values(
                accuracy_drop,
                min_accuracy,
                max_latency_ms,
                min_speedup,
                max_size_mb,
                max_instructions,
            ),
            **settings(setting),
        }
        models = hub, reference
        validate_command(terminal, project, values, artifact, models, devices, target, json=json)

    run_command(action, verbose=verbose)


app.command()(cli_diagnose.diagnose)
app.command()(cli_files.merge)
app.command(name="run")(cli_files.execute)
app.command()(cli_files.inspect)
app.add_typer(cli_devices.devices)
app.add_typer(cli_emulator.emulator)
