"""Tensors without elements become constants, and what follows from them is folded."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgewise.graph import prepare

Array = np.ndarray[Any, Any]


def _prepared(
    nodes: list[Any], shape: tuple[int, ...], outputs: list[str], **constants: Array
) -> Any:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return prepare(ir.from_proto(model))


def _constants(model: ir.Model) -> dict[str, Array]:
    found = {}
    for value in model.graph.outputs:
        assert value.const_value is not None, f"{value.name} is computed"
        found[str(value.name)] = value.const_value.numpy()
    return found


@pytest.mark.parametrize(
    ("operator", "expected"), [("ReduceSum", 0.0), ("ReduceProd", 1.0), ("ReduceMax", -np.inf)]
)
def test_a_reduction_over_nothing_is_what_the_standard_says(operator: str, expected: float) -> None:
    node = helper.make_node(operator, ["x", "a"], ["y"], keepdims=1)
    model = _prepared([node], (2, 0, 3), ["y"], a=np.array([1]))
    assert np.array_equal(_constants(model)["y"], np.full((2, 1, 3), expected, np.float32))
    assert [value.name for value in model.graph.inputs] == ["x"]


def test_a_slice_that_keeps_nothing_is_a_constant_whatever_it_reads() -> None:
    node = helper.make_node("Slice", ["x", "b", "e"], ["y"])
    model = _prepared([node], (4, 3), ["y"], b=np.array([2]), e=np.array([2]))
    assert _constants(model)["y"].shape == (0, 3)


def test_only_the_empty_outputs_of_a_node_are_replaced() -> None:
    nodes = [
        helper.make_node("Split", ["x", "s"], ["empty", "rest"]),
        helper.make_node("Concat", ["empty", "rest"], ["y"], axis=0),
        helper.make_node("Relu", ["empty"], ["z"]),
    ]
    model = _prepared(nodes, (4, 3), ["y", "z"], s=np.array([0, 4]))
    computed, constant = model.graph.outputs
    assert (computed.name, constant.name) == ("y", "z")
    assert computed.const_value is None and computed.producer() is not None
    assert constant.const_value is not None and constant.const_value.numpy().shape == (0, 3)


def test_a_model_without_empty_tensors_is_left_alone() -> None:
    model = _prepared([helper.make_node("Relu", ["x"], ["y"])], (4, 3), ["y"])
    assert [node.op_type for node in model.graph] == ["Relu"]
    assert not model.graph.initializers
