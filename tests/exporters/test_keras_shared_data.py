"""Published models of MLPerf Tiny: what their own framework predicts, the hub model predicts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edgewise.exporters import export
from edgewise.exporters.opened import SourceOptions
from edgewise.exporters.source import open_source_model
from edgewise.graph import OrtSession

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

pytestmark = [
    pytest.mark.shared_data,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"there is no {DATA}"),
]


def pictures():
    with np.load(DATA / "cifar10" / "eval2000.npz") as arrays:
        return arrays["x"][:400].astype(np.float32), arrays["y"].reshape(-1)[:400]


def keywords():
    with np.load(DATA / "kws" / "kws01_eval400.npz") as arrays:
        features = arrays["x_int8"].astype(np.float32) - arrays["input_zero_point"]
        return (features * arrays["input_scale"]).astype(np.float32), arrays["y"]


@pytest.mark.parametrize(
    ("name", "data", "least", "transposes"),
    [
        ("cifar10/resnet8.h5", pictures, 0.75, 1),
        ("kws/kws_ref_model", keywords, 0.90, 0),  # one channel: a Reshape does
    ],
)
def test_classifiers_predict_the_same(name, data, least, transposes):
    pytest.importorskip("tensorflow")
    inputs, labels = data()
    result = export(DATA / name)
    found = Counter(node.op_type for node in result.model.graph)
    assert found["Transpose"] == transposes and "BatchNormalization" not in found
    assert not result.findings
    run = open_source_model(DATA / name, SourceOptions()).open_runner()
    expected = run({"input_1": inputs})[0].argmax(1)
    session = OrtSession(result.model)
    predicted = next(iter(session.run({"input_1": inputs}).values())).argmax(1)
    assert (predicted == expected).all()
    assert (predicted == labels).mean() >= least


def test_an_autoencoder_is_ten_layers():
    pytest.importorskip("tensorflow")
    result = export(DATA / "mlp" / "ad01.h5")
    found = Counter(node.op_type for node in result.model.graph)
    assert found == {"Gemm": 10, "Relu": 9}
    assert result.parity.max_rel_error is not None and result.parity.max_rel_error < 1e-5
