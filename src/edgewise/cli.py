"""The `edgewise` command. Only typer is imported here: `--help` must answer at once.

Each command gathers its options into overrides of a project and hands over to
`edgewise.cli_commands`, which imports what the work needs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from edgewise import cli_options as options
from edgewise.cli_run import run_app, run_command

app = typer.Typer(
    name="edgewise",
    help="Turn a trained model into validated Android, Apple and ARM artifacts.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich doubles the time of --help
    context_settings={"help_option_names": ["-h", "--help"]},
)

Values = dict[tuple[str, ...], Any]


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


def _data_values(
    calibration: str | None = None,
    evaluation: str | None = None,
    metric: str | None = None,
    limit: int | None = None,
) -> Values:
    return {
        ("data", "calibration"): calibration,
        ("data", "evaluation"): evaluation,
        ("data", "metric"): metric,
        ("data", "limit"): limit,
    }


def _image_values(
    resize: str | None,
    crop: str | None,
    color: str | None,
    mean: str | None,
    std: str | None,
    layout: str | None,
) -> Values:
    from edgewise.cli_values import numbers

    return {
        ("data", "image", "resize"): numbers(resize, "--resize", int),
        ("data", "image", "crop"): numbers(crop, "--crop", int),
        ("data", "image", "color"): color,
        ("data", "image", "mean"): numbers(mean, "--mean", float),
        ("data", "image", "std"): numbers(std, "--std", float),
        ("data", "image", "layout"): layout,
    }


def _budget_values(
    accuracy_drop: float | None,
    min_accuracy: float | None,
    max_latency_ms: float | None,
    min_speedup: float | None,
    max_size_mb: float | None,
) -> Values:
    return {
        ("budget", "accuracy_drop"): accuracy_drop,
        ("budget", "min_accuracy"): min_accuracy,
        ("budget", "max_latency_ms"): max_latency_ms,
        ("budget", "min_speedup"): min_speedup,
        ("budget", "max_size_mb"): max_size_mb,
    }


@app.command()
def build(
    source: Annotated[
        str | None,
        typer.Argument(
            help="Project file (.toml), or a model: .onnx, .pt2, package.module:factory. "
            "Without it, ./edgewise.toml."
        ),
    ] = None,
    calibration: options.Calibration = None,
    evaluation: options.Evaluation = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="android, apple or arm; repeat for several. All by default."
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="w8a8 (default), fp16, fp32; or for one target, as in apple=fp16."
        ),
    ] = None,
    out: options.Out = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the artifacts.")] = None,
    metric: options.MetricName = None,
    limit: options.Limit = None,
    input_shape: options.InputShapes = None,
    accuracy_drop: options.AccuracyDrop = None,
    min_accuracy: options.MinAccuracy = None,
    max_latency_ms: options.MaxLatency = None,
    min_speedup: options.MinSpeedup = None,
    max_size_mb: options.MaxSize = None,
    method: options.Method = None,
    percentile: options.Percentile = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    color: options.Color = None,
    mean: options.Mean = None,
    std: options.Std = None,
    layout: options.Layout = None,
    threads: options.Threads = None,
    profile: options.Profile = False,
    json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Build and validate the artifacts of every target."""

    def action(terminal: Any) -> None:
        from edgewise.cli_commands import build_command
        from edgewise.cli_values import precisions, shapes

        values: Values = {
            ("model", "name"): name,
            ("output", "dir"): None if out is None else str(out),
            ("calibration", "method"): method,
            ("calibration", "percentile"): percentile,
            ("latency", "threads"): threads,
            ("latency", "profile"): profile or None,
            **shapes(input_shape),
            **_data_values(calibration, evaluation, metric, limit),
            **_image_values(resize, crop, color, mean, std, layout),
            **_budget_values(accuracy_drop, min_accuracy, max_latency_ms, min_speedup, max_size_mb),
        }
        build_command(terminal, source, values, target, precisions(precision), json=json)

    run_command(action, verbose=verbose)


@app.command()
def export(
    source: Annotated[str, typer.Argument(help="Model: .onnx, .pt2, package.module:factory.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="PATH", help="The hub model.")] = Path(
        "hub.onnx"
    ),
    input_shape: options.InputShapes = None,
    calibration: options.Calibration = None,
    project: options.Project = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    color: options.Color = None,
    mean: options.Mean = None,
    std: options.Std = None,
    layout: options.Layout = None,
    verbose: options.Verbose = False,
) -> None:
    """Bring a model to its canonical ONNX form."""

    def action(terminal: Any) -> None:
        from edgewise.cli_commands import export_command
        from edgewise.cli_values import shapes

        values: Values = {
            ("model", "source"): source,
            **shapes(input_shape),
            **_data_values(calibration),
            **_image_values(resize, crop, color, mean, std, layout),
        }
        export_command(terminal, project, values, out)

    run_command(action, verbose=verbose)


@app.command()
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
    verbose: options.Verbose = False,
) -> None:
    """Collect statistics once for all targets."""

    def action(terminal: Any) -> None:
        from edgewise.cli_commands import calibrate_command

        values = {
            ("model", "source"): str(model),
            **_data_values(calibration, limit=limit),
            **_image_values(resize, crop, color, mean, std, layout),
        }
        calibrate_command(terminal, project, values, out)

    run_command(action, verbose=verbose)


@app.command()
def quantize(
    model: Annotated[Path, typer.Argument(help="Hub model.")],
    statistics: Annotated[
        Path | None,
        typer.Argument(
            help="Statistics, from `edgewise calibrate`; not for w8 and w4, which need no data."
        ),
    ] = None,
    *,
    target: Annotated[str, typer.Option(metavar="NAME", help="android, apple or arm.")],
    precision: Annotated[str | None, typer.Option(metavar="NAME", help="w8a8 by default.")] = None,
    method: options.Method = None,
    percentile: options.Percentile = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="PATH", help="The QDQ model; qdq-<target>.onnx."),
    ] = None,
    project: options.Project = None,
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
        }
        quantize_command(terminal, project, values, statistics, target, out)

    run_command(action, verbose=verbose)


@app.command()
def emit(
    model: Annotated[Path, typer.Argument(help="QDQ model, or hub model for fp32 and fp16.")],
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
    project: options.Project = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    color: options.Color = None,
    mean: options.Mean = None,
    std: options.Std = None,
    layout: options.Layout = None,
    verbose: options.Verbose = False,
) -> None:
    """Write the artifact of one target."""

    def action(terminal: Any) -> None:
        from edgewise.cli_commands import emit_command

        values: Values = {
            ("model", "source"): str(model),
            ("model", "name"): name,
            ("targets", target, "precision"): precision,
            **_image_values(resize, crop, color, mean, std, layout),
        }
        emit_command(terminal, project, values, target, out)

    run_command(action, verbose=verbose)


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
    device: Annotated[
        str, typer.Option("--on", metavar="DEVICE", help="Device to run on.")
    ] = "local",
    metric: options.MetricName = None,
    limit: options.Limit = None,
    accuracy_drop: options.AccuracyDrop = None,
    min_accuracy: options.MinAccuracy = None,
    max_latency_ms: options.MaxLatency = None,
    min_speedup: options.MinSpeedup = None,
    max_size_mb: options.MaxSize = None,
    project: options.Project = None,
    resize: options.Resize = None,
    crop: options.Crop = None,
    color: options.Color = None,
    mean: options.Mean = None,
    std: options.Std = None,
    layout: options.Layout = None,
    threads: options.Threads = None,
    profile: options.Profile = False,
    json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Measure artifacts against models and budgets."""

    def action(terminal: Any) -> None:
        from edgewise.cli_validate import validate_command

        values: Values = {
            ("latency", "threads"): threads,
            ("latency", "profile"): profile or None,
            **_data_values(None, evaluation, metric, limit),
            **_image_values(resize, crop, color, mean, std, layout),
            **_budget_values(accuracy_drop, min_accuracy, max_latency_ms, min_speedup, max_size_mb),
        }
        validate_command(terminal, project, values, artifact, hub, reference, device, json=json)

    run_command(action, verbose=verbose)


@app.command()
def merge(
    packages: Annotated[
        list[str],
        typer.Argument(metavar="FUNCTION=PATH...", help="Core ML packages, by function name."),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="PATH", help="Folder of the new package.")
    ],
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the artifact.")] = "model",
    default: Annotated[
        str | None, typer.Option(metavar="NAME", help="Function opened without a name; the first.")
    ] = None,
    verbose: options.Verbose = False,
) -> None:
    """Merge Core ML packages into one with several functions."""

    def action(terminal: Any) -> None:
        from edgewise.cli_merge import merge_command

        merge_command(terminal, packages, name, default, out)

    run_command(action, verbose=verbose)


@app.command(name="run")
def execute(
    path: Annotated[
        Path, typer.Argument(help="Model file: .mlpackage, .tflite, .onnx; or its folder.")
    ],
    arrays: Annotated[
        Path | None,
        typer.Option(
            "--input",
            "-i",
            metavar="NPZ",
            help="One array per input, by name. Without it, inputs and outputs are listed.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="NPZ", help="Where outputs go.")
    ] = None,
    function: Annotated[
        str | None, typer.Option(metavar="NAME", help="Function of a package with several.")
    ] = None,
    threads: Annotated[int, typer.Option(metavar="N", help="Threads of the runtime.")] = 1,
    rounding: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Of a package: declared (default), or none: fp16 as float32."
        ),
    ] = "declared",
    verbose: options.Verbose = False,
) -> None:
    """Run a model file on arrays; packages without a Mac."""

    def action(terminal: Any) -> None:
        from edgewise.cli_execute import execute_command

        execute_command(terminal, path, arrays, output, function, threads, rounding)

    run_command(action, verbose=verbose)
