"""What becomes of a network on ARM: its kernels, its float islands, its differences and sizes."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgewise.calibration import collect_statistics, quantize
from edgewise.graph import OrtSession, load
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE
from edgewise.targets.arm import TARGET
from edgewise.targets.arm.fusion import float_islands, optimize_as_on_arm
from zoo.apple_figures import SHIFT
from zoo.hub import hub_model
from zoo.source import Samples
from zoo.table import NETWORKS

#: of ONNX Runtime; in a quantized graph, each that is left of these computes in float
_HEAVY = ("Conv", "ConvTranspose", "FusedConv", "FusedGemm", "FusedMatMul", "Gemm", "MatMul")
_INTEGER_PREFIXES = ("QLinear", "QGemm", "ConvInteger", "MatMulInteger")


@dataclass(frozen=True)
class ArmFigures:
    """One row of the page. Errors are powers of ten that the largest difference from ONNX Runtime
    over the largest output stays below."""

    name: str
    operators: int  # of the w8a8 file as ONNX Runtime executes it on ARM64
    kernels: int  # of them, those that compute on integers
    float_products: int  # convolutions and products in float among them
    conversions: int  # QuantizeLinear and DequantizeLinear
    islands: tuple[str, ...]
    fp32_error: int
    fp16_error: int
    size: float  # of the w8a8 file over the fp32 one


def arm_figures_of(name: str) -> ArmFigures:
    """Export, emit and compare one network."""
    hub = hub_model(name, shift=SHIFT)
    statistics = collect_statistics(hub, Samples(NETWORKS[name], 4, seed=3))
    qdq = quantize(hub, statistics, TARGET.scheme("w8a8"))
    with tempfile.TemporaryDirectory() as folder:
        paths = {precision: Path(folder) / precision for precision in ("fp32", "fp16", "w8a8")}
        artifact = TARGET.emit(qdq, paths["w8a8"], "w8a8")
        errors = {p: _error(name, hub, p, paths[p]) for p in ("fp32", "fp16")}
        written = load(artifact.path)
        optimized = optimize_as_on_arm(written)
        islands = float_islands(written)
        size = artifact.size_bytes / sum(f.stat().st_size for f in paths["fp32"].glob("*.onnx"))
    kinds = Counter(node.op_type for node in optimized.graph)
    return ArmFigures(
        name=name,
        operators=kinds.total(),
        kernels=sum(n for kind, n in kinds.items() if kind.startswith(_INTEGER_PREFIXES)),
        float_products=sum(kinds[kind] for kind in _HEAVY),
        conversions=kinds[QUANTIZE] + kinds[DEQUANTIZE],
        islands=_told(islands),
        fp32_error=errors["fp32"],
        fp16_error=errors["fp16"],
        size=size,
    )


def _told(islands: list[list[ir.Node]]) -> tuple[str, ...]:
    """Equal islands once, with their number; long ones by the kinds of their operators."""
    found = Counter(", ".join(dict.fromkeys(n.op_type for n in nodes)) for nodes in islands)
    return tuple(f"{number} x {kinds}" for kinds, number in sorted(found.items()))


def _error(name: str, hub: ir.Model, precision: str, folder: Path) -> int:
    """The exponent of the next power of ten above the largest difference over the largest value."""
    session = TARGET.open(TARGET.emit(hub, folder, precision))
    reference = OrtSession(hub, optimize="none")
    worst = 0.0
    for sample in Samples(NETWORKS[name], 2, seed=2):
        found, expected = session.run(sample.feeds), reference.run(sample.feeds)
        for output, array in expected.items():
            difference = float(np.abs(found[output] - array).max())
            worst = max(worst, difference / float(np.abs(array).max()))
    session.close()
    return math.floor(math.log10(max(worst, 1e-7))) + 1
