"""The same network with the same scales through TensorFlow's TFLiteConverter.

Reads a QDQ ONNX model, rebuilds it from TensorFlow operators with fake quantization at exactly its
scales, and converts that to an int8 TFLite file. Runs in an environment of its own that has
tensorflow and onnx.

    PYTHON benchmarks/android_peers/tensorflow_peer.py MODEL.qdq.onnx OUT.tflite
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import onnx
import tensorflow as tf
from onnx import helper, numpy_helper

_WEIGHTED = ("Conv", "Gemm")


class Rebuilt:
    """A QDQ graph as a TensorFlow function of one NHWC input."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.nodes = list(graph.node)
        self.constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.producer = {name: node for node in self.nodes for name in node.output}
        value = next(v for v in graph.input if v.name not in self.constants)
        self.input = value.name
        n, c, h, w = (d.dim_value or 1 for d in value.type.tensor_type.shape.dim)
        self.input_shape = (n, h, w, c)
        self.output = graph.output[0].name

    def __call__(self, x: Any) -> Any:
        values: dict[str, Any] = {self.input: x}
        for node in self.nodes:
            if all(name in self.constants for name in node.input if name):
                continue  # DequantizeLinear of a weight: read where it is used
            values[node.output[0]] = getattr(self, node.op_type)(node, values)
        return values[self.output]

    def attributes(self, node: onnx.NodeProto) -> dict[str, Any]:
        return {a.name: helper.get_attribute_value(a) for a in node.attribute}

    def scale_of(self, node: onnx.NodeProto) -> tuple[float, int]:
        zero = self.constants.get(node.input[2]) if len(node.input) > 2 else np.int8(0)
        return float(self.constants[node.input[1]]), int(zero)

    def QuantizeLinear(self, node: onnx.NodeProto, values: dict[str, Any]) -> Any:
        scale, zero = self.scale_of(node)
        low, high = (-128 - zero) * scale, (127 - zero) * scale
        return tf.quantization.fake_quant_with_min_max_vars(values[node.input[0]], low, high)

    def DequantizeLinear(self, node: onnx.NodeProto, values: dict[str, Any]) -> Any:
        return values[node.input[0]]

    def weights(self, name: str, perm: tuple[int, ...]) -> Any:
        """Dequantized weights in TensorFlow's order, fake-quantized per output channel (last)."""
        node = self.producer[name]
        integers, scale = (self.constants[i] for i in node.input[:2])
        axis = self.attributes(node).get("axis", 1) if scale.ndim else 0
        shape = [1] * integers.ndim
        if scale.ndim:
            shape[axis] = -1
        real = integers.astype(np.float32) * scale.reshape(shape)
        moved = np.ascontiguousarray(real.transpose(perm))
        if moved.ndim == 2:  # before the fake quantization: the converter loses the axis behind it
            moved = moved[None, None]
        limit = 127 * np.broadcast_to(scale, (integers.shape[axis],))
        return tf.quantization.fake_quant_with_min_max_vars_per_channel(
            tf.constant(moved), -limit, limit, narrow_range=True
        )

    def bias(self, node: onnx.NodeProto) -> Any:
        producer = self.producer.get(node.input[2])
        if producer is None:
            return tf.constant(self.constants[node.input[2]])
        integers, scale = (self.constants[i] for i in producer.input[:2])
        return tf.constant(integers.astype(np.float32) * scale)

    def Conv(self, node: onnx.NodeProto, values: dict[str, Any]) -> Any:
        attributes = self.attributes(node)
        x = values[node.input[0]]
        x, padding = self.padded(x, attributes, 0.0)
        strides = [1, *attributes.get("strides", [1, 1]), 1]
        if attributes.get("group", 1) == 1:
            y = tf.nn.conv2d(x, self.weights(node.input[1], (2, 3, 1, 0)), strides, padding)
        else:
            kernel = self.weights(node.input[1], (2, 3, 1, 0))  # height, width, 1, channels
            kernel = tf.reshape(kernel, [*kernel.shape[:2], -1, 1])
            y = tf.nn.depthwise_conv2d(x, kernel, strides, padding)
        return y + self.bias(node)

    def padded(self, x: Any, attributes: dict[str, Any], value: float) -> tuple[Any, str]:
        top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
        kernel, strides = attributes["kernel_shape"], attributes.get("strides", [1, 1])
        same = []
        for size, k, s, low, high in zip(
            x.shape[1:3], kernel, strides, (top, left), (bottom, right), strict=True
        ):
            total = max((-(-size // s) - 1) * s + k - size, 0)
            same.append((total // 2, total - total // 2) == (low, high))
        if all(same):
            return x, "SAME"
        if any((top, left, bottom, right)):
            edges = [[0, 0], [top, bottom], [left, right], [0, 0]]
            x = tf.pad(x, edges, constant_values=value)
        return x, "VALID"

    def MaxPool(self, node: onnx.NodeProto, values: dict[str, Any]) -> Any:
        attributes = self.attributes(node)
        x, padding = self.padded(values[node.input[0]], attributes, 0.0)  # after a ReLU
        return tf.nn.max_pool2d(x, attributes["kernel_shape"], attributes["strides"], padding)

    def Gemm(self, node: onnx.NodeProto, values: dict[str, Any]) -> Any:
        """As a 1x1 convolution: the converter refuses per-channel fully connected weights."""
        if not self.attributes(node).get("transB", 0):
            raise SystemExit("only Gemm with transB is rebuilt")
        kernel = self.weights(node.input[1], (1, 0))
        return tf.nn.conv2d(values[node.input[0]], kernel, 1, "VALID") + self.bias(node)

    def ReduceMean(self, node: onnx.NodeProto, values: dict[str, Any]) -> Any:
        """Always of rank 4, for the same reason."""
        return tf.reduce_mean(values[node.input[0]], [1, 2], keepdims=True)

    def Reshape(self, node: onnx.NodeProto, values: dict[str, Any]) -> Any:
        """Flattening after the mean."""
        return values[node.input[0]]

    def Add(self, node: onnx.NodeProto, values: dict[str, Any]) -> Any:
        return values[node.input[0]] + values[node.input[1]]

    def Mul(self, node: onnx.NodeProto, values: dict[str, Any]) -> Any:
        return values[node.input[0]] * values[node.input[1]]

    def HardSwish(self, node: onnx.NodeProto, values: dict[str, Any]) -> Any:
        x = values[node.input[0]]
        return x * tf.nn.relu6(x + 3.0) * (1 / 6)

    def HardSigmoid(self, node: onnx.NodeProto, values: dict[str, Any]) -> Any:
        """With the inner range given too, so that the converter keeps it in integers."""
        inner = tf.nn.relu6(values[node.input[0]] + 3.0)
        return tf.quantization.fake_quant_with_min_max_vars(inner, 0.0, 6.0) * (1 / 6)


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    network = Rebuilt(onnx.load(source))
    signature = [tf.TensorSpec(network.input_shape, tf.float32, name="input")]
    function = tf.function(network, input_signature=signature).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    target.write_bytes(converter.convert())


if __name__ == "__main__":
    main()
