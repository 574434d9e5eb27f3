"""Files that Edgewise wrote, read again: same numbers, labels and normalization."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgewise.targets
from edgewise.calibration.quantize_for import quantize_for
from edgewise.data.image import ImagePreprocessing
from edgewise.exporters import export
from edgewise.graph import OrtSession, load
from edgewise.targets.base import EmitOptions

pytest.importorskip("tf2onnx")
LABELS = tuple(f"digit {n}" for n in range(10))


@pytest.fixture(scope="module")
def hub() -> Any:
    import edgewise.sample_models.digits as package

    return load(Path(package.__file__).parent / "digits.onnx")


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("fp32", 1e-5), ("fp16", 2e-3), ("w8", 0.1), ("w4", 1.0)]
)
def test_digits_come_back(tmp_path: Path, hub: Any, precision: str, tolerance: float) -> None:
    target = edgewise.targets.get("android")
    scheme = target.scheme(precision)
    model = quantize_for(hub, None, scheme).model if scheme.is_quantized else hub
    result = export(target.emit(model, tmp_path, precision).path)
    image = np.random.default_rng(0).random((1, 1, 32, 32), np.float32)
    (wanted,) = OrtSession(hub).run({"image": image}).values()
    taken = str(result.model.graph.inputs[0].name)
    (found,) = OrtSession(result.model).run({taken: np.moveaxis(image, 1, -1)}).values()
    assert taken == "image"
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


def test_metadata_are_read_back(tmp_path: Path, hub: Any) -> None:
    options = EmitOptions(
        name="digits", labels=LABELS, preprocessing={"mean": 10.0, "std": 20.0, "color": "gray"}
    )
    artifact = edgewise.targets.get("android").emit(hub, tmp_path, "fp32", options=options)
    result = export(artifact.path)
    assert result.labels == LABELS
    assert result.preprocessing == ImagePreprocessing(color="gray", mean=(10.0,), std=(20.0,))
