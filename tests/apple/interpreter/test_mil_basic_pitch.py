"""basic-pitch's package, which was converted from TensorFlow, against its ONNX file.

Runs where the wheel is installed or on the path (`pip install --no-deps basic-pitch`).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from edgewise.graph import OrtSession
from edgewise.targets.apple.interpreter import Interpreter


def _models() -> Path:
    spec = importlib.util.find_spec("basic_pitch")
    if spec is None or spec.origin is None:
        pytest.skip("the wheel basic-pitch is not installed")
    return Path(spec.origin).parent / "saved_models" / "icassp_2022"


def test_two_tones() -> None:
    t = np.arange(43_844) / 22_050
    noise = np.random.default_rng(0).normal(0, 0.05, t.shape)
    tones = 0.3 * np.sin(2 * np.pi * 440 * t) + 0.2 * np.sin(2 * np.pi * 523.25 * t) + noise
    x = tones.astype(np.float32)[None, :, None]
    session = OrtSession(_models() / "nmp.onnx")
    expected = session.run({session.input_names[0]: x})
    interpreter = Interpreter(_models() / "nmp.mlpackage")
    found = interpreter.run({interpreter.input_names[0]: x})
    assert len(found) == 3
    for position, array in enumerate(found.values()):
        wanted = expected[f"StatefulPartitionedCall:{position}"]
        assert array.shape == wanted.shape
        assert np.abs(array - wanted).max() < 1e-4 * np.ptp(wanted)
