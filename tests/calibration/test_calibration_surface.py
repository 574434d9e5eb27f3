"""The public surface, and what an import costs."""

from __future__ import annotations

import subprocess
import sys

import edgewise.calibration as calibration


def test_all_names_exist_once_and_in_order():
    names = calibration.__all__
    assert all(hasattr(calibration, name) for name in names)
    assert len(set(names)) == len(names)
    for wanted in ("collect_statistics", "Statistics", "quantize", "Scheme", "METHODS"):
        assert wanted in names


def test_importing_it_does_not_import_onnxruntime():
    code = "import sys, edgewise.calibration; sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
