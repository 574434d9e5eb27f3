"""Keras 3 on backends other than TensorFlow, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

_PROGRAM = """
import json, sys
import keras
from edgewise.exporters import export

left, right = (keras.Input((8, 8, 3), name=name) for name in ("left", "right"))
tower = keras.Sequential(
    [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, padding="same"), keras.layers.ReLU()]
)
both = keras.layers.Concatenate()([tower(left), tower(right)])
scores = keras.layers.Dense(2, name="scores")(keras.layers.GlobalAveragePooling2D()(both))
result = export(keras.Model([left, right], scores))
graph = result.model.graph
json.dump(
    {
        "exporter": result.exporter,
        "parity": result.parity.max_rel_error,
        "border": {v.name: str(v.shape) for v in (*graph.inputs, *graph.outputs)},
        "transposes": sum(node.op_type == "Transpose" for node in graph),
    },
    sys.stdout,
)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "library"), [("torch", "torch"), ("jax", "jax2onnx")])
def test_the_model_runs_and_is_exported_there(backend, library):
    pytest.importorskip("keras")
    pytest.importorskip(library)
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told["exporter"].startswith(f"Keras' exporter on {backend} ({library} ")
    assert told["parity"] is not None and told["parity"] < 1e-5
    assert told["border"] == {
        "left": "[batch,8,8,3]",
        "right": "[batch,8,8,3]",
        "scores": "[batch,2]",
    }
    assert told["transposes"] == 2
