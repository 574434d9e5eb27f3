"""Random graphs of operators of every family, mixed as no test of one family mixes them.

Outputs must be those of ONNX Runtime on the hub model, to the rounding that the precision makes;
what cannot be written is refused before anything is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from feed_source import FeedSource
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_graphs.graphs import draw

from edgewise.calibration import collect_statistics, quantize, quantize_weights
from edgewise.errors import ModelError
from edgewise.graph import OrtSession, is_quantized_model, prepare
from edgewise.targets import EmitOptions
from edgewise.targets.arm import TARGET
from edgewise.targets.host_cpu import read_host_cpu

#: of the largest output, where both sides compute in float32
FLOAT = 2e-4
#: where weights are float16, integers, or activations are, too: a random graph amplifies
ROUNDED = 0.1
NOTHING_TO_QUANTIZE = "nothing in the model can be quantized"

few = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
pytestmark = pytest.mark.slow


def run(model: ir.Model, feeds: Any, precision: str, folder: Path, **options: Any) -> Any:
    artifact = TARGET.emit(model, folder, precision, options=EmitOptions(options=options))
    session = TARGET.open(artifact)
    found = session.run(feeds)
    session.close()
    return found


def check(found: Any, expected: Any, tolerance: float, seed: int) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype), (seed, name)
        if array.dtype.kind == "f":
            margin = tolerance * max(float(np.abs(array).max()), 1e-2)
            np.testing.assert_allclose(found[name], array, rtol=0, atol=margin, err_msg=str(seed))
        elif tolerance == FLOAT:  # rounding moves what is counted or compared
            np.testing.assert_array_equal(found[name], array, err_msg=str(seed))


@few
@given(seed=st.integers(0, 10**6), ort_format=st.booleans())
def test_float(seed: int, ort_format: bool, tmp_path: Path) -> None:
    """ONNX Runtime takes all of these: nothing is refused."""
    drawn = draw(seed)
    options = {"ort_format": True} if ort_format else {}
    found = run(ir.from_proto(drawn.model), drawn.feeds, "fp32", tmp_path / str(seed), **options)
    check(found, OrtSession(drawn.model.SerializeToString()).run(drawn.feeds), FLOAT, seed)


@few
@given(seed=st.integers(0, 10**6), precision=st.sampled_from(["w8", "w4", "fp16"]))
def test_stored_weights(seed: int, precision: str, tmp_path: Path) -> None:
    drawn = draw(seed)
    model = prepare(ir.from_proto(drawn.model))
    try:
        if precision != "fp16":
            model = quantize_weights(model, TARGET.scheme(precision)).model
    except ModelError as refusal:
        assert NOTHING_TO_QUANTIZE in str(refusal)
        return
    found = run(model, drawn.feeds, precision, tmp_path / str(seed))
    check(found, OrtSession(model).run(drawn.feeds), ROUNDED, seed)


@few
@given(seed=st.integers(0, 10**6), form=st.sampled_from(["s8s8", "u8s8", "u8u8"]))
def test_integers(seed: int, form: str, tmp_path: Path) -> None:
    """The finished bytes are proved as they are emitted; that they run is seen here."""
    drawn = draw(seed)
    hub = prepare(ir.from_proto(drawn.model))
    scheme = TARGET.scheme("w8a8", {"format": form})
    try:
        qdq = quantize(hub, collect_statistics(hub, FeedSource([drawn.feeds])), scheme)
    except ModelError as refusal:
        assert NOTHING_TO_QUANTIZE in str(refusal)
        return
    assert is_quantized_model(qdq)
    found = run(qdq, drawn.feeds, "w8a8", tmp_path / str(seed), format=form)
    expected = OrtSession(qdq).run(drawn.feeds)
    for name, array in expected.items():
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype), (seed, name)
    if read_host_cpu().saturates is False:
        check(found, expected, ROUNDED, seed)
