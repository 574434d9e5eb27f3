"""Small QDQ models for the tests of the arm target."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewise.targets.validation.devices import connected

QdqModel = Callable[..., ir.Model]
_SHAPE = (1, 4, 8, 8)


class _Builder:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, np.ndarray] = {}

    def quantized(self, source: str, name: str, scale: float, zero_point: int = 0) -> str:
        """QuantizeLinear and DequantizeLinear behind `source`; gives the float value's name."""
        self.initializers[f"{name}_scale"] = np.float32(scale)
        self.initializers[f"{name}_zero"] = np.int8(zero_point)
        parameters = [f"{name}_scale", f"{name}_zero"]
        self.nodes += [
            helper.make_node("QuantizeLinear", [source, *parameters], [f"{name}_q"]),
            helper.make_node("DequantizeLinear", [f"{name}_q", *parameters], [f"{name}_dq"]),
        ]
        return f"{name}_dq"

    def weight(self, name: str, values: np.ndarray, scale: np.ndarray, axis: int) -> str:
        """int8 (int32 for a bias) constant with one scale per channel."""
        self.initializers[name] = values
        self.initializers[f"{name}_scale"] = scale.astype(np.float32)
        self.initializers[f"{name}_zero"] = np.zeros(len(scale), values.dtype)
        self.nodes.append(
            helper.make_node(
                "DequantizeLinear",
                [name, f"{name}_scale", f"{name}_zero"],
                [f"{name}_dq"],
                axis=axis,
            )
        )
        return f"{name}_dq"

    def model(self, inputs: Mapping[str, Sequence[Any]], outputs: Sequence[str]) -> ir.Model:
        graph = helper.make_graph(
            self.nodes,
            "test",
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
            [numpy_helper.from_array(np.asarray(v), n) for n, v in self.initializers.items()],
        )
        opset = [helper.make_opsetid("", 21)]
        proto = helper.make_model(graph, opset_imports=opset, ir_version=10)
        return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


@pytest.fixture
def qdq_model() -> QdqModel:
    """Builds Q-DQ, one operator named "middle", Q-DQ.

    Constant inputs are given as arrays in `constants`; a position that is None stays absent.
    """

    def build(
        op_type: str,
        *,
        attributes: Mapping[str, Any] | None = None,
        constants: Sequence[np.ndarray | None] = (),
        inputs: int = 1,
        outputs: int = 1,
        shape: Sequence[Any] = _SHAPE,
        out_scale: float = 0.05,
        out_zero_point: int = 3,
    ) -> ir.Model:
        builder = _Builder()
        names = [f"x{index}" for index in range(inputs)]
        operands = [builder.quantized(name, f"{name}_in", 0.05, 3) for name in names]
        for index, array in enumerate(constants):
            if array is not None:
                builder.initializers[f"constant{index}"] = array
            operands.append("" if array is None else f"constant{index}")
        if op_type == "Where":
            operands.insert(0, operands.pop())
        made = [f"made{index}" for index in range(outputs)]
        node = helper.make_node(op_type, operands, made, name="middle", **(attributes or {}))
        builder.nodes.append(node)
        last = [builder.quantized(name, f"{name}_out", out_scale, out_zero_point) for name in made]
        return builder.model(dict.fromkeys(names, shape), last)

    return build


@pytest.fixture
def weighted_model() -> QdqModel:
    """Builds Q-DQ, a Conv, Gemm or MatMul with per-channel int8 weights, Q-DQ."""

    def build(op_type: str, *, attributes: Mapping[str, Any] | None = None) -> ir.Model:
        generator = np.random.default_rng(0)
        builder = _Builder()
        source = builder.quantized("x", "in", 0.05, 3)
        attributes = attributes or {}
        groups, transposed = attributes.get("group", 1), attributes.get("transB", 0)
        shape = {"Conv": (8, 8 // groups, 3, 3)}.get(op_type, (6, 8) if transposed else (8, 6))
        axis = 0 if op_type == "Conv" or transposed else 1
        scale = generator.uniform(0.001, 0.01, shape[axis])
        weight = generator.integers(-127, 128, shape).astype(np.int8)
        operands = [source, builder.weight("w", weight, scale, axis)]
        if op_type != "MatMul":
            bias = generator.integers(-1000, 1000, shape[axis]).astype(np.int32)
            operands.append(builder.weight("b", bias, scale * 0.05, 0))
        builder.nodes.append(
            helper.make_node(op_type, operands, ["y"], name="middle", **attributes)
        )
        shape_in = ("batch", 8, 10, 10) if op_type == "Conv" else ("batch", 8)
        return builder.model({"x": shape_in}, [builder.quantized("y", "out", 0.1, -5)])

    return build


@pytest.fixture(scope="package")
def cores(emulator: object) -> Iterator[tuple[str, str]]:
    """A core without dot products and float16 arithmetic, and one with these and i8mm; their
    runners are shared by the tests here."""
    old, new = "emulated:cortex-a53", "emulated:neoverse-v1"
    with connected(old), connected(new):
        yield old, new


@pytest.fixture(scope="session")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A float CNN and its QDQ form by onnxruntime's static quantizer: (float, QDQ)."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            generator = np.random.default_rng(1)
            self._feeds = iter([{"image": noise(generator)} for _ in range(16)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._feeds, None)

    folder = tmp_path_factory.mktemp("cnn")
    onnx.save(float_cnn(), folder / "float.onnx")
    quantize_static(
        folder / "float.onnx",
        folder / "qdq.onnx",
        Reader(),
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
    )
    return folder / "float.onnx", folder / "qdq.onnx"


def noise(generator: np.random.Generator, count: int = 1) -> np.ndarray:
    return generator.standard_normal((count, 3, 16, 16)).astype(np.float32)


def float_cnn() -> onnx.ModelProto:
    """Convolution, depthwise convolution, residual sum, mean over the picture, classifier."""
    generator = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return (generator.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    arrays = {
        "w1": weights(8, 3, 3, 3), "b1": weights(8), "w2": weights(8, 1, 3, 3), "b2": weights(8),
        "w3": weights(5, 8), "b3": weights(5),
        "axes": np.asarray([2, 3]), "flat": np.asarray([-1, 8]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node(
            "Conv", ["r1", "w2", "b2"], ["c2"], name="conv2", pads=[1, 1, 1, 1], group=8
        ),
        helper.make_node("Add", ["r1", "c2"], ["sum"], name="add"),
        helper.make_node("ReduceMean", ["sum", "axes"], ["mean"], name="mean"),
        helper.make_node("Reshape", ["mean", "flat"], ["vector"], name="flatten"),
        helper.make_node("Gemm", ["vector", "w3", "b3"], ["logits"], name="classifier", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "cnn",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(a, n) for n, a in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
