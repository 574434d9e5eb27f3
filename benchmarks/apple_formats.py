"""Size, oldest system and error of every precision of the apple target, side by side.

Networks: the digits sample, and any ONNX model with labelled pictures. Each package is written,
read back from disk and run by the interpreter. SQNR is the power of the fp32 output over that of
the difference from it; where a model has several outputs, of the first one.

    python benchmarks/apple_formats.py
    python benchmarks/apple_formats.py --model efficientnet_lite0.onnx --pictures FOLDER --limit 100
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration import Statistics, collect_statistics
from edgewise.calibration.quantize_for import quantize_for
from edgewise.data import input_specs, open_source
from edgewise.data.image import ImagePreprocessing
from edgewise.errors import EdgewiseError
from edgewise.graph import OrtSession, prepare
from edgewise.targets.apple import TARGET
from edgewise.targets.base import Artifact, EmitOptions

Array = npt.NDArray[Any]

#: precision and options, fp32 first
FORMATS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("fp32", {}),
    ("fp16", {}),
    ("w8a8", {}),
    ("w8", {}),
    ("w4", {}),
    ("w4", {"block_size": 0}),
    ("palette8", {}),
    ("palette6", {}),
    ("palette4", {}),
    ("palette4", {"group_size": 16}),
)
DIGITS = Path(__file__).parents[1] / "sample_models" / "digits"
#: what EfficientNet-Lite0 was trained with
PICTURES = ImagePreprocessing(
    resize=256, crop=224, color="rgb", mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0)
)


@dataclass(frozen=True)
class Network:
    """A model with statistics of its calibration data, and labelled samples to judge by."""

    name: str
    hub: ir.Model
    statistics: Statistics
    samples: list[tuple[Array, int]]


def digits() -> Network:
    hub = prepare(str(DIGITS / "digits.onnx"), batch=1)
    data = np.load(DIGITS / "evaluation.npz")
    calibration = open_source(DIGITS / "calibration.npz", inputs=input_specs(hub))
    both = zip(data["image"], data["label"], strict=True)
    samples = [(image[None], int(label)) for image, label in both]
    return Network("digits", hub, collect_statistics(hub, calibration), samples)


def pictures(model: Path, folder: Path, limit: int) -> Network:
    hub = prepare(str(model), batch=1)
    specs = input_specs(hub)
    calibration, evaluation = (
        open_source(
            f"{folder}/labels.csv#split={split}", inputs=specs, preprocessing=PICTURES, limit=count
        )
        for split, count in (("calib", 100), ("eval", limit))
    )
    (name,) = (spec.name for spec in specs)
    samples = [
        (sample.feeds[name], int(sample.label)) for sample in evaluation if sample.label is not None
    ]
    return Network(model.stem, hub, collect_statistics(hub, calibration), samples)


def title(precision: str, options: dict[str, Any]) -> str:
    if "group_size" in options:
        return f"{precision}, {options['group_size']} channels a table"
    if precision == "w4":
        return f"w4, {'per channel' if options.get('block_size') == 0 else 'blocks of 32'}"
    return precision


def outputs(run: Any, network: Network) -> Array:
    name = str(network.hub.graph.inputs[0].name)
    first = str(network.hub.graph.outputs[0].name)
    return np.concatenate([run({name: x})[first] for x, _ in network.samples])


def measure(network: Network, folder: Path) -> Iterator[str]:
    reference = outputs(OrtSession(network.hub).run, network)
    labels = np.array([label for _, label in network.samples])
    whole = 0
    for number, (precision, options) in enumerate(FORMATS):
        scheme = TARGET.scheme(precision, options)
        try:
            model = network.hub
            if scheme.is_quantized:
                model = quantize_for(network.hub, network.statistics, scheme).model
            artifact = TARGET.emit(
                model, folder / str(number), precision, options=EmitOptions(options=options)
            )
        except EdgewiseError as reason:
            yield f"| {title(precision, options)} | {reason} |"
            continue
        whole = whole or artifact.size_bytes
        found = outputs(TARGET.open(artifact, threads=1).run, network)
        yield row(title(precision, options), artifact, whole, (found, reference), labels)


def row(name: str, artifact: Artifact, whole: int, both: tuple[Array, Array], labels: Array) -> str:
    found, reference = both
    noise = float(((found - reference) ** 2).sum())
    decibels = "" if name == "fp32" else f"{10 * np.log10((reference**2).sum() / noise):.1f}"
    accuracy = float((found.argmax(1) == labels).mean())
    return (
        f"| `{name}` | {artifact.size_bytes / 1000:.1f} kB | {artifact.size_bytes / whole:.2f}x | "
        f"{artifact.manifest.options['minimum_deployment_target']} | {decibels} | {accuracy:.4f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder with a labels.csv")
    parser.add_argument("--limit", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        chosen = arguments.model, arguments.pictures
        network = pictures(*chosen, arguments.limit) if all(chosen) else digits()
        print(f"| {network.name} | package | size | system | SQNR, dB | top-1 |")
        print("|---|---|---|---|---|---|")
        for line in measure(network, Path(scratch)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
