"""Size, error and instructions of every precision of the arm target, side by side.

Networks: eight products of 512 x 512 with random weights, the digits sample, and any ONNX model
with labelled pictures. Files are run by ONNX Runtime on this machine; SQNR is the power of the fp32
output over that of the difference from it. Instructions of one inference over those of fp32 are
counted on emulated cores, where `edgewise emulator install --counter` has been run, and left out
elsewhere.

    python benchmarks/arm_formats.py
    python benchmarks/arm_formats.py --model efficientnet_lite0.onnx --pictures FOLDER --limit 100
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
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from edgewise.calibration import Statistics, collect_statistics
from edgewise.calibration.quantize_for import quantize_for
from edgewise.data import input_specs, open_source
from edgewise.data.image import ImagePreprocessing
from edgewise.errors import DeviceError, EdgewiseError
from edgewise.graph import OrtSession, prepare
from edgewise.targets.arm import TARGET
from edgewise.targets.base import Artifact, EmitOptions
from edgewise.targets.validation.instructions import count_instructions

Array = npt.NDArray[Any]

#: precision and options, fp32 first
FORMATS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("fp32", {}),
    ("fp16", {}),
    ("w8a8", {}),
    ("w8a8", {"format": "u8s8"}),
    ("w8a8", {"format": "u8u8"}),
    ("w8", {}),
    ("w4", {}),
    ("w4", {"accuracy_level": 0}),
    ("w4", {"block_size": 0}),
)
CORES = ("cortex-a53", "cortex-a76", "neoverse-v1")
DIGITS = Path(__file__).parents[1] / "sample_models" / "digits"
#: what EfficientNet-Lite0 was trained with
PICTURES = ImagePreprocessing(
    resize=256, crop=224, color="rgb", mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0)
)


@dataclass(frozen=True)
class Network:
    """A model with statistics of its calibration data, and samples to judge by, with labels where
    it has classes."""

    name: str
    hub: ir.Model
    statistics: Statistics
    samples: list[Array]
    labels: Array | None


def products(folder: Path) -> Network:
    """Weights are scaled to keep the size of the signal; Relu stands between."""
    rng = np.random.default_rng(0)
    nodes, constants = [], []
    for layer in range(8):
        weights = rng.normal(0, (2 / 512) ** 0.5, (512, 512)).astype(np.float32)
        constants.append(numpy_helper.from_array(weights, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [f"x{layer}", f"w{layer}"], [f"a{layer}"]))
        if layer < 7:
            nodes.append(helper.make_node("Relu", [f"a{layer}"], [f"x{layer + 1}"]))
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ("batch", 512))
        for name in ("x0", "a7")
    ]
    graph = helper.make_graph(nodes, "products", ends[:1], ends[1:], constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    hub = prepare(ir.from_proto(proto))
    inputs = rng.normal(size=(64, 512)).astype(np.float32)
    np.savez(folder / "products.npz", x0=inputs)
    source = open_source(folder / "products.npz", inputs=input_specs(hub))
    name = "8 products of 512 x 512, batch 1"
    return Network(name, hub, collect_statistics(hub, source), list(inputs[:, None]), None)


def digits() -> Network:
    hub = prepare(str(DIGITS / "digits.onnx"), batch=1)
    data = np.load(DIGITS / "evaluation.npz")
    calibration = open_source(DIGITS / "calibration.npz", inputs=input_specs(hub))
    statistics = collect_statistics(hub, calibration)
    return Network("digits", hub, statistics, list(data["image"][:, None]), data["label"])


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
    samples = [sample for sample in evaluation if sample.label is not None]
    labels = np.array([sample.label for sample in samples])
    statistics = collect_statistics(hub, calibration)
    return Network(model.stem, hub, statistics, [s.feeds[name] for s in samples], labels)


def title(precision: str, options: dict[str, Any]) -> str:
    return ", ".join([precision, *(f"{key} {value}" for key, value in options.items())])


def outputs(run: Any, network: Network) -> Array:
    name = str(network.hub.graph.inputs[0].name)
    first = str(network.hub.graph.outputs[0].name)
    return np.concatenate([run({name: x})[first] for x in network.samples])


def instructions(artifact: Artifact, fp32: Artifact, network: Network) -> list[str]:
    """Over those of fp32, one for each core."""
    feeds = {str(network.hub.graph.inputs[0].name): network.samples[0]}
    ratios = []
    for core in CORES:
        try:
            counted = count_instructions(TARGET, artifact, fp32, f"emulated:{core}", feeds)
        except DeviceError:
            return ["-"] * len(CORES)
        ratios.append("-" if counted.ratio is None else f"{counted.ratio:.2f}")
    return ratios


def measure(network: Network, folder: Path) -> Iterator[str]:
    reference = outputs(OrtSession(network.hub).run, network)
    fp32: Artifact | None = None
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
            yield f"| `{title(precision, options)}` | {reason} |"
            continue
        fp32 = fp32 or artifact
        found = outputs(TARGET.open(artifact, threads=1).run, network)
        counts = instructions(artifact, fp32, network)
        yield row(title(precision, options), (artifact, fp32), (found, reference), network, counts)


def row(
    name: str,
    files: tuple[Artifact, Artifact],
    both: tuple[Array, Array],
    network: Network,
    counts: list[str],
) -> str:
    found, reference = both
    noise = float(((found - reference) ** 2).sum())
    decibels = f"{10 * np.log10((reference**2).sum() / noise):.1f}" if noise else ""
    accuracy = []
    if network.labels is not None:
        accuracy = [f"{float((found.argmax(1) == network.labels).mean()):.4f}"]
    size = files[0].size_bytes
    cells = [f"`{name}`", f"{size / 1000:.1f} kB", f"{size / files[1].size_bytes:.2f}x", decibels]
    return f"| {' | '.join([*cells, *accuracy, *counts])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder with a labels.csv")
    parser.add_argument("--limit", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        chosen = arguments.model, arguments.pictures
        makers = (lambda: products(folder), digits)
        networks = [pictures(*chosen, arguments.limit)] if all(chosen) else [m() for m in makers]
        for network in networks:
            top = ["top-1"] if network.labels is not None else []
            header = [network.name, "file", "size", "SQNR, dB", *top, *CORES]
            print(f"| {' | '.join(header)} |\n{'|---' * len(header)}|")
            for line in measure(network, folder / network.name.replace(" ", "-")):
                print(line, flush=True)
            print()


if __name__ == "__main__":
    main()
