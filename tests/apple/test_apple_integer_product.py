"""MatMulInteger and ConvInteger, exact in fp32 and in fp16 packages, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

CONVOLUTIONS = {
    "plain": ((1, 3, 6, 5), (4, 3, 3, 2), {}),
    "padded": ((1, 2, 6, 5), (3, 2, 3, 3), {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    "dilated": ((1, 2, 7, 8), (3, 2, 2, 3), {"dilations": [3, 2]}),
    "same": ((1, 2, 6, 5), (3, 2, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "one axis": ((1, 2, 9), (3, 2, 4), {"strides": [2]}),
}


def integers(seed, dtype, *shape):
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max + 1, shape).astype(dtype)


def product_matches(make, matches_ort, node, feeds, constants, precision):
    model = make.build_model([node], feeds, ["y"], constants)
    matches_ort(model, feeds, precision=precision)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("shapes", [((4, 64), (64, 5)), ((2, 3, 8), (2, 8, 4)), ((8,), (8, 3))])
@pytest.mark.parametrize("computed", [False, True])
def test_matmul(make, matches_ort, precision, shapes, computed):
    a, b = integers(0, np.uint8, 1, *shapes[0])[0], integers(1, np.int8, 1, *shapes[1])[0]
    node = helper.make_node("MatMulInteger", ["a", "b", "za", "zb"], ["y"])
    zeros = {"za": np.array(130, np.uint8), "zb": np.array(-3, np.int8)}
    feeds = {"a": a, "b": b} if computed else {"a": a}
    constants = zeros if computed else {**zeros, "b": b}
    product_matches(make, matches_ort, node, feeds, constants, precision)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("case", CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
def test_convolution(make, matches_ort, precision, case):
    shape, weight, attributes = case
    feeds = {"x": integers(0, np.uint8, *shape)}
    constants = {"w": integers(1, np.uint8, *weight), "zx": np.array(128, np.uint8)}
    constants["zw"] = np.array(7, np.uint8)
    node = helper.make_node("ConvInteger", ["x", "w", "zx", "zw"], ["y"], **attributes)
    product_matches(make, matches_ort, node, feeds, constants, precision)


def test_groups(make, matches_ort):
    feeds = {"x": integers(0, np.uint8, 1, 4, 5, 5)}
    node = helper.make_node("ConvInteger", ["x", "w"], ["y"], group=2)
    constants = {"w": integers(1, np.uint8, 6, 2, 3, 3)}
    product_matches(make, matches_ort, node, feeds, constants, "fp16")
