"""What becomes of a network on Android: its operators, its float islands, and its differences."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgewise.calibration import collect_statistics, quantize
from edgewise.graph import OrtSession
from edgewise.targets.android import TARGET
from edgewise.targets.android.islands import Island, Reasons, find_islands, products
from edgewise.targets.android.legalize import legalize
from edgewise.targets.android.lower import Lowered, lower
from edgewise.targets.android.model import Operator
from edgewise.targets.validation.layers import compare_layers
from zoo.hub import hub_model
from zoo.source import Samples
from zoo.table import NETWORKS, Network

_FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True)
class Figures:
    """One row of the page. Operators, islands and differences by layer are those of the w8a8 file;
    `fp32_error` is that of the fp32 file, as the power of ten that it stays below."""

    name: str
    operators: int
    integer: int
    islands: tuple[str, ...]
    float_share: float  # of the multiply-adds
    transposes: int
    requantizations: int
    fp32_error: int
    layers: int
    layer_lsb: float


def figures_of(name: str) -> Figures:
    """Export, emit and compare one network."""
    network = NETWORKS[name]
    hub = hub_model(name)
    statistics = collect_statistics(hub, Samples(network, 4, seed=3))
    qdq = quantize(hub, statistics, TARGET.scheme("w8a8"))
    lowered = lower(*legalize(qdq))
    operators = [o for graph in lowered.graph.all_graphs() for o in graph.operators]
    islands = [island for graph in lowered.graph.all_graphs() for island in find_islands(graph)]
    total = sum(map(products, operators))
    with tempfile.TemporaryDirectory() as folder:
        error = _fp32_error(network, hub, Path(folder) / "fp32")
        artifact = TARGET.emit(qdq, Path(folder) / "w8a8", "w8a8")
        feeds = [sample.feeds for sample in Samples(network, 2, seed=4)]
        report = compare_layers(qdq, artifact, feeds)
    return Figures(
        name=name,
        operators=len(operators),
        integer=sum(not _touches_float(operator) for operator in operators),
        islands=_told(islands, lowered),
        float_share=sum(island.products for island in islands) / max(total, 1),
        transposes=sum(operator.kind == "TRANSPOSE" for operator in operators),
        requantizations=sum(map(_requantizes, operators)),
        fp32_error=error,
        layers=len(report.layers),
        layer_lsb=max(layer.max_lsb for layer in report.layers),
    )


def _fp32_error(network: Network, hub: ir.Model, folder: Path) -> int:
    """The exponent of the next power of ten above the largest difference over the largest value."""
    session = TARGET.open(TARGET.emit(hub, folder, "fp32"))
    reference = OrtSession(hub, optimize="none")
    worst = 0.0
    for sample in Samples(network, 2, seed=2):
        found, expected = session.run(sample.feeds), reference.run(sample.feeds)
        for name, array in expected.items():
            difference = float(np.abs(found[name] - array).max())
            worst = max(worst, difference / float(np.abs(array).max()))
    session.close()
    return math.floor(math.log10(max(worst, 1e-7))) + 1


def _touches_float(operator: Operator) -> bool:
    tensors = (*operator.inputs, *operator.outputs)
    return any(tensor.data is None and tensor.dtype == _FLOAT32 for tensor in tensors)


def _requantizes(operator: Operator) -> bool:
    return operator.kind == "QUANTIZE" and not _touches_float(operator)


def _told(islands: list[Island], lowered: Lowered) -> tuple[str, ...]:
    """Equal islands once, with their number."""
    found = Counter(_story(island, lowered.float_nodes) for island in islands)
    return tuple(f"{number} x {story}" for story, number in found.items())


def _story(island: Island, reasons: Reasons) -> str:
    """The ONNX operators of an island and why they are in float; reasons that only say that a
    neighbour is in float come last, and only where there are no others."""
    known = [reasons[node] for node in island.nodes if node in reasons]
    if not known:
        kinds = dict.fromkeys(operator.kind for operator in island.operators)
        return f"{', '.join(kinds)} (of no quantized operator)"
    own = [r for r in known if not r[1].endswith(("is not quantized", "no quantized input"))]
    kinds = dict.fromkeys(kind for kind, _ in own or known)
    why = dict.fromkeys(reason for _, reason in own) or {"next to no integers": None}
    return f"{', '.join(kinds)} ({'; '.join(why)})"
