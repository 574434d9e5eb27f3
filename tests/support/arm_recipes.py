"""How to build each operator of the arm target's scheme behind and before Q-DQ pairs."""

from __future__ import annotations

from typing import Any

import numpy as np

I64 = np.int64
TWICE = np.float32([1, 1, 2, 2])

#: how to build each operator of the scheme behind and before Q-DQ pairs
RECIPES: dict[str, dict[str, Any]] = {
    "Add": {"inputs": 2},
    "AveragePool": {"attributes": {"kernel_shape": [2, 2]}},
    "Concat": {"inputs": 2, "attributes": {"axis": 1}},
    "DepthToSpace": {"attributes": {"blocksize": 2}},
    "Expand": {"constants": [np.array([2, 4, 8, 8], I64)]},
    "Flatten": {},
    "Gather": {"attributes": {"axis": 1}, "constants": [np.array([0, 2], I64)]},
    "GatherElements": {"attributes": {"axis": 1}, "constants": [np.ones((1, 2, 8, 8), I64)]},
    "GlobalAveragePool": {},
    "LeakyRelu": {"attributes": {"alpha": 0.1}},
    "MaxPool": {"attributes": {"kernel_shape": [2, 2]}},
    "Mul": {"inputs": 2},
    "Pad": {"constants": [np.array([0, 0, 1, 1, 0, 0, 1, 1], I64)]},
    "ReduceMax": {"constants": [np.array([2, 3], I64)]},
    "ReduceMin": {"constants": [np.array([2, 3], I64)]},
    "ReduceMean": {"constants": [np.array([2, 3], I64)]},
    "Reshape": {"constants": [np.array([1, -1], I64)]},
    "Resize": {"attributes": {"mode": "nearest"}, "constants": [None, TWICE]},
    "Sigmoid": {"out_scale": 1 / 256, "out_zero_point": -128},
    "Slice": {"constants": [np.array([1], I64), np.array([3], I64), np.array([1], I64)]},
    "Softmax": {"attributes": {"axis": 1}, "out_scale": 1 / 256, "out_zero_point": -128},
    "Split": {"attributes": {"axis": 1, "num_outputs": 2}, "outputs": 2},
    "Squeeze": {"constants": [np.array([0], I64)]},
    "Tile": {"constants": [np.array([1, 1, 2, 2], I64)]},
    "Transpose": {"attributes": {"perm": [0, 2, 3, 1]}},
    "Unsqueeze": {"constants": [np.array([0], I64)]},
    "Where": {"inputs": 2, "constants": [np.ones((1, 4, 8, 8), np.bool_)]},
}
WEIGHTED: list[tuple[str, dict[str, Any]]] = [
    ("Conv", {}), ("Conv", {"group": 8}), ("Gemm", {}), ("Gemm", {"transB": 1}), ("MatMul", {}),
]  # fmt: skip
