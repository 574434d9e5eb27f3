"""Each operator in torch computes what ONNX Runtime does."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edgewise.qat.operators import OPERATORS, as_sequence

F = np.float32
IMAGE = (2, 4, 6, 6)
SAME = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
I = lambda *numbers: np.array(numbers, np.int64)  # noqa: E731, E741

#: operator, shapes or constants of its inputs, attributes
CASES = [
    ("Abs", [IMAGE], {}),
    ("Add", [IMAGE, (4, 1, 1)], {}),
    ("AveragePool", [IMAGE], {**SAME, "strides": [2, 2]}),
    ("AveragePool", [IMAGE], {**SAME, "count_include_pad": 1}),
    ("BatchNormalization", [IMAGE, (4,), (4,), (4,), F([1, 2, 3, 4])], {}),
    ("Cast", [IMAGE], {"to": TensorProto.INT32}),
    ("Celu", [IMAGE], {"alpha": 0.7}),
    ("Clip", [IMAGE, F(-0.5), F(0.5)], {}),
    ("Clip", [IMAGE, F(0)], {}),
    ("Concat", [IMAGE, IMAGE], {"axis": 1}),
    ("Conv", [IMAGE, (8, 4, 3, 3), (8,)], {"pads": [0, 1, 2, 1], "strides": [2, 1]}),
    ("Conv", [IMAGE, (4, 1, 3, 3)], {"group": 4, "dilations": [2, 2]}),
    ("Conv", [(2, 4, 9), (5, 4, 3)], {"pads": [1, 1]}),
    ("ConvTranspose", [IMAGE, (4, 3, 3, 3), (3,)], {"pads": [1] * 4, "strides": [2, 2]}),
    ("DepthToSpace", [(1, 8, 2, 3)], {"blocksize": 2}),
    ("DepthToSpace", [(1, 8, 2, 3)], {"blocksize": 2, "mode": "CRD"}),
    ("Div", [IMAGE, F([2.0])], {}),
    ("Dropout", [IMAGE], {}),
    ("Elu", [IMAGE], {"alpha": 0.5}),
    ("Equal", [I(1, 2), I(1, 3)], {}),
    ("Erf", [IMAGE], {}),
    ("Exp", [IMAGE], {}),
    ("Expand", [(4, 1), I(2, 4, 3)], {}),
    ("Flatten", [IMAGE], {"axis": 2}),
    ("Gather", [IMAGE, I(0, -1)], {"axis": 1}),
    ("Gather", [IMAGE, np.array(2)], {"axis": 3}),
    ("Gelu", [IMAGE], {"approximate": "tanh"}),
    ("Gemm", [(3, 4), (5, 4), (5,)], {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    ("GlobalAveragePool", [IMAGE], {}),
    ("GlobalMaxPool", [IMAGE], {}),
    ("HardSigmoid", [IMAGE], {"alpha": 0.3}),
    ("HardSwish", [IMAGE], {}),
    ("Identity", [IMAGE], {}),
    ("LayerNormalization", [(2, 3, 8), (8,), (8,)], {"axis": -1}),
    ("LeakyRelu", [IMAGE], {"alpha": 0.2}),
    ("Log", [F([0.5, 2.0])], {}),
    ("LogSoftmax", [(2, 5)], {"axis": 1}),
    ("MatMul", [(2, 3, 4), (4, 5)], {}),
    ("Max", [IMAGE, IMAGE, F([0.1])], {}),
    ("MaxPool", [IMAGE], {**SAME, "strides": [2, 2]}),
    ("MaxPool", [IMAGE], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("Min", [IMAGE, IMAGE], {}),
    ("Mish", [IMAGE], {}),
    ("Mul", [IMAGE, IMAGE], {}),
    ("Neg", [IMAGE], {}),
    ("PRelu", [IMAGE, (4, 1, 1)], {}),
    ("Pad", [IMAGE, I(0, 0, 1, 2, 0, 0, 0, 1), F(0.5)], {}),
    ("Pad", [IMAGE, I(0, 0, 1, 2, 0, 0, 0, 1)], {"mode": "reflect"}),
    ("Pow", [F([1.5, 2.0]), F([2.0])], {}),
    ("Reciprocal", [F([0.5, 2.0])], {}),
    ("ReduceMax", [IMAGE, I(2, 3)], {}),
    ("ReduceMean", [IMAGE, I(2, 3)], {"keepdims": 0}),
    ("ReduceMin", [IMAGE, I(1)], {}),
    ("ReduceSum", [IMAGE], {}),
    ("Relu", [IMAGE], {}),
    ("Reshape", [IMAGE, I(0, -1)], {}),
    ("Resize", [IMAGE, None, F([1, 1, 2, 2])],
     {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    ("Resize", [IMAGE, None, None, I(2, 4, 9, 12)], {"mode": "linear"}),
    ("Resize", [IMAGE, None, None, I(2, 4, 9, 12)],
     {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
    ("Selu", [IMAGE], {}),
    ("Shape", [IMAGE], {"start": 1}),
    ("Sigmoid", [IMAGE], {}),
    ("Slice", [IMAGE, I(1, -1), I(4, -100), I(2, 3), I(2, -1)], {}),
    ("Softmax", [(2, 5)], {"axis": 0}),
    ("Softplus", [IMAGE], {}),
    ("Softsign", [IMAGE], {}),
    ("Split", [IMAGE, I(1, 3)], {"axis": 1}),
    ("Split", [IMAGE], {"axis": 2, "num_outputs": 2}),
    ("Sqrt", [F([0.5, 2.0])], {}),
    ("Squeeze", [(1, 3, 1), I(0, -1)], {}),
    ("Sub", [IMAGE, IMAGE], {}),
    ("Tanh", [IMAGE], {}),
    ("Tile", [(2, 3), I(2, 1)], {}),
    ("Transpose", [IMAGE], {"perm": [0, 2, 3, 1]}),
    ("Unsqueeze", [(3, 4), I(0, -1)], {}),
    ("Where", [np.array([True, False]), (3, 2), (2,)], {}),
]  # fmt: skip


@pytest.mark.parametrize("kind, inputs, attributes", CASES, ids=lambda case: str(case)[:24])
def test_as_onnx_runtime(kind, inputs, attributes):
    random = np.random.default_rng(0)
    arrays = [
        random.normal(size=given).astype(F) if isinstance(given, tuple) else given
        for given in inputs
    ]
    names = ["" if array is None else f"x{i}" for i, array in enumerate(arrays)]
    outputs = ["y", "z"] if kind == "Split" else ["y"]
    node = helper.make_node(kind, names, outputs, **attributes)
    constants = [
        numpy_helper.from_array(np.asarray(array), name)
        for name, array in zip(names, arrays, strict=True)
        if name
    ]
    values = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph([node], "one", [], values, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    tensors = [None if array is None else torch.from_numpy(np.asarray(array)) for array in arrays]
    found = as_sequence(OPERATORS[kind](attributes, *tensors))
    for expected, result in zip(session.run(None, {}), found, strict=True):
        assert result.shape == expected.shape
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_every_operator_has_a_case():
    assert OPERATORS.keys() - {kind for kind, _, _ in CASES} == {"Swish"}, "of opset 24"
    assert onnx.defs.has("Swish")


def test_swish_is_its_formula():
    x = torch.linspace(-3, 3, 7)
    np.testing.assert_allclose(
        OPERATORS["Swish"]({"alpha": 1.5}, x), x / (1 + torch.exp(-1.5 * x)), rtol=1e-6
    )
