"""Random networks of random operators: every scheme must hold and the numbers must be close.

`quantize` verifies all rules of the scheme itself, so what is left to check here is that nothing is
refused, that the result is valid ONNX, and that it computes what the float model does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnx_ir as ir
import pytest

SHAPE = (1, 4, 6, 6)

#: name -> (net, one tensor, another tensor) -> new tensor, all of SHAPE
OPERATORS: Mapping[str, Callable[..., str]] = {
    "conv": lambda n, a, b: n.conv(a, 4, 4),
    "conv without bias": lambda n, a, b: n.conv(a, 4, 4, bias=False),
    "depthwise": lambda n, a, b: n.conv(a, 4, 4, group=4),
    "relu": lambda n, a, b: n.op("Relu", a),
    "relu6": lambda n, a, b: n.clip(a, 0, 6),
    "clip": lambda n, a, b: n.clip(a, -0.5, 0.7),
    "sigmoid": lambda n, a, b: n.op("Sigmoid", a),
    "tanh": lambda n, a, b: n.op("Tanh", a),
    "hard swish": lambda n, a, b: n.op("HardSwish", a),
    "softmax": lambda n, a, b: n.op("Softmax", a, axis=1),
    "add": lambda n, a, b: n.op("Add", a, b),
    "scale": lambda n, a, b: n.op("Mul", a, n.const(np.float32(n.random.normal()))),
    "max pool": lambda n, a, b: n.op("MaxPool", a, kernel_shape=[3, 3], pads=[1] * 4),
    "average pool": lambda n, a, b: n.op("AveragePool", a, kernel_shape=[3, 3], pads=[1] * 4),
    "join": lambda n, a, b: n.conv(n.op("Concat", a, b, axis=1), 8, 4, kernel=1),
    "transpose": lambda n, a, b: n.op("Transpose", a, perm=[0, 1, 3, 2]),
    "max": lambda n, a, b: n.op("Max", a, n.const(np.float32(-0.2))),
    "float": lambda n, a, b: n.op("Erf", a),
}


@pytest.mark.parametrize("seed", range(40))
def test_a_random_network(net, trial, scheme, seed):
    random = np.random.default_rng(seed)
    n = net(seed)
    tensors = [n.conv(n.input("x", *SHAPE), 4, 4)]
    for _ in range(random.integers(3, 14)):
        one, two = (tensors[random.integers(len(tensors))] for _ in range(2))
        kind = list(OPERATORS)[random.integers(len(OPERATORS))]
        tensors.append(OPERATORS[kind](n, one, two))
    others = [name for name in tensors[:-1] if random.random() < 0.15]
    made = trial(n.model(tensors[-1], *others))
    quantized = made.quantize(scheme)
    onnx.checker.check_model(ir.to_proto(quantized), full_check=True)
    assert made.sqnr(quantized) > 15
