"""EfficientNet-Lite0 from its two packages."""

from __future__ import annotations

import sys
import time
import tomllib

import numpy as np
import pytest

from edgewise.data import ImagePreprocessing, input_specs, open_source
from edgewise.errors import UsageError
from edgewise.exporters import export
from edgewise.graph import OrtSession
from edgewise.sample_models.efficientnet_lite0 import PREPROCESSING, PROJECT_FILE, model

SOURCE = "edgewise.sample_models.efficientnet_lite0:model"


def test_project_file_and_module_agree():
    project = tomllib.loads(PROJECT_FILE.read_text())
    image = project["data"]["image"]
    for key in ("mean", "std"):
        image[key] = tuple(image[key])
    assert ImagePreprocessing(**image) == PREPROCESSING
    assert project["model"]["source"] == SOURCE
    assert set(project["targets"]) == {"android", "apple", "arm"}


def test_missing_packages_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(UsageError, match=r"pip install 'edgewise\[samples\]'"):
        model()


@pytest.mark.slow
@pytest.mark.shared_data
def test_export_and_accuracy_on_real_pictures(imagenet):
    pytest.importorskip("efficientnet_lite_pytorch", reason="the extra [samples] is absent")
    started = time.monotonic()
    result = export(
        SOURCE,
        example=lambda specs, told: open_source(
            imagenet / "calib", inputs=specs, preprocessing=PREPROCESSING
        ),
    )
    assert time.monotonic() - started < 120  # 8 s on two free cores
    assert result.parity.inputs == "real" and 4 <= result.parity.samples <= 32
    assert result.parity.max_rel_error < 1e-5
    assert {n.op_type for n in result.model.graph} == {
        "Conv", "Clip", "Add", "ReduceMean", "Reshape", "Gemm",
    }  # fmt: skip

    specs = input_specs(result.model)
    pictures = open_source(
        f"{imagenet}/labels.csv#split=eval",
        inputs=specs,
        preprocessing=PREPROCESSING,
        require_labels=True,
    )
    assert len(pictures) == 300
    session = OrtSession(result.model, optimize="all")
    hits = [session.run(s.feeds)["output"].argmax() == s.label for s in pictures]
    assert abs(np.mean(hits) - 0.900) <= 0.004
