"""What becomes of a network in Core ML: its operations, its quantized form, and its differences."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgewise.calibration import collect_statistics, quantize
from edgewise.graph import OrtSession
from edgewise.targets import EmitOptions
from edgewise.targets.apple import TARGET
from edgewise.targets.apple.interpreter.program import load_program
from edgewise.targets.apple.neural_engine import lint
from edgewise.targets.validation.layers import compare_layers
from zoo.hub import hub_model
from zoo.source import Samples
from zoo.table import NETWORKS

#: see `settle`: most packages compute in fp16
SHIFT = 0.5


@dataclass(frozen=True)
class AppleFigures:
    """One row of the page. Errors in float are powers of ten that differences stay below: over the
    largest output in fp32, over the range of the output in fp16."""

    name: str
    operations: int  # of the fp16 package
    leaving: tuple[str, ...]  # kinds of those that the rules expect off the Neural Engine
    system: str
    fp32_error: int
    fp16_error: int
    in_form: int
    layers: int
    float_layers: int
    layer_lsb: float  # computed in fp32
    size: float  # of the weights in w8a8 over those in fp32


def apple_figures_of(name: str) -> AppleFigures:
    """Export, emit and compare one network."""
    hub = hub_model(name, shift=SHIFT)
    with tempfile.TemporaryDirectory() as folder:
        errors = {
            precision: largest_difference(name, hub, precision, Path(folder) / precision)[0]
            for precision in ("fp32", "fp16")
        }
        statistics = collect_statistics(hub, Samples(NETWORKS[name], 4, seed=3))
        qdq = quantize(hub, statistics, TARGET.scheme("w8a8"))
        options = EmitOptions(options={"compute": "fp32"})
        w8a8 = TARGET.emit(qdq, Path(folder) / "w8a8", "w8a8", options=options)
        form = w8a8.manifest.options["quantized_form"]
        feeds = [sample.feeds for sample in Samples(NETWORKS[name], 1, seed=4)]
        report = compare_layers(qdq, w8a8, feeds)
        fp16 = Path(folder) / "fp16" / "model.mlpackage"
        forecasts = lint(load_program(fp16, None).function).forecasts
        leaving = sorted({f.op_type for f in forecasts if not f.on_neural_engine})
        return AppleFigures(
            name=name,
            operations=len(forecasts),
            leaving=tuple(leaving),
            system=w8a8.manifest.options["minimum_deployment_target"],
            fp32_error=_exponent(errors["fp32"]),
            fp16_error=_exponent(errors["fp16"]),
            in_form=form["in_form"],
            layers=form["layers"],
            float_layers=len(form["float_layers"]),
            layer_lsb=max(layer.max_lsb for layer in report.layers),
            size=_weights(w8a8.path) / _weights(Path(folder) / "fp32" / "model.mlpackage"),
        )


def largest_difference(
    name: str, hub: ir.Model, precision: str, folder: Path
) -> tuple[float, float]:
    """Between package and ONNX Runtime: over all outputs, relative to the largest value (fp32) or
    to the range of values (fp16); and the smallest of the outputs' largest values."""
    session = TARGET.open(TARGET.emit(hub, folder, precision))
    reference = OrtSession(hub, optimize="none")
    worst, smallest = 0.0, np.inf
    for sample in Samples(NETWORKS[name], 2, seed=2):
        found, expected = session.run(sample.feeds), reference.run(sample.feeds)
        for output, array in expected.items():
            largest = float(np.abs(array).max())
            span = largest if precision == "fp32" else float(np.ptp(array)) or largest
            worst = max(worst, float(np.abs(found[output] - array).max()) / span)
            smallest = min(smallest, largest)
    session.close()
    return worst, smallest


def _exponent(error: float) -> int:
    """Of the next power of ten above."""
    return math.floor(math.log10(max(error, 1e-7))) + 1


def _weights(package: Path) -> int:
    return (package / "Data/com.apple.CoreML/weights/weight.bin").stat().st_size
