"""The options that several commands share, each with its one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_DATA = "a folder of pictures, a labels CSV, an .npz, or package.module:function"

Project = Annotated[
    Path | None,
    typer.Option(
        "--project", "-p", metavar="FILE", help="Project file to take settings from; flags win."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any key of the project file, as in targets.apple.deployment_target=iOS17; repeat "
        "for several.",
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show every step in detail.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", metavar="PATH", help="Where to write.")]

Calibration = Annotated[
    str | None,
    typer.Option(metavar="DATA", help=f"Data to choose scales from, labels not needed: {_DATA}."),
]
Evaluation = Annotated[
    str | None, typer.Option(metavar="DATA", help=f"Labelled data to measure accuracy on: {_DATA}.")
]
MetricName = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        help="top1 (default), top5, mse, spearman, map50, map, package.module:function, or none.",
    ),
]
Limit = Annotated[
    int | None, typer.Option(metavar="N", help="Use at most this many samples of each source.")
]
Labels = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Names of the classes, one a line; without it, the class folders of the data.",
    ),
]
InputShapes = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        metavar="NAME=SHAPE",
        help="name=1,3,224,224; a name such as batch keeps a dimension free; repeat for several "
        "inputs.",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="State dict for the PyTorch module that the source makes."),
]
Signature = Annotated[
    str | None, typer.Option(metavar="NAME", help="Which signature of a SavedModel or TFLite file.")
]
Task = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="What a Hugging Face model is for: image-classification."),
]
Exporter = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Of PyTorch: auto (default: dynamo, then torchscript) or either one."
    ),
]
AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code",
        help="Load files that hold code (pickles, Lambda layers): whoever made such a file can "
        "run anything on this machine.",
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="How ranges are chosen: minmax (default), moving_average, percentile, entropy or mse.",
    ),
]
WeightMethod = Annotated[
    str | None,
    typer.Option(
        "--weight-method",
        metavar="NAME",
        help="How scales of weights are chosen: minmax (default) or mse.",
    ),
]
Repairs = Annotated[
    list[str] | None,
    typer.Option(
        "--repair",
        metavar="NAME",
        help="Done to the float model before it is quantized: equalize, smooth_quant, ada_round, "
        "bias_correction. Repeatable, in this order.",
    ),
]
Percentile = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Share of values kept by method percentile, in percent."),
]
Search = Annotated[
    float | None,
    typer.Option(
        "--search",
        metavar="MINUTES",
        help="Look that long for the fastest quantization that keeps the accuracy budget.",
    ),
]
Devices = Annotated[
    list[str] | None,
    typer.Option(
        "--on",
        metavar="DEVICE",
        help="Device to validate on: local (default), emulated:cortex-a53, ssh://user@host, "
        "adb:SERIAL, mac:user@host, or a name from `edgewise devices`; repeat for several.",
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="NAME",
        help="android, apple or arm; repeat for several. All by default.",
    ),
]
Profile = Annotated[
    bool,
    typer.Option("--profile", help="Time the parts of each artifact, too; takes a few seconds."),
]
Instructions = Annotated[
    bool,
    typer.Option(
        "--instructions",
        help="Count the instructions of an inference on emulated devices "
        "(`edgewise emulator install --counter`).",
    ),
]
InstructionBaseline = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        metavar="PATH",
        help="An earlier report.json: its instruction counts must not be exceeded by 0.5 %, or "
        "[budget] max_instructions_rise.",
    ),
]
Threads = Annotated[
    int | None, typer.Option(metavar="N", help="Threads while latency is measured.")
]

Resize = Annotated[
    str | None,
    typer.Option(metavar="PIXELS", help="Pixels of the pictures' shorter side, or height,width."),
]
Crop = Annotated[
    str | None, typer.Option(metavar="PIXELS", help="Pixels of the centre crop, or height,width.")
]
Color = Annotated[str | None, typer.Option(metavar="ORDER", help="rgb (default), bgr or gray.")]
Mean = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBERS", help="Subtracted from pixels of 0..255: one number or one a channel."
    ),
]
Std = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBERS", help="Divided by, on the same scale: one number or one a channel."
    ),
]
Layout = Annotated[str | None, typer.Option(metavar="NAME", help="auto (default), nchw or nhwc.")]

AccuracyDrop = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Budget: most that the metric may fall, 0.01 is one point."),
]
MinAccuracy = Annotated[
    float | None, typer.Option(metavar="SHARE", help="Budget: least metric of the artifact.")
]
MaxLatency = Annotated[
    float | None,
    typer.Option("--max-latency-ms", metavar="MS", help="Budget: most milliseconds, median."),
]
MinSpeedup = Annotated[
    float | None,
    typer.Option(metavar="FACTOR", help="Budget: least speed-up over the target's fp32 file."),
]
MaxSize = Annotated[
    float | None,
    typer.Option("--max-size-mb", metavar="MB", help="Budget: most megabytes on disk."),
]
MaxInstructions = Annotated[
    float | None,
    typer.Option(
        "--max-instructions",
        metavar="N",
        help="Budget: most instructions per inference on an emulated core.",
    ),
]
