"""Normalizations over parts of a tensor."""

from __future__ import annotations

import numpy as np
import pytest


def vectors(rng, count):
    return [rng.standard_normal(count).astype(np.float32) for _ in range(2)]


@pytest.mark.parametrize("shape", [(2, 6, 5, 4), (1, 6, 7), (2, 6, 3, 2, 2), (3, 6)])
@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_group_normalization_per_channel(rewritten, rng, shape, groups):
    x = rng.standard_normal(shape).astype(np.float32)
    inputs = [x, *vectors(rng, 6)]
    result = rewritten("GroupNormalization", inputs, constants=[1, 2], num_groups=groups)
    assert "GroupNormalization" not in result.ops
    assert result.error < 1e-5


def test_group_normalization_per_group(rewritten, rng):
    """Opset 18 has a scale and a bias per group, opset 21 per channel."""
    x = rng.standard_normal((2, 6, 5, 4)).astype(np.float32)
    scale, bias = vectors(rng, 3)
    inputs = [x, scale, bias]
    result = rewritten(
        "GroupNormalization", inputs, constants=[1, 2], num_groups=3, epsilon=0.01, opset=18
    )
    wide = rewritten(
        "GroupNormalization",
        [x, scale.repeat(2), bias.repeat(2)],
        constants=[1, 2],
        num_groups=3,
        epsilon=0.01,
    )
    assert "GroupNormalization" not in result.ops
    np.testing.assert_allclose(result.outputs[0], wide.expected[0], atol=1e-5)


def test_what_follows_a_normalization_without_shape_inference_has_shapes(rng):
    import onnx.parser
    import onnx_ir as ir

    from edgewise.graph import prepare
    from edgewise.graph.expand import expand

    text = """
    <ir_version: 10, opset_import: ["": 18]>
    g (float[1, 4, 3, 3] x, float[2] s, float[2] b) => (float[1, 4, 3] y) {
      a = GroupNormalization <num_groups = 2> (x, s, b)
      c = MeanVarianceNormalization (a)
      d = GroupNormalization <num_groups = 2> (c, s, b)
      y = Einsum <equation = "bcii->bci"> (d)
    }
    """
    model = prepare(ir.from_proto(onnx.parser.parse_model(text)))
    shapes = {n.op_type: n.outputs[0].shape for n in model.graph}
    assert list(shapes["GroupNormalization"]) == [1, 4, 3, 3]
    assert list(shapes["MeanVarianceNormalization"]) == [1, 4, 3, 3]
    assert not expand(model, lambda node: node.op_type in shapes and "Norm" in node.op_type)
    assert not expand(model, lambda node: node.op_type == "Einsum")


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_lp_normalization(rewritten, rng, p, axis):
    x = rng.standard_normal((3, 4, 5)).astype(np.float32)
    x[:, 0, 0] = x[0, :, 1] = x[2, 1] = 0  # zero norms along each axis
    x[1, 1] *= 1e-12
    result = rewritten("LpNormalization", [x], p=p, axis=axis, opset=22)
    assert "LpNormalization" not in result.ops
    wanted = x / np.maximum(np.linalg.norm(x, p, axis, keepdims=True), 1e-30)
    np.testing.assert_allclose(result.outputs[0], wanted, atol=1e-6)


@pytest.mark.parametrize("axes", [None, [1], [0, 2, 3], [-1, -2]])
def test_mean_variance_normalization(rewritten, rng, axes):
    x = rng.standard_normal((2, 3, 5, 4)).astype(np.float32)
    options = {} if axes is None else {"axes": axes}
    result = rewritten("MeanVarianceNormalization", [x], **options)
    assert "MeanVarianceNormalization" not in result.ops
    over = (0, 2, 3) if axes is None else tuple(axes)
    wanted = (x - x.mean(over, keepdims=True)) / (x.std(over, keepdims=True) + 1e-9)
    np.testing.assert_allclose(result.outputs[0], wanted, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 12])
@pytest.mark.parametrize("beta", [0.5, 0.75, 0.6])
def test_lrn(rewritten, rng, size, beta):
    x = rng.standard_normal((2, 7, 3, 4)).astype(np.float32)
    result = rewritten("LRN", [x], size=size, beta=beta, alpha=0.3, bias=1.5)
    assert "LRN" not in result.ops
    square = np.zeros_like(x)
    for channel in range(7):
        first, last = channel - (size - 1) // 2, channel + -(-(size - 1) // 2)
        square[:, channel] = (x[:, max(first, 0) : last + 1] ** 2).sum(axis=1)
    np.testing.assert_allclose(
        result.outputs[0], x / (1.5 + 0.3 / size * square) ** beta, atol=1e-5
    )


def test_lrn_of_a_signal(rewritten, rng):
    x = rng.standard_normal((2, 7, 9)).astype(np.float32)
    assert "LRN" not in rewritten("LRN", [x], size=4).ops
