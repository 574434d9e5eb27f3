"""Weights that a TFLite file stores in fewer bits than it computes with.

The network is large enough for TensorFlow's converter: it leaves small constants alone.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tflite_models import converted

from edgewise.exporters import ExportResult, export
from edgewise.graph import OrtSession

tf = pytest.importorskip("tensorflow")
logging.getLogger("tensorflow").setLevel(logging.ERROR)
rng = np.random.default_rng(3)
KERNEL = rng.standard_normal((3, 3, 16, 16)).astype(np.float32) * 0.1
#: channels of very different sizes: one scale for all of them would lose the small ones
KERNEL *= np.logspace(-2, 0, 16, dtype=np.float32)
DENSE = rng.standard_normal((16, 80)).astype(np.float32)
SHAPE = {"x": (1, 8, 8, 16)}
X = rng.standard_normal((1, 8, 8, 16)).astype(np.float32)


def net(x: Any) -> dict[str, Any]:
    y = tf.nn.relu(tf.nn.conv2d(x, KERNEL, 1, "SAME"))
    return {"scores": tf.matmul(tf.reduce_mean(y, [1, 2]), DENSE)}


def exported(folder: Path, **how: Any) -> ExportResult:
    path = folder / "model.tflite"
    path.write_bytes(converted(net, SHAPE, **how))
    return export(path)


def scores(result: ExportResult) -> np.ndarray:
    return OrtSession(result.model).run({"x": X})["scores"]


def kernel(result: ExportResult) -> np.ndarray:
    """In the order of the file's own: height, width, in, out."""
    conv = next(node for node in result.model.graph if node.op_type == "Conv")
    assert conv.inputs[1] is not None and conv.inputs[1].const_value is not None
    return conv.inputs[1].const_value.numpy().transpose(2, 3, 1, 0)


def test_float16(tmp_path: Path) -> None:
    result = exported(tmp_path, weights="float16")
    np.testing.assert_array_equal(kernel(result), KERNEL.astype(np.float16).astype(np.float32))
    assert result.parity.max_rel_error is not None and result.parity.max_rel_error < 1e-4
    np.testing.assert_allclose(scores(result), net(X)["scores"], rtol=0.01, atol=0.01)
    assert str(result.model.graph.inputs[0].dtype) == "FLOAT"


def test_dynamic_range(tmp_path: Path) -> None:
    """LiteRT rounds the inputs of such operators to 8 bits while it runs; nobody does here."""
    result = exported(tmp_path, weights="int8")
    assert [f.rule for f in result.findings].count("export/int8-weights") == 1
    assert {node.op_type for node in result.model.graph}.isdisjoint({"DequantizeLinear"})
    steps = np.abs(KERNEL).max((0, 1, 2)) / 127  # a scale for each channel
    assert np.all(np.abs(kernel(result) - KERNEL) <= 0.51 * steps)
    assert np.abs(kernel(result) - KERNEL).max() > 0.1 * steps.max()  # they were rounded
    assert result.parity.max_rel_error is not None and result.parity.max_rel_error < 0.1
    np.testing.assert_allclose(scores(result), net(X)["scores"], atol=0.05)


def test_int8_per_channel(tmp_path: Path) -> None:
    result = exported(tmp_path, int8=True)
    assert result.ranges is not None
    conv = next(node for node in result.model.graph if node.op_type == "Conv")
    stored = result.ranges[str(conv.inputs[1].name)]
    assert (stored.axis, stored.scale.shape, stored.zero_point.dtype) == (0, (16,), np.int8)
    np.testing.assert_allclose(stored.scale, np.abs(KERNEL).max((0, 1, 2)) / 127, rtol=1e-3)
    integers = kernel(result) / stored.scale
    np.testing.assert_allclose(integers, np.round(integers), atol=1e-3)
    assert np.abs(integers).max() == pytest.approx(127, abs=1e-3)
    assert result.parity.max_rel_error is not None and result.parity.max_rel_error < 0.05
