"""Normalization layers against ONNX Runtime and the documented formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgewise.errors import ModelError
from edgewise.graph import OrtSession
from edgewise.targets.apple._coremltools import Builder as mb


def test_against_onnx_runtime(run_mil: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    scale, shift, mean = (rng.normal(size=3).astype(np.float32) for _ in range(3))
    variance = rng.uniform(0.5, 2, 3).astype(np.float32)
    rows_scale, rows_shift = (rng.normal(size=(4, 5)).astype(np.float32) for _ in range(2))
    epsilon = np.float32(1e-3)

    def build(x: Any) -> list[Any]:
        return [
            mb.batch_norm(
                x=x, mean=mean, variance=variance, gamma=scale, beta=shift, epsilon=epsilon
            ),
            mb.instance_norm(x=x, gamma=scale, beta=shift, epsilon=epsilon),
            mb.layer_norm(x=x, axes=[2, 3], gamma=rows_scale, beta=rows_shift, epsilon=epsilon),
            mb.local_response_norm(x=x, size=3, alpha=np.float32(0.3), beta=np.float32(0.6)),
        ]

    constants = {
        "s": scale, "b": shift, "m": mean, "v": variance, "rs": rows_scale, "rb": rows_shift,
    }  # fmt: skip
    nodes = [
        helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["a"], epsilon=1e-3),
        helper.make_node("InstanceNormalization", ["x", "s", "b"], ["c"], epsilon=1e-3),
        helper.make_node("LayerNormalization", ["x", "rs", "rb"], ["d"], axis=2, epsilon=1e-3),
        helper.make_node("LRN", ["x"], ["e"], size=3, alpha=0.3, beta=0.6),
    ]
    floats = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "reference",
        [helper.make_tensor_value_info(name, floats, None) for name in ("x", *constants)],
        [helper.make_tensor_value_info(name, floats, None) for name in "acde"],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    expected = OrtSession(model.SerializeToString()).run({"x": x, **constants})
    for result, reference in zip(run_mil(build, {"x": x}), expected.values(), strict=True):
        np.testing.assert_allclose(result, reference, rtol=1e-4, atol=1e-5)


def test_without_scale_and_shift(run_mil: Any) -> None:
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 5)).astype(np.float32)

    def build(x: Any) -> list[Any]:
        return [
            mb.batch_norm(x=x, mean=np.zeros(3, np.float32), variance=np.ones(3, np.float32)),
            mb.instance_norm(x=x),
            mb.layer_norm(x=x, axes=[-1]),
            mb.l2_norm(x=x, epsilon=np.float32(1e-6)),
        ]

    batch, instance, layer, norm = run_mil(build, {"x": x})
    np.testing.assert_allclose(batch, x / np.sqrt(1 + 1e-5), rtol=1e-6)
    for result, axes in ((instance, (2, 3)), (layer, (3,))):
        np.testing.assert_allclose(result.mean(axis=axes), 0, atol=1e-6)
        np.testing.assert_allclose(result.var(axis=axes), 1, rtol=1e-3)
    length = np.sqrt(np.square(x).sum(axis=(1, 2, 3), keepdims=True) + 1e-6)
    np.testing.assert_allclose(norm, x / length, rtol=1e-5)


def test_an_even_window_of_channels_is_refused(apply_kernel: Any) -> None:
    with pytest.raises(ModelError, match="even window"):
        apply_kernel("local_response_norm", x=np.zeros((1, 4, 2, 2), np.float32), size=4)
