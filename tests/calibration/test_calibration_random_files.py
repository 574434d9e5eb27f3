"""Random networks of random operators, float and quantized, through every target to its file.

The file must compute what ONNX Runtime computes for the model that it was emitted from. Random
weights amplify roundings, so quantized outputs are held to a share of their range; a wrong layout,
scale or kernel is off by the whole of it. Where a target's files can be taken apart, every layer on
its own must be within the rounding of its kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import edgewise.targets
from edgewise.graph import OrtSession
from edgewise.targets import EmitOptions
from edgewise.targets.layerwise import LayerwiseTarget

SHAPE = (1, 4, 6, 6)
HALVES = {"kernel_shape": [2, 2], "strides": [2, 2]}
#: largest error as a share of the largest output
TOLERANCE = {"w8a8": 0.06, "fp32": 1e-4}
OPTIONS = {("apple", "w8a8"): EmitOptions(options={"compute": "fp32"})}


def ints(net: Any, *values: int) -> str:
    return str(net.const(np.array(values, np.int64)))


def twice(net: Any, source: str, mode: str, **attributes: str) -> str:
    scales = net.const(np.array([1, 1, 2, 2], np.float32))
    return str(net.op("Resize", source, "", scales, mode=mode, **attributes))


def dense(net: Any, source: str) -> str:
    weight = net.const(net.random.normal(0, 0.08, (144, 144)).astype(np.float32))
    bias = net.const(net.random.normal(0, 0.1, 144).astype(np.float32))
    flat = net.op("Gemm", net.op("Flatten", source), weight, bias, transB=1)
    return str(net.op("Reshape", flat, ints(net, *SHAPE)))


def swapped_halves(net: Any, source: str) -> str:
    halves = net.op("Split", source, outputs=2, axis=1, num_outputs=2)
    return str(net.op("Concat", f"{halves}_1", f"{halves}_0", axis=1))


def shuffled(net: Any, source: str) -> str:
    groups = net.op("Reshape", source, ints(net, 1, 2, 2, 6, 6))
    turned = net.op("Transpose", groups, perm=[0, 2, 1, 3, 4])
    return str(net.op("Reshape", turned, ints(net, *SHAPE)))


def window(net: Any, source: str) -> str:
    value = net.const(np.float32(0.3))
    padded = net.op("Pad", source, ints(net, 0, 0, 1, 1, 0, 0, 1, 1), value)
    return str(net.op("Slice", padded, ints(net, 1, 1), ints(net, 7, 7), ints(net, 2, 3)))


def gated(net: Any, source: str) -> str:
    gate = net.op("Sigmoid", net.conv(net.op("GlobalAveragePool", source), 4, 4, kernel=1))
    return str(net.op("Mul", source, gate))


def upscaled(net: Any, source: str) -> str:
    weight = net.const(net.random.normal(0, 0.3, (4, 4, 2, 2)).astype(np.float32))
    return str(net.op("MaxPool", net.op("ConvTranspose", source, weight, strides=[2, 2]), **HALVES))


def excited(net: Any, source: str) -> str:
    """Squeeze and excitation, as in MobileNetV3."""
    squeezed = net.op("Relu", net.conv(net.op("GlobalAveragePool", source), 4, 2, kernel=1))
    gate = net.op("HardSigmoid", net.conv(squeezed, 2, 4, kernel=1), alpha=1 / 6)
    return str(net.op("Mul", source, gate))


def shuffle_unit(net: Any, source: str) -> str:
    halves = net.op("Split", source, outputs=2, axis=1, num_outputs=2)
    right = net.op("Relu", net.conv(f"{halves}_1", 2, 2, kernel=1))
    return shuffled(net, net.op("Concat", f"{halves}_0", right, axis=1))


def pyramid(net: Any, source: str, mode: str) -> str:
    """Down, up again, and concatenated with what it came from."""
    small = net.op("Relu", net.conv(net.op("MaxPool", source, **HALVES), 4, 4))
    options = FLOOR if mode == "nearest" else {}
    joined = net.op("Concat", twice(net, small, mode, **options), source, axis=1)
    return str(net.conv(joined, 8, 4, kernel=1))


def linear(net: Any, source: str, inner: int, outer: int) -> str:
    weight = net.const(net.random.normal(0, inner**-0.5, (inner, outer)).astype(np.float32))
    bias = net.const(net.random.normal(0, 0.1, outer).astype(np.float32))
    return str(net.op("Add", net.op("MatMul", source, weight), bias))


def attended(net: Any, source: str) -> str:
    """Self-attention of two heads over the pixels, then LayerNormalization."""

    def heads(tokens: str) -> str:
        split = net.op("Reshape", linear(net, tokens, 4, 4), ints(net, 1, 36, 2, 2))
        return str(net.op("Transpose", split, perm=[0, 2, 1, 3]))

    tokens = net.op("Transpose", net.op("Reshape", source, ints(net, 1, 4, 36)), perm=[0, 2, 1])
    query, value = heads(tokens), heads(tokens)
    key = net.op("Transpose", heads(tokens), perm=[0, 1, 3, 2])
    scores = net.op("Mul", net.op("MatMul", query, key), net.const(np.float32(0.7071)))
    mixed = net.op("MatMul", net.op("Softmax", scores, axis=-1), value)
    merged = net.op("Reshape", net.op("Transpose", mixed, perm=[0, 2, 1, 3]), ints(net, 1, 36, 4))
    total = net.op("Add", tokens, linear(net, merged, 4, 4))
    scale = net.const(np.ones(4, np.float32))
    normal = net.op("LayerNormalization", total, scale, net.const(np.zeros(4, np.float32)), axis=-1)
    return str(net.op("Reshape", net.op("Transpose", normal, perm=[0, 2, 1]), ints(net, *SHAPE)))


def fed_forward(net: Any, source: str) -> str:
    """The two products of a transformer block around GELU, per pixel, with the residual."""
    tokens = net.op("Transpose", source, perm=[0, 2, 3, 1])
    wide = net.op("Gelu", linear(net, tokens, 4, 16))
    total = net.op("Add", tokens, linear(net, wide, 16, 4))
    return str(net.op("Transpose", total, perm=[0, 3, 1, 2]))


FLOOR = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
SLOPE = np.full((4, 1, 1), 0.2, np.float32)

#: (net, one tensor, another tensor) -> new tensor, all of SHAPE
OPERATORS: tuple[Callable[[Any, str, str], str], ...] = (
    lambda n, a, b: n.conv(a, 4, 4),
    lambda n, a, b: n.conv(a, 4, 4, group=4, bias=False),
    lambda n, a, b: n.conv(a, 4, 4, dilations=[2, 2], pads=[2] * 4),
    lambda n, a, b: n.conv(a, 4, 4, group=2),
    lambda n, a, b: upscaled(n, a),
    lambda n, a, b: n.op("Relu", a),
    lambda n, a, b: n.clip(a, 0, 6),
    lambda n, a, b: n.clip(a, -0.5, 0.7),
    lambda n, a, b: n.op("LeakyRelu", a, alpha=0.1),
    lambda n, a, b: n.op("PRelu", a, n.const(SLOPE)),
    lambda n, a, b: n.op("HardSwish", a),
    lambda n, a, b: n.op("Gelu", a),
    lambda n, a, b: n.op("Elu", a),
    lambda n, a, b: n.op("Softmax", a, axis=1),
    lambda n, a, b: n.op("LogSoftmax", a, axis=-1),
    lambda n, a, b: n.op("Tanh", a),
    lambda n, a, b: n.op("Add", a, b),
    lambda n, a, b: n.op("Sub", a, b),
    lambda n, a, b: n.op("Mul", a, b),
    lambda n, a, b: n.op("Div", a, n.const(np.float32(2.5))),
    lambda n, a, b: n.op("Max", a, n.const(np.float32(-0.2))),
    lambda n, a, b: n.op("MatMul", a, b),
    lambda n, a, b: n.op("MatMul", a, a),
    lambda n, a, b: dense(n, a),
    lambda n, a, b: n.op("MaxPool", a, kernel_shape=[3, 3], pads=[1] * 4),
    lambda n, a, b: n.op("AveragePool", a, kernel_shape=[3, 3], pads=[1] * 4),
    lambda n, a, b: n.op("Sub", a, n.op("ReduceMean", b, ints(n, 2, 3))),
    lambda n, a, b: gated(n, a),
    lambda n, a, b: n.conv(n.op("Concat", a, b, axis=1), 8, 4, kernel=1),
    lambda n, a, b: swapped_halves(n, a),
    lambda n, a, b: shuffled(n, a),
    lambda n, a, b: window(n, a),
    lambda n, a, b: n.op("Transpose", a, perm=[0, 1, 3, 2]),
    lambda n, a, b: n.op("MaxPool", twice(n, a, "nearest", **FLOOR), **HALVES),
    lambda n, a, b: n.op("AveragePool", twice(n, a, "linear"), **HALVES),
    lambda n, a, b: n.op("SpaceToDepth", n.op("DepthToSpace", a, blocksize=2), blocksize=2),
    lambda n, a, b: n.op("Gather", a, ints(n, 3, 1, 0, 2), axis=1),
    lambda n, a, b: n.op("Erf", a),
    lambda n, a, b: excited(n, a),
    lambda n, a, b: n.op("HardSwish", n.conv(a, 4, 4)),
    lambda n, a, b: n.op("Mul", a, n.op("Sigmoid", a)),
    lambda n, a, b: shuffle_unit(n, a),
    lambda n, a, b: pyramid(n, a, "nearest"),
    lambda n, a, b: pyramid(n, a, "linear"),
    lambda n, a, b: attended(n, a),
    lambda n, a, b: fed_forward(n, a),
    lambda n, a, b: n.op("Relu", n.op("Add", a, n.conv(b, 4, 4))),
    lambda n, a, b: n.conv(n.op("Concat", a, n.conv(a, 4, 2), n.conv(b, 4, 2), axis=1), 8, 4),
    lambda n, a, b: n.op("Min", a, b),
    lambda n, a, b: n.op("Abs", a),
)


def random_network(net: type, seed: int) -> ir.Model:
    random = np.random.default_rng(seed)
    builder: Any = net(seed)
    tensors = [builder.conv(builder.input("x", *SHAPE), 4, 4)]
    for _ in range(random.integers(3, 10)):
        one, two = (tensors[random.integers(len(tensors))] for _ in range(2))
        tensors.append(OPERATORS[random.integers(len(OPERATORS))](builder, one, two))
    # a convolution at the end, so that something can be quantized whatever was drawn
    model: ir.Model = builder.model(builder.conv(tensors[-1], 4, 4, name="last"))
    return model


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("precision", ["w8a8", "fp32"])
@pytest.mark.parametrize("target", list(edgewise.targets.TARGETS))
def test_the_file_of_a_random_network(
    target: str,
    precision: str,
    seed: int,
    net: type,
    trial: Callable[..., Any],
    tmp_path: Path,
) -> None:
    backend = edgewise.targets.get(target)
    attempt = trial(random_network(net, seed), count=3)
    model = attempt.model
    if precision == "w8a8":
        model = attempt.quantize(backend.scheme(precision))
    artifact = backend.emit(model, tmp_path, precision, options=OPTIONS.get((target, precision)))
    session, reference = backend.open(artifact), OrtSession(model)
    for feeds in attempt.source.samples:
        found = session.run(feeds)
        for name, expected in reference.run(feeds).items():
            assert found[name].shape == expected.shape
            error = np.abs(found[name] - expected).max() / np.abs(expected).max()
            assert error <= TOLERANCE[precision]
    if precision == "w8a8" and isinstance(backend, LayerwiseTarget):
        report = backend.compare_layers(model, artifact, attempt.source.samples)
        assert report.layers and not report.beyond
