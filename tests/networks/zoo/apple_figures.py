"""What becomes of a network in Core ML: its operations, its quantized form, and its differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgewise.graph import OrtSession
from edgewise.targets.apple import TARGET
from zoo.source import Samples
from zoo.table import NETWORKS


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
