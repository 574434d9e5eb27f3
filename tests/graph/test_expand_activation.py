"""Functions of one element against the ONNX reference."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgewise.graph import prepare
from edgewise.graph.expand import expand

X = np.array([-3, -1.5, -0.5, -0.0, 0.2, 0.5, 1.5, 4, np.inf, -np.inf], np.float32)


@pytest.mark.parametrize(
    ("limit", "bias"), [(0.5, 0.0), (1.5, 1.5), (1.0, 0.3), (0.5, -0.5), (0.0, 0.0)]
)
def test_shrink(rewritten, limit, bias):
    run = rewritten("Shrink", [X], lambd=limit, bias=bias)
    assert "Shrink" not in run.ops
    assert run.error <= 1e-6


def test_soft_shrink_is_two_operators(rewritten):
    assert rewritten("Shrink", [X], lambd=0.5, bias=0.5).ops == ["Clip", "Sub"]


@pytest.mark.parametrize("alpha", [1.0, 0.7])
def test_swish(rewritten, alpha):
    run = rewritten("Swish", [X[:8]], alpha=alpha, opset=24)
    assert "Swish" not in run.ops
    assert run.error <= 1e-6


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("negative", [0, 1])
def test_is_inf(negative, positive):
    found = run_test("IsInf", detect_negative=negative, detect_positive=positive)
    assert found.tolist() == [
        bool((positive and v == np.inf) or (negative and v == -np.inf)) for v in [*X, np.nan]
    ]


def test_is_nan():
    assert run_test("IsNaN").tolist() == [False] * len(X) + [True]


def run_test(op_type, **attributes):
    """The expansion of an operator that answers true or false, run by the ONNX reference."""
    import onnx_ir as ir
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    x = np.array([*X, np.nan], np.float32)
    graph = helper.make_graph(
        [helper.make_node(op_type, ["x"], ["y"], name="n", **attributes)],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.BOOL, None)],
    )
    opsets = [helper.make_opsetid("", 21)]
    model = prepare(ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=10)))
    expand(model, lambda node: node.op_type == op_type)
    assert op_type not in [node.op_type for node in model.graph]
    (found,) = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    return found
