"""Operators on integers, and products of integers, against ONNX Runtime's own kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewise.errors import ModelError
from edgewise.exporters import export
from edgewise.exporters.quantized import float_form
from edgewise.graph import OrtSession

MICROSOFT = "com.microsoft"
UINT8, INT8 = TensorProto.UINT8, TensorProto.INT8
random = np.random.default_rng(0)


@dataclass(frozen=True)
class Case:
    """One operator. `inputs` are constants, or the names of quantized inputs `a` and `b`."""

    op_type: str
    inputs: Sequence[Any]
    expected: str
    domain: str = MICROSOFT
    attributes: tuple[tuple[str, Any], ...] = ()
    a: tuple[int, ...] = (2, 4, 6, 6)
    b: tuple[int, ...] = (2, 4, 6, 6)


S, S2, SY = np.float32(0.02), np.float32(0.03), np.float32(0.05)
Z, Z2, ZY = np.uint8(120), np.uint8(130), np.uint8(125)
A, B, Y = (S, Z), (S2, Z2), (SY, ZY)
W = random.integers(-127, 128, (3, 4, 3, 3)).astype(np.int8)
MATRIX = random.integers(-127, 128, (6, 5)).astype(np.int8)
PER_3 = np.array([0.001, 0.002, 0.0005], np.float32)
PER_5 = np.array([0.001, 0.002, 0.0005, 0.003, 0.0004], np.float32)
BIAS_3 = np.array([4000, -3000, 100], np.int32)
BIAS_5 = np.array([400, -300, 100, 7, 9000], np.int32)

CASES = [
    Case("QLinearConv", ("a", *A, W, PER_3, np.zeros(3, np.int8), *Y, BIAS_3), "Conv", "",
         (("pads", [1, 1, 1, 1]), ("strides", [2, 2]))),
    Case("QLinearMatMul", ("a", *A, MATRIX, np.float32(0.01), np.int8(3), *Y), "MatMul", ""),
    Case("QLinearMatMul", ("a", *A, "b", *B, *Y), "MatMul", ""),
    Case("QGemm", ("a", *A, MATRIX, PER_5, np.zeros(5, np.int8), BIAS_5, *Y), "Gemm",
         attributes=(("alpha", 0.5),), a=(2, 6)),
    Case("QGemm", ("a", *A, MATRIX.T, PER_5[:1], np.zeros(1, np.int8), BIAS_5), "Gemm",
         attributes=(("transB", 1),), a=(2, 6)),
    Case("QLinearAdd", ("a", *A, "b", *B, *Y), "Add"),
    Case("QLinearMul", ("a", *A, "b", *B, *Y), "Mul"),
    Case("QLinearSigmoid", ("a", *A, np.float32(1 / 256), np.uint8(0)), "Sigmoid"),
    Case("QLinearLeakyRelu", ("a", *A, *Y), "LeakyRelu", attributes=(("alpha", 0.2),)),
    Case("QLinearSoftmax", ("a", *A, np.float32(1 / 256), np.uint8(0)), "Softmax",
         attributes=(("axis", -1), ("opset", 13))),
    Case("QLinearAveragePool", ("a", *A, *Y), "AveragePool",
         attributes=(("kernel_shape", [2, 2]), ("strides", [2, 2]))),
    Case("QLinearGlobalAveragePool", ("a", *A, *Y), "GlobalAveragePool"),
    Case("QLinearConcat", (*Y, "a", *A, "b", *B), "Concat", attributes=(("axis", 1),)),
    Case("QLinearWhere", (np.array([True, False, True, False, True, False]), "a", *A, "b", *B, *Y),
         "Where"),
]  # fmt: skip


def _model(case: Case) -> ir.Model:
    """x -> Q -> operator -> DQ, with quantized inputs made from floats."""
    nodes, constants, inputs = [], [], []

    def const(array: Any, name: str) -> str:
        constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    for name, shape, (scale, zero) in (("a", case.a, A), ("b", case.b, B)):
        if any(isinstance(item, str) and item == name for item in case.inputs):
            inputs.append(helper.make_tensor_value_info(f"{name}_real", TensorProto.FLOAT, shape))
            parameters = [const(scale, f"{name}_s"), const(zero, f"{name}_z")]
            nodes.append(helper.make_node("QuantizeLinear", [f"{name}_real", *parameters], [name]))
    names = [
        item if isinstance(item, str) else const(item, f"c{index}")
        for index, item in enumerate(case.inputs)
    ]
    floats = case.op_type == "QGemm" and len(case.inputs) == 7
    nodes.append(
        helper.make_node(
            case.op_type, names, ["y" if floats else "y_quantized"], "op_quant",
            domain=case.domain, **dict(case.attributes),
        )
    )  # fmt: skip
    if not floats:
        last = [const(SY, "y_s"), const(ZY, "y_z")]
        if "Sigmoid" in case.op_type or "Softmax" in case.op_type:
            last = [const(np.float32(1 / 256), "p_s"), const(np.uint8(0), "p_z")]
        nodes.append(helper.make_node("DequantizeLinear", ["y_quantized", *last], ["y"]))
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", inputs, [output], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=8))


@pytest.mark.parametrize("case", CASES, ids=[f"{c.op_type}-{i}" for i, c in enumerate(CASES)])
def test_an_operator_on_integers_is_the_float_operator(case):
    model = _model(case)
    result = export(model)
    (node,) = result.model.graph
    assert node.op_type == case.expected and node.name == "op"
    assert node.outputs[0].name == "y"
    # one step of the output: its kernels round a half otherwise than QuantizeLinear does
    assert result.parity.reason is None
    step = 0.0 if len(case.inputs) == 7 else float(result.ranges["y"].scale)
    assert result.parity.max_abs_error <= step * 1.01 + 1e-5


def test_a_mean_that_this_runtime_has_no_kernel_for():
    attributes = (("axes", [2, 3]), ("keepdims", 1))
    model = _model(Case("QLinearReduceMean", ("a", *A, *Y), "ReduceMean", attributes=attributes))
    result = export(model)
    (mean,) = result.model.graph
    x = np.random.default_rng(2).standard_normal((2, 4, 6, 6)).astype(np.float32)
    found = OrtSession(result.model).run({"a_real": x})["y"]
    np.testing.assert_allclose(found, x.mean((2, 3), keepdims=True), atol=1e-6)
    assert mean.op_type == "ReduceMean" and set(result.ranges) == {"a_real", "y"}
    assert result.parity.reason is not None


def test_an_operator_whose_integers_are_the_output():
    case = CASES[5]
    model = _model(case)
    integers = next(node for node in model.graph if node.op_type == case.op_type).outputs[0]
    integers.type, integers.name = ir.TensorType(ir.DataType.UINT8), "sum"
    model.graph.outputs[:] = [integers]
    result = export(model)
    assert [value.name for value in result.model.graph.outputs] == ["sum"]
    assert result.model.graph.outputs[0].dtype is ir.DataType.FLOAT
    assert float(result.ranges["sum"].scale) == SY
    assert result.parity.max_abs_error <= SY * 1.01


def _dynamic(parse, body: str, **constants: np.ndarray) -> ir.Model:
    return parse(f"g (float[2, 6] x) => (float[2, 5] y) {{ {body} }}", opset=17, **constants)


def test_dynamic_quantization_is_a_float_product(parse):
    model = _dynamic(
        parse,
        """q, s, z = DynamicQuantizeLinear (x)
           i = MatMulInteger (q, w, z, wz)
           f = Cast <to = 1> (i)
           both = Mul (s, ws)
           y = Mul (f, both)""",
        w=MATRIX, wz=np.array(3, np.int8), ws=np.array(0.01, np.float32),
    )  # fmt: skip
    result = export(model)
    (product,) = result.model.graph
    assert product.op_type == "MatMul" and result.ranges == {}
    weights = product.inputs[1].const_value.numpy()
    np.testing.assert_allclose(weights, (MATRIX - 3.0) * 0.01, rtol=1e-6)
    assert 0.0 < result.parity.max_rel_error < 0.03 and result.parity.tolerance == 0.1
    assert any("for each input" in finding.message for finding in result.findings)


def test_a_product_of_integers_with_scales_of_their_own(parse):
    """Static quantization of x, and the int32 sums scaled by hand."""
    model = _dynamic(
        parse,
        """q = QuantizeLinear (x, s, z)
           i = MatMulInteger (q, w, z)
           f = Cast <to = 1> (i)
           y = Mul (f, both)""",
        s=np.array(0.02, np.float32), z=np.array(120, np.uint8), w=MATRIX,
        both=np.array(0.0002, np.float32),
    )  # fmt: skip
    x = np.random.default_rng(1).standard_normal((2, 6)).astype(np.float32)
    form = float_form(model)
    found = OrtSession(form.model).run({"x": x})["y"]
    np.testing.assert_allclose(found, x @ MATRIX.astype(np.float32) * 0.01, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("op_type", ["DynamicQuantizeMatMul", "MatMulIntegerToFloat"])
def test_products_of_integers_in_one_node(op_type, bias):
    constants = {
        "w": MATRIX, "ws": PER_5, "wz": np.zeros(5, np.int8),
        "bias": np.arange(5, dtype=np.float32),
    }  # fmt: skip
    tail = ["bias"] if bias else []
    if op_type == "DynamicQuantizeMatMul":
        nodes = [helper.make_node(op_type, ["x", "w", "ws", "wz", *tail], ["y"], domain=MICROSOFT)]
    else:
        names = ["q", "w", "s", "ws", "z", "wz", *tail]
        nodes = [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
            helper.make_node(op_type, names, ["y"], domain=MICROSOFT),
        ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 6))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 5))],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    result = export(helper.make_model(graph, opset_imports=opsets, ir_version=8))
    assert [node.op_type for node in result.model.graph] == ["Gemm" if bias else "MatMul"]
    weights = next(iter(result.model.graph)).inputs[1].const_value.numpy()
    np.testing.assert_array_equal(weights, MATRIX.astype(np.float32) * PER_5)
    assert result.parity.max_rel_error < 0.03


def test_blocks_of_four_bits_are_a_float_matrix():
    packed = random.integers(0, 256, (5, 1, 8)).astype(np.uint8)
    graph = helper.make_graph(
        [helper.make_node("MatMulNBits", ["x", "w", "s"], ["y"], "product", domain=MICROSOFT,
                          K=16, N=5, bits=4, block_size=16)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 16))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 5))],
        [numpy_helper.from_array(packed, "w"), numpy_helper.from_array(PER_5, "s")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MICROSOFT, 1)]
    result = export(helper.make_model(graph, opset_imports=opsets, ir_version=10))
    (node,) = result.model.graph
    assert node.op_type == "MatMul" and node.name == "product"
    low = (packed.astype(ml_dtypes.uint4).astype(int) & 15)[:, 0]
    np.testing.assert_allclose(
        node.inputs[1].const_value.numpy()[0::2].T, (low - 8) * PER_5[:, None], rtol=1e-6
    )
    assert result.parity.max_rel_error < 1e-5
    (told,) = [f.message for f in result.findings if f.rule == "export/quantized"]
    assert ": 1 weight keeps the rounding that it had" in told
    assert told.endswith("and no activation has a scale of its own")


def test_an_operator_without_a_float_form_is_refused_by_name():
    graph = helper.make_graph(
        [
            helper.make_node("QAttention", ["x", "w", "b", "s", "ws"], ["y"], "attention",
                             domain=MICROSOFT, num_heads=1),
        ],
        "g",
        [helper.make_tensor_value_info("x", UINT8, (1, 2, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 2, 4))],
        [
            numpy_helper.from_array(np.zeros((4, 12), np.int8), "w"),
            numpy_helper.from_array(np.zeros(12, np.float32), "b"),
            numpy_helper.from_array(S, "s"),
            numpy_helper.from_array(S, "ws"),
        ],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    with pytest.raises(ModelError, match="node 'attention': the float form of QAttention"):
        export(model)


def test_quantized_operators_in_bodies_are_refused_by_name():
    body = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s"], ["q"], "inside"),
            helper.make_node("DequantizeLinear", ["q", "s"], ["then"]),
        ],
        "then", [], [helper.make_tensor_value_info("then", TensorProto.FLOAT, (2,))],
    )  # fmt: skip
    other = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["else"])],
        "else", [], [helper.make_tensor_value_info("else", TensorProto.FLOAT, (2,))],
    )  # fmt: skip
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=other)],
        "g",
        [
            helper.make_tensor_value_info("c", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, (2,)),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (2,))],
        [numpy_helper.from_array(S, "s")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    with pytest.raises(ModelError, match=r"node 'inside'.*body of an If"):
        export(model)


def test_the_source_is_not_changed():
    model = _model(CASES[0])
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    float_form(model)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    onnx.checker.check_model(ir.to_proto(float_form(model).model))
