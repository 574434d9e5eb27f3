"""TFLite operators, each computed by the hub model as LiteRT computes it in the file."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tflite_models import converted

from edgewise.exporters import SourceOptions, export
from edgewise.exporters.comparison import compare
from edgewise.exporters.tflite import open_tflite
from edgewise.graph import OrtSession

tf = pytest.importorskip("tensorflow")
logging.getLogger("tensorflow").setLevel(logging.ERROR)
rng = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def convolutions(x: Any) -> dict[str, Any]:
    k, d, b = weights(3, 3, 4, 6), weights(3, 3, 4, 2), weights(6)
    t = np.transpose(k, (0, 1, 3, 2))
    small = x[:, :5, :6, :]
    return {
        "same_stride": tf.nn.relu6(tf.nn.conv2d(x, k, 2, "SAME") + b),
        "dilated": tf.nn.conv2d(x, k, 1, "VALID", dilations=2),
        "depthwise": tf.nn.depthwise_conv2d(x, d, [1, 2, 2, 1], "SAME"),
        "transposed_same": tf.nn.conv2d_transpose(small, t, [1, 10, 12, 6], 2, "SAME"),
        "transposed_valid": tf.nn.relu(
            tf.nn.conv2d_transpose(small, t, [1, 11, 13, 6], 2, "VALID") + b
        ),
        "average": tf.nn.avg_pool2d(x, 3, 2, "SAME"),
        "largest": tf.nn.max_pool2d(x, 2, 2, "SAME"),
    }


def resizes(x: Any) -> dict[str, Any]:
    found = {}
    for half, corners in ((False, False), (True, False), (False, True)):
        for size in ([13, 17], [5, 4]):
            arguments = {"size": size, "align_corners": corners, "half_pixel_centers": half}
            name = f"{'half_' if half else ''}{'corners_' if corners else ''}{size[0]}"
            found[f"linear_{name}"] = tf.raw_ops.ResizeBilinear(images=x, **arguments)
            found[f"nearest_{name}"] = tf.raw_ops.ResizeNearestNeighbor(images=x, **arguments)
    return found


def movements(x: Any) -> dict[str, Any]:
    pads = [[0, 0], [1, 2], [0, 3], [0, 0]]
    first, second = tf.split(x, [1, 3], -1)
    return {
        "pad": tf.pad(x, pads),
        "pad_value": tf.pad(x, pads, constant_values=1.5),
        "reflect": tf.pad(x, pads, "REFLECT"),
        "symmetric": tf.pad(x, pads, "SYMMETRIC"),
        "slice": tf.slice(x, [0, 1, 2, 0], [1, 3, -1, 2]),
        "strided": x[:, 1::2, ::-1, :3],
        "shrunk": x[:, 0, ..., tf.newaxis],
        "concat": tf.concat([x, x * 2.0], 1),
        "split_first": first,
        "split_second": second,
        "stack": tf.stack([x, -x], 1),
        "gather": tf.gather(x, [2, 0], axis=1),
        "depth_to_space": tf.nn.depth_to_space(x, 2),
        "transpose": tf.transpose(x, [0, 3, 1, 2]),
        "tile": tf.tile(x, [1, 2, 1, 3]),
    }


def arithmetic(x: Any) -> dict[str, Any]:
    positive = tf.abs(x) + 0.1
    return {
        "add": tf.nn.relu(x + weights(4)),
        "clip": tf.clip_by_value(x + weights(4), -1.0, 1.0),
        "clip_alone": tf.maximum(tf.minimum(x, 1.0), -1.0),
        "unit": tf.clip_by_value(x, 0.0, 1.0),
        "hard_swish": x * tf.nn.relu6(x + 3) * np.float32(1 / 6),
        "leaky": tf.nn.leaky_relu(x, 0.1),
        "elu": tf.nn.elu(x),
        "divide": x / positive,
        "power": tf.pow(positive, 1.7),
        "rsqrt": tf.math.rsqrt(positive),
        "floor_mod": tf.math.floormod(x, 0.7),
        "mean": tf.reduce_mean(x, [1, 2]),
        "sum": tf.reduce_sum(x, -1, keepdims=True),
        "softmax": tf.nn.softmax(x),
        "log_softmax": tf.nn.log_softmax(x),
        "norm": tf.math.l2_normalize(x, -1),
        "largest": tf.math.top_k(x, 2)[0],
        "where": tf.where(x > 0.0, x, 0.5),
        "cumsum": tf.cumsum(x, 1, exclusive=True, reverse=True),
        # of integers LiteRT copies the bytes, though the converter gives the result another scale
        "reverse": tf.reverse(x, [1]),
        "product": tf.matmul(x, x, transpose_b=True),
    }


def bodies(x: Any) -> dict[str, Any]:
    loop = tf.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, a * 1.5 + 1.0), (0, x))
    choice = tf.cond(tf.reduce_sum(x) > 0, lambda: x * 2.0, lambda: x - 1.0)
    return {"while": loop[1], "if": choice}


SHAPE = {"x": (1, 9, 10, 4)}
FLOAT = [convolutions, resizes, movements, arithmetic, bodies]


@pytest.mark.parametrize("family", FLOAT, ids=lambda function: function.__name__)
def test_float_operators(tmp_path: Path, family: Callable[..., Any]) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(converted(family, SHAPE))
    result = export(path)
    assert result.source_kind == "tflite"
    assert result.exporter.startswith("tf2onnx ")
    expected = open_tflite(path, SourceOptions()).open_runner()
    names = [str(value.name) for value in result.model.graph.outputs]
    session = OrtSession(result.model)
    for _ in range(3):
        feeds = {"x": weights(*SHAPE["x"])}
        wanted, found = expected(feeds), session.run(feeds)
        worst = {n: compare(a, found[n])[1] for n, a in zip(names, wanted, strict=True)}
        assert max(worst.values()) < 2e-5, worst


@pytest.mark.parametrize("family", [convolutions, movements], ids=lambda one: one.__name__)
def test_int8_operators_are_the_integers_of_the_file(
    tmp_path: Path, family: Callable[..., Any]
) -> None:
    """Before the float form is made, what tf2onnx writes has Q and DQ where LiteRT rounds."""
    path = tmp_path / "model.tflite"
    path.write_bytes(converted(family, SHAPE, int8=True))
    opened = open_tflite(path, SourceOptions())
    run, session = opened.open_runner(), OrtSession(opened.model)
    for seed in range(3):
        numbers = np.random.default_rng(seed).integers(-128, 128, SHAPE["x"]).astype(np.int8)
        wanted, found = run({"x": numbers}), session.run({"x": numbers})
        for array, (name, other) in zip(wanted, found.items(), strict=True):
            assert array.dtype == other.dtype
            if array.dtype == np.int8:
                apart = np.abs(array.astype(int) - other.astype(int)).max()
                assert apart <= 1, name
            else:  # what TensorFlow's quantizer leaves in float
                assert compare(array, other)[1] < 1e-5, name


def test_int8_file_becomes_its_float_form(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"

    def net(x: Any) -> dict[str, Any]:
        y = tf.nn.relu(tf.nn.conv2d(x, weights(3, 3, 4, 6), 2, "SAME") + weights(6))
        return {"scores": tf.nn.softmax(tf.reduce_mean(y, [1, 2]))}

    path.write_bytes(converted(net, SHAPE, int8=True))
    result = export(path)
    ops = {node.op_type for node in result.model.graph}
    assert not ops & {"QuantizeLinear", "DequantizeLinear"}
    (taken,), (given,) = result.model.graph.inputs, result.model.graph.outputs
    assert (taken.name, str(taken.dtype)) == ("x", "FLOAT")
    assert (given.name, str(given.dtype)) == ("scores", "FLOAT")
    assert result.ranges
    assert result.parity.max_rel_error is not None
    assert result.parity.max_rel_error < 0.05
