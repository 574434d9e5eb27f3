"""Random graphs of operators of every family, mixed as no test of one family mixes them.

Outputs must be those of ONNX Runtime, or a node be refused with a reason; quantized, each layer
must be within its tolerance, fed with what the QDQ model has there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from random_graphs.graphs import Drawn, draw

from edgewise.calibration import quantize_weights
from edgewise.errors import ModelError
from edgewise.graph import OrtSession, prepare
from edgewise.targets.android import TARGET
from edgewise.targets.validation.layers import compare_layers

#: of the largest output; sums in another order, and the runtimes' own exp, tanh and erf
TOLERANCE = 2e-4
#: outputs of integer weights: both sides round, at other places
WEIGHTS_TOLERANCE = 0.1
GRAPHS_PER_TEST = 15
#: what is refused is told in tests of its own; here it must be rare
MOST_REFUSED = 2
NOTHING_TO_QUANTIZE = "nothing in the model can be quantized"

pytestmark = pytest.mark.slow


def _check_outputs(
    found: dict[str, Any], expected: dict[str, Any], tolerance: float, what: str
) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        where = f"{what}: {name}"
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype), where
        if array.dtype.kind == "f":
            margin = tolerance * max(float(np.abs(array).max()), 1e-2)
            np.testing.assert_allclose(found[name], array, rtol=0, atol=margin, err_msg=where)
        elif tolerance == TOLERANCE:  # rounded weights move what is counted or compared
            np.testing.assert_array_equal(found[name], array, err_msg=where)


def _run(model: ir.Model, drawn: Drawn, precision: str, folder: Path) -> tuple[Any, dict[str, Any]]:
    artifact = TARGET.emit(model, folder, precision)
    session = TARGET.open(artifact)
    found = session.run(drawn.feeds)
    session.close()
    return artifact, found


@pytest.mark.parametrize("first", range(0, 150, GRAPHS_PER_TEST))
def test_float(first: int, tmp_path: Path) -> None:
    refused = []
    for seed in range(first, first + GRAPHS_PER_TEST):
        drawn = draw(seed)
        try:
            _, found = _run(ir.from_proto(drawn.model), drawn, "fp32", tmp_path / str(seed))
        except ModelError as refusal:
            refused.append(str(refusal))
            continue
        expected = OrtSession(drawn.model.SerializeToString()).run(drawn.feeds)
        _check_outputs(found, expected, TOLERANCE, f"graph {seed}")
    assert len(refused) <= MOST_REFUSED, refused


@pytest.mark.parametrize("first", range(1000, 1030, GRAPHS_PER_TEST))
@pytest.mark.parametrize("precision", ["w8a8", "w8a16"])
def test_integer_layers(precision: str, first: int, kit: Any, tmp_path: Path) -> None:
    refused, layers = [], 0
    for seed in range(first, first + GRAPHS_PER_TEST):
        drawn = draw(seed)
        try:
            qdq = kit.calibrated(ir.from_proto(drawn.model), [drawn.feeds], precision)
            artifact, found = _run(qdq, drawn, precision, tmp_path / str(seed))
        except ModelError as refusal:
            refused += [] if NOTHING_TO_QUANTIZE in str(refusal) else [str(refusal)]
            continue
        for name, array in OrtSession(qdq).run(drawn.feeds).items():
            assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype)
        report = compare_layers(qdq, artifact, [drawn.feeds])
        layers += len(report.layers)
        assert not report.beyond, f"graph {seed}: {report.beyond}"
    assert layers > GRAPHS_PER_TEST
    assert len(refused) <= MOST_REFUSED, refused


@pytest.mark.parametrize("precision", ["w8", "w4", "fp16"])
def test_stored_weights(precision: str, tmp_path: Path) -> None:
    compared = 0
    for seed in range(2000, 2060):
        drawn = draw(seed)
        model = prepare(ir.from_proto(drawn.model))
        try:
            if precision != "fp16":
                model = quantize_weights(model, TARGET.scheme(precision)).model
            _, found = _run(model, drawn, precision, tmp_path / str(seed))
        except ModelError:
            continue
        expected = OrtSession(model).run(drawn.feeds)
        _check_outputs(found, expected, WEIGHTS_TOLERANCE, f"graph {seed}")
        compared += 1
    assert compared > 5
