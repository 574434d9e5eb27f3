"""Small models made by hand, and the comparison of an emitted package with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewise.graph import OrtSession, prepare
from edgewise.targets import EmitOptions
from edgewise.targets.apple import TARGET

Array = npt.NDArray[Any]
Nodes = Sequence[onnx.NodeProto]


def build_model(
    nodes: Nodes,
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    constants: Mapping[str, Array] | None = None,
    opset: int = 21,
) -> ir.Model:
    """A model whose inputs have the shapes and types of the given arrays."""
    graph = helper.make_graph(
        list(nodes),
        "made",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in inputs.items()
        ],
        [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    inferred = onnx.shape_inference.infer_shapes(proto)
    return ir.from_proto(inferred)


def random(*shape: int, seed: int = 0, low: float = -3.0, high: float = 3.0) -> Array:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


@dataclass(frozen=True)
class Node:
    """A model of one node. A shape stands for random float32 numbers, an array for itself, None
    for an absent input; the first operand is the run-time input `x`, the others are constants."""

    op_type: str
    operands: Sequence[Array | tuple[int, ...] | None]
    attributes: Mapping[str, Any]
    outputs: int = 1
    opset: int = 21

    @property
    def x(self) -> Array:
        first = self.operands[0]
        assert first is not None
        return first if isinstance(first, np.ndarray) else random(*first)

    def model(self) -> ir.Model:
        constants, names = {}, ["x"]
        for position, operand in enumerate(self.operands[1:], start=1):
            names.append("" if operand is None else f"c{position}")
            if operand is not None:
                constants[names[-1]] = (
                    operand if isinstance(operand, np.ndarray) else random(*operand, seed=position)
                )
        produced = [f"y{k}" for k in range(self.outputs)]
        node = helper.make_node(self.op_type, names, produced, name="node", **self.attributes)
        return build_model([node], {"x": self.x}, produced, constants, self.opset)


def quantized_pair(name: str, scale: float, zero: int = 0, dtype: Any = np.int8) -> Any:
    """Nodes `name -> name_q -> name_d` and their constants."""
    nodes = [
        helper.make_node("QuantizeLinear", [name, f"{name}_s", f"{name}_z"], [f"{name}_q"]),
        helper.make_node(
            "DequantizeLinear", [f"{name}_q", f"{name}_s", f"{name}_z"], [f"{name}_d"]
        ),
    ]
    constants = {f"{name}_s": np.array(scale, np.float32), f"{name}_z": np.array(zero, dtype)}
    return nodes, constants


def quantized_weight(name: str, data: Array, scale: Array, axis: int | None = None) -> Any:
    """Node `name_q -> name` of an int8 weight and its constants."""
    attributes = {} if axis is None else {"axis": axis}
    node = helper.make_node(
        "DequantizeLinear", [f"{name}_q", f"{name}_s", f"{name}_z"], [name], **attributes
    )
    zero = np.zeros(scale.shape, data.dtype)
    return [node], {f"{name}_q": data, f"{name}_s": scale.astype(np.float32), f"{name}_z": zero}


def quantized_cnn(
    *, inner_pair: bool = False, zero: int = 0, last_float: bool = False, seed: int = 0
) -> ir.Model:
    """Conv, Relu, MaxPool, Conv, residual Add, GlobalAveragePool, Gemm, all quantized to int8.

    `inner_pair` puts a redundant pair between the first Conv and its Relu, as ONNX Runtime's
    quantizer does; `last_float` leaves the Gemm's output unquantized.
    """
    make = np.random.default_rng(seed)
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, Array] = {}

    def add(part: tuple[Nodes, Mapping[str, Array]]) -> None:
        nodes.extend(part[0])
        constants.update(part[1])

    def weight(name: str, *shape: int) -> None:
        data = make.integers(-127, 128, shape).astype(np.int8)
        add(quantized_weight(name, data, make.uniform(0.002, 0.01, shape[0]), axis=0))
        bias_scale = 0.02 * constants[f"{name}_s"]
        bias = make.integers(-2000, 2000, shape[0]).astype(np.int32)
        constants.update({f"{name}_bq": bias, f"{name}_bs": bias_scale.astype(np.float32)})
        nodes.append(
            helper.make_node(
                "DequantizeLinear", [f"{name}_bq", f"{name}_bs"], [f"{name}_b"], axis=0
            )
        )

    add(quantized_pair("x", 0.02, zero))
    weight("w1", 8, 3, 3, 3)
    nodes.append(
        helper.make_node("Conv", ["x_d", "w1", "w1_b"], ["a"], name="conv1", pads=[1, 1, 1, 1])
    )
    before_relu = "a"
    if inner_pair:
        add(quantized_pair("a", 0.031, zero))
        before_relu = "a_d"
    nodes.append(helper.make_node("Relu", [before_relu], ["r"], name="relu1"))
    add(quantized_pair("r", 0.031, zero))
    nodes.append(
        helper.make_node(
            "MaxPool", ["r_d"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]
        )
    )
    add(quantized_pair("p", 0.031, zero))
    weight("w2", 8, 8, 1, 1)
    nodes.append(helper.make_node("Conv", ["p_d", "w2", "w2_b"], ["c"], name="conv2"))
    add(quantized_pair("c", 0.047, zero))
    nodes.append(helper.make_node("Add", ["c_d", "p_d"], ["s"], name="sum"))
    add(quantized_pair("s", 0.053, zero))
    nodes.append(helper.make_node("GlobalAveragePool", ["s_d"], ["g"], name="gap"))
    add(quantized_pair("g", 0.021, zero))
    nodes.append(helper.make_node("Flatten", ["g_d"], ["f"], name="flatten"))
    add(quantized_pair("f", 0.021, zero))
    weight("w3", 5, 8)
    nodes.append(helper.make_node("Gemm", ["f_d", "w3", "w3_b"], ["y"], name="fc", transB=1))
    if not last_float:
        add(quantized_pair("y", 0.037, zero))
    x = np.zeros((1, 3, 12, 12), np.float32)
    return build_model(nodes, {"x": x}, ["y" if last_float else "y_d"], constants)


Compare = Callable[..., dict[str, Array]]


@pytest.fixture
def matches_ort(tmp_path: Path) -> Compare:
    """Emit, open from disk, run, and compare every output with ONNX Runtime."""

    def compare(
        model: ir.Model,
        feeds: Mapping[str, Array],
        *,
        atol: float = 1e-5,
        precision: str = "fp32",
        compute: str | None = None,
        system: str | None = None,
    ) -> dict[str, Array]:
        given = {"compute": compute, "deployment_target": system}
        options = EmitOptions(options={k: v for k, v in given.items() if v is not None})
        artifact = TARGET.emit(model, tmp_path / "out", precision, options=options)
        results = TARGET.open(artifact.path).run(feeds)
        expected = OrtSession(prepare(model, batch=1)).run(feeds)
        assert set(results) == set(expected)
        for name, reference in expected.items():
            assert results[name].dtype == reference.dtype
            assert results[name].shape == reference.shape
            if reference.dtype.kind == "f":
                np.testing.assert_allclose(results[name], reference, rtol=1e-5, atol=atol)
            else:
                np.testing.assert_array_equal(results[name], reference)
        return results

    return compare


@pytest.fixture
def node_matches_ort(matches_ort: Compare) -> Callable[..., dict[str, Array]]:
    """A model of one node, compared on random data: `(op_type, operands, attributes, ...)`."""

    def compare(
        op_type: str,
        operands: Sequence[Array | tuple[int, ...] | None],
        attributes: Mapping[str, Any] | None = None,
        *,
        outputs: int = 1,
        opset: int = 21,
        atol: float = 1e-5,
    ) -> dict[str, Array]:
        node = Node(op_type, operands, attributes or {}, outputs, opset)
        return matches_ort(node.model(), {"x": node.x}, atol=atol)

    return compare


@dataclass(frozen=True)
class Make:
    """The makers of models, for the tests that look at more than numbers."""

    build_model = staticmethod(build_model)
    node = Node
    quantized_cnn = staticmethod(quantized_cnn)
    quantized_pair = staticmethod(quantized_pair)
    quantized_weight = staticmethod(quantized_weight)
    random = staticmethod(random)


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
