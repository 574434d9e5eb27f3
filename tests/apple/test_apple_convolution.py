"""Conv and ConvTranspose of all kinds against ONNX Runtime, through the saved package."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from edgewise.errors import UnsupportedOperator
from edgewise.targets.apple import TARGET

CONVOLUTIONS = {
    "plain": ([(1, 3, 9, 9), (4, 3, 3, 3)], {}),
    "bias": ([(1, 3, 9, 9), (4, 3, 3, 3), (4,)], {}),
    "stride and uneven pads": (
        [(1, 3, 9, 8), (4, 3, 3, 3), (4,)],
        {"strides": [2, 1], "pads": [0, 1, 2, 3]},
    ),
    "dilated": ([(1, 2, 12, 12), (3, 2, 3, 3)], {"dilations": [2, 3]}),
    "grouped": ([(1, 6, 8, 8), (4, 3, 3, 3), (4,)], {"group": 2}),
    "depthwise": ([(1, 5, 8, 8), (5, 1, 3, 3)], {"group": 5, "pads": [1, 1, 1, 1]}),
    "depthwise with multiplier": ([(1, 3, 8, 8), (6, 1, 3, 3)], {"group": 3}),
    "pointwise": ([(1, 7, 4, 4), (5, 7, 1, 1)], {}),
    "one axis": ([(1, 3, 20), (4, 3, 5), (4,)], {"strides": [2], "pads": [2, 1]}),
    "three axes": ([(1, 2, 6, 7, 5), (3, 2, 3, 2, 3), (3,)], {"pads": [1, 0, 1, 1, 1, 0]}),
    "same upper": ([(1, 3, 9, 8), (4, 3, 4, 3)], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same lower": ([(1, 3, 9, 8), (4, 3, 4, 3)], {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "valid": ([(1, 3, 9, 8), (4, 3, 4, 3)], {"auto_pad": "VALID"}),
}

TRANSPOSED = {
    "plain": ([(1, 3, 5, 5), (3, 4, 3, 3)], {}),
    "bias, stride, crop": (
        [(1, 3, 5, 6), (3, 4, 4, 4), (4,)],
        {"strides": [2, 2], "pads": [1] * 4},
    ),
    "grouped": ([(1, 4, 5, 5), (4, 3, 3, 3), (6,)], {"group": 2, "strides": [2, 2]}),
    "dilated": ([(1, 2, 5, 5), (2, 3, 3, 3)], {"dilations": [2, 2]}),
    "one axis": ([(1, 2, 7), (2, 3, 4), (3,)], {"strides": [3], "pads": [1, 0]}),
    "output padding within the crop": (
        [(1, 3, 5, 5), (3, 4, 3, 3), (4,)],
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    ),
    "output padding beyond the crop": (
        [(1, 3, 5, 5), (3, 4, 3, 3), (4,)],
        {"strides": [3, 2], "output_padding": [2, 1]},
    ),
    "output padding beyond the crop, no bias": (
        [(1, 3, 5, 5), (3, 4, 2, 2)],
        {"strides": [3, 3], "pads": [0, 1, 0, 0], "output_padding": [1, 0]},
    ),
    "output shape": (
        [(1, 3, 5, 5), (3, 4, 3, 3)],
        {"strides": [2, 2], "output_shape": [10, 9]},
    ),
    "output shape, same upper": (
        [(1, 3, 5, 5), (3, 4, 3, 3)],
        {"strides": [2, 2], "output_shape": [10, 10], "auto_pad": "SAME_UPPER"},
    ),
    "same upper": ([(1, 3, 5, 5), (3, 4, 3, 3)], {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "same lower": ([(1, 3, 5, 5), (3, 4, 3, 3)], {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
}


@pytest.mark.parametrize("case", CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
def test_conv(node_matches_ort, case):
    node_matches_ort("Conv", *case, atol=2e-5)


@pytest.mark.parametrize("case", TRANSPOSED.values(), ids=TRANSPOSED.keys())
def test_conv_transpose(node_matches_ort, case):
    node_matches_ort("ConvTranspose", *case, atol=2e-5)


@pytest.mark.parametrize("case", CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
def test_a_weight_computed_at_run_time(make, matches_ort, case):
    computed_weight_matches(make, matches_ort, "Conv", *case)


@pytest.mark.parametrize("case", TRANSPOSED.values(), ids=TRANSPOSED.keys())
def test_a_transposed_weight_computed_at_run_time(make, matches_ort, case):
    computed_weight_matches(make, matches_ort, "ConvTranspose", *case)


def computed_weight_matches(make, matches_ort, op_type, shapes, attributes):
    names = ["x", "w", "b"][: len(shapes)]
    feeds = {
        name: make.random(*shape, seed=seed)
        for seed, (name, shape) in enumerate(zip(names, shapes, strict=True))
    }
    nodes = [helper.make_node(op_type, names, ["y"], **attributes)]
    matches_ort(make.build_model(nodes, feeds, ["y"]), feeds, atol=2e-5)


def test_same_padding_never_makes_more_than_there_is(node_matches_ort):
    attributes = {"auto_pad": "SAME_UPPER", "strides": [3, 3]}
    node_matches_ort("ConvTranspose", [(1, 2, 4, 3), (2, 3, 1, 2)], attributes)


def test_same_padding_with_output_padding_is_refused(make, tmp_path):
    attributes = {"auto_pad": "SAME_UPPER", "strides": [2, 2], "output_padding": [1, 1]}
    node = make.node("ConvTranspose", [(1, 2, 4, 3), (2, 3, 3, 3)], attributes)
    with pytest.raises(UnsupportedOperator, match="another shape in each runtime"):
        TARGET.emit(node.model(), tmp_path)


def test_a_bias_computed_at_run_time_is_added(make, matches_ort):
    x, b = make.random(1, 3, 6, 6), make.random(4, seed=2)
    nodes = [
        helper.make_node("Abs", ["b"], ["abs_b"]),
        helper.make_node("Conv", ["x", "w", "abs_b"], ["y"]),
        helper.make_node("ConvTranspose", ["x", "v", "abs_b"], ["z"]),
    ]
    constants = {"w": make.random(4, 3, 3, 3, seed=1), "v": make.random(3, 4, 3, 3, seed=3)}
    model = make.build_model(nodes, {"x": x, "b": b}, ["y", "z"], constants)
    matches_ort(model, {"x": x, "b": b}, atol=2e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_quantized_transposed_convolution_keeps_its_integers(make, matches_ort, axis):
    x = make.random(1, 3, 5, 5)
    data = np.random.default_rng(1).integers(-127, 128, (3, 4, 3, 3)).astype(np.int8)
    scale = np.linspace(0.01, 0.02, data.shape[axis]).astype(np.float32)
    pair, constants = make.quantized_pair("x", 0.03)
    weight, more = make.quantized_weight("w", data, scale, axis=axis)
    nodes = [*pair, *weight, helper.make_node("ConvTranspose", ["x_d", "w"], ["y"])]
    model = make.build_model(nodes, {"x": x}, ["y"], {**constants, **more})
    matches_ort(model, {"x": x}, precision="w8a8", compute="fp32")
