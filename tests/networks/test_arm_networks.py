"""Mainstream networks as ONNX for ARM: the file of each precision computes what its model does.

fp32: outputs within 1e-4 of the largest output; fp16 and w8: of the model with such weights, within
what rounding inputs to 8 bits adds. What runs in integers is told in the page about networks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from zoo.apple_figures import SHIFT
from zoo.hub import hub_model
from zoo.source import Samples
from zoo.table import NETWORKS

from edgewise.calibration import quantize_weights
from edgewise.errors import ModelError
from edgewise.graph import OrtSession
from edgewise.targets import EmitOptions
from edgewise.targets.arm import TARGET

RELATIVE = {"fp32": 1e-4, "fp16": 2e-2, "w8": 5e-2}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow if network.slow else ())
        for name, network in NETWORKS.items()
    ],
)
def exported(request: pytest.FixtureRequest) -> tuple[str, ir.Model]:
    return request.param, hub_model(request.param, shift=SHIFT)


@pytest.mark.parametrize(
    ("precision", "options"), [("fp32", {"ort_format": True}), ("fp16", {}), ("w8", {})]
)
def test_outputs(
    exported: tuple[str, ir.Model], precision: str, options: dict[str, Any], tmp_path: Path
) -> None:
    name, hub = exported
    model = hub
    if precision == "w8":
        try:
            model = quantize_weights(hub, TARGET.scheme("w8")).model
        except ModelError as refusal:
            assert "nothing in the model can be quantized" in str(refusal)
            return
    artifact = TARGET.emit(model, tmp_path, precision, options=EmitOptions(options=options))
    session, reference = TARGET.open(artifact), OrtSession(model)
    for sample in Samples(NETWORKS[name], 1, seed=2):
        found, expected = session.run(sample.feeds), reference.run(sample.feeds)
        for output, array in expected.items():
            largest = float(np.abs(array).max())
            assert largest > 1e-3, "an output that is nothing proves nothing"
            assert np.abs(found[output] - array).max() <= RELATIVE[precision] * largest
    session.close()
