"""The commands on finished files: merge packages, run one, inspect one.

Only typer is imported here: see `edgewise.cli`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgewise import cli_options as options
from edgewise.cli_run import run_command
from edgewise.cli_values import shapes


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
    device: Annotated[
        str,
        typer.Option(
            "--on",
            metavar="DEVICE",
            help="local (default), emulated:cortex-a53, ssh://user@host, adb:SERIAL, or a name.",
        ),
    ] = "local",
    verbose: options.Verbose = False,
) -> None:
    """Run a model file on arrays; packages without a Mac."""

    def action(terminal: Any) -> None:
        from edgewise.cli_execute import execute_command

        execute_command(terminal, path, arrays, output, function, threads, rounding, device)

    run_command(action, verbose=verbose)


def inspect(
    model: Annotated[
        str,
        typer.Argument(
            help="Model: .onnx, .ort, .tflite, .mlpackage, or whatever `edgewise export` takes."
        ),
    ],
    layers: Annotated[
        bool, typer.Option("--layers", help="Tell each layer: parameters, MACs, precision, memory.")
    ] = False,
    target: options.Targets = None,
    no_targets: Annotated[
        bool, typer.Option("--no-targets", help="Do not ask which targets take the model.")
    ] = False,
    input_shape: options.InputShapes = None,
    weights: options.Weights = None,
    signature: options.Signature = None,
    task: options.Task = None,
    exporter: options.Exporter = None,
    allow_code: options.AllowCode = False,
    json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Tell what a model is made of, and which targets take it."""

    def action(terminal: Any) -> None:
        from edgewise.cli_inspect import inspect_command, source_options
        from edgewise.targets import TARGETS

        sizes = {key[-1]: shape for key, shape in shapes(input_shape).items()}
        said = source_options(sizes, weights, signature, task, exporter, allow_code)
        asked = () if no_targets else target or tuple(TARGETS)
        inspect_command(terminal, model, said, asked, layers=layers, json=json)

    run_command(action, verbose=verbose)
