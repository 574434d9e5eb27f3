"""Quantization that MIL's `quantize` and `dequantize` have no form for, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from edgewise.errors import UnsupportedOperator
from edgewise.targets.apple import TARGET

SCALES = np.array([[0.1, 0.2], [0.3, 0.05], [0.5, 0.25]], np.float32)


def blocks(scale, zero):
    quantize = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=1, block_size=3)
    dequantize = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=1, block_size=3)
    return [quantize, dequantize], {"s": scale, "z": zero}


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_blocks(make, matches_ort, dtype):
    zero = np.array([[1, 2], [0, 3], [5, 4]], dtype)
    x = make.random(3, 6, low=-40, high=40)
    nodes, constants = blocks(SCALES, zero)
    matches_ort(make.build_model(nodes, {"x": x}, ["q", "y"], constants), {"x": x})


def test_a_computed_scale(make, matches_ort):
    feeds = {"x": make.random(2, 5), "s": np.array([0.05], np.float32)}
    nodes = [
        helper.make_node("Squeeze", ["s"], ["scale"]),
        helper.make_node("QuantizeLinear", ["x", "scale", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "z"], ["y"]),
    ]
    zero = {"z": np.array(3, np.uint8)}
    matches_ort(make.build_model(nodes, feeds, ["q", "y"], zero), feeds)


def test_computed_int32(make, matches_ort):
    feeds = {"x": np.array([[-70_000, 5, 123_456]], np.int32)}
    nodes = [helper.make_node("DequantizeLinear", ["x", "s"], ["y"])]
    constants = {"s": np.array(0.5, np.float32)}
    matches_ort(make.build_model(nodes, feeds, ["y"], constants), feeds)


@pytest.mark.parametrize("per_block", [False, True])
def test_int16_activations_are_refused(make, tmp_path, per_block):
    x = make.random(3, 6)
    if per_block:
        nodes, constants = blocks(SCALES, np.zeros(SCALES.shape, np.int16))
    else:
        nodes, constants = make.quantized_pair("x", 0.02, 0, np.int16)
    output = "y" if per_block else "x_d"
    with pytest.raises(UnsupportedOperator):
        TARGET.emit(make.build_model(nodes, {"x": x}, [output], constants), tmp_path, "w8a8")
