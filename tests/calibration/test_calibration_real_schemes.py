"""The schemes of the real targets, through to the files: every rule holds, and the file computes
what its QDQ model says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import edgewise.targets
from edgewise.graph import OrtSession, quantization_of
from edgewise.targets import EmitOptions

#: a package that computes in fp32 differs from its QDQ model by nothing but the order of sums
EXACT: Mapping[str, EmitOptions] = {"apple": EmitOptions(options={"compute": "fp32"})}


def step_of(model: ir.Model) -> float:
    """The scale of the output, through the layout operators behind it."""
    node = model.graph.outputs[0].producer()
    while node is not None and node.op_type != "DequantizeLinear":
        node = None if node.inputs[0] is None else node.inputs[0].producer()
    assert node is not None
    return float(quantization_of(node).scale)


@pytest.mark.parametrize("name", ["mobile", "branches", "several_readers", "decoder"])
@pytest.mark.parametrize("target", list(edgewise.targets.TARGETS))
def test_the_file_computes_what_its_model_says(
    target: str,
    name: str,
    models: Mapping[str, Callable[[], ir.Model]],
    trial: Callable[..., Any],
    tmp_path: Path,
) -> None:
    backend = edgewise.targets.get(target)
    attempt = trial(models[name]())
    quantized = attempt.quantize(backend.scheme("w8a8"))
    assert attempt.sqnr(quantized) > 15
    artifact = backend.emit(quantized, tmp_path, "w8a8", options=EXACT.get(target))
    session, reference = backend.open(artifact), OrtSession(quantized)
    for feeds in attempt.source.samples:
        for output, expected in reference.run(feeds).items():
            found = session.run(feeds)[output]
            assert found.shape == expected.shape
            assert np.abs(found - expected).max() <= 2.01 * step_of(quantized)
