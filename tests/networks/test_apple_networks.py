"""Mainstream networks as Core ML packages, read back from disk, and compared with ONNX Runtime.

fp32: outputs within 1e-4 of the largest output. fp16: within 2 % of the output's range.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from zoo.apple_figures import SHIFT, largest_difference
from zoo.hub import hub_model
from zoo.table import NETWORKS

RELATIVE = {"fp32": 1e-4, "fp16": 2e-2}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow if network.slow else ())
        for name, network in NETWORKS.items()
    ],
)
def exported(request: pytest.FixtureRequest) -> tuple[str, ir.Model]:
    return request.param, hub_model(request.param, shift=SHIFT)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_float(exported: tuple[str, ir.Model], precision: str, tmp_path: Path) -> None:
    name, hub = exported
    difference, largest = largest_difference(name, hub, precision, tmp_path)
    assert largest > 1e-3, "an output that is nothing proves nothing"
    assert np.isfinite(difference) and difference <= RELATIVE[precision]
