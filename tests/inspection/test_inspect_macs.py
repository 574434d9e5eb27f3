"""Multiply-accumulates per operator, from the definition of each."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgewise.inspection.onnx_network import network_of
from edgewise.inspection.summary import Summary, summarize


def summary(model: ir.Model) -> Summary:
    return summarize(network_of(model, {}))


def floats(*shape: int) -> Any:
    return np.ones(shape, np.float32)


#: operator, its inputs (a shape: computed; an array: constant), attributes, MACs
CASES: list[tuple[str, list[Any], dict[str, Any], int]] = [
    ("Conv", [(1, 3, 8, 8), floats(4, 3, 3, 3)], {"strides": [2, 2]}, 9 * 4 * 27),
    ("Conv", [(2, 6, 5), floats(6, 1, 3)], {"group": 6}, 2 * 6 * 3 * 3),  # depthwise
    ("Conv", [(1, 4, 4, 4), floats(8, 2, 1, 1)], {"group": 2}, 16 * 8 * 2),
    ("ConvTranspose", [(1, 4, 5, 5), floats(4, 3, 2, 2)], {"strides": [2, 2]}, 100 * 3 * 4),
    ("Gemm", [(2, 7), floats(5, 7)], {"transB": 1}, 2 * 5 * 7),
    ("Gemm", [(7, 2), floats(7, 5)], {"transA": 1}, 2 * 5 * 7),
    ("MatMul", [(3, 2, 4), (3, 4, 5)], {}, 3 * 2 * 5 * 4),
    ("MatMul", [(4,), (4,)], {}, 4),
    ("Einsum", [(2, 3, 4), (2, 4, 5)], {"equation": "bij,bjk->bik"}, 2 * 3 * 4 * 5),
    ("Einsum", [(6, 2, 3), (3, 4)], {"equation": "...ij,jk->...ik"}, 6 * 2 * 3 * 4),
    ("Einsum", [(2, 3)], {"equation": "ij->ji"}, 0),
    ("LSTM", [(7, 2, 3), floats(1, 20, 3), floats(1, 20, 5)], {"hidden_size": 5},
     7 * 2 * (20 * 3 + 20 * 5)),
    ("GRU", [(7, 2, 3), floats(2, 15, 3), floats(2, 15, 5)],
     {"hidden_size": 5, "direction": "bidirectional"}, 7 * 2 * 2 * (15 * 3 + 15 * 5)),
    ("RNN", [(7, 2, 3), floats(1, 5, 3), floats(1, 5, 5)], {"hidden_size": 5}, 14 * (15 + 25)),
    ("Relu", [(2, 3)], {}, 0),
    ("GlobalAveragePool", [(1, 2, 4, 4)], {}, 0),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "given", "attributes", "wanted"), CASES)
def test_operator(make_graph: Any, kind: str, given: Any, attributes: Any, wanted: int) -> None:
    names = [f"i{index}" for index in range(len(given))]
    computed = {n: list(v) for n, v in zip(names, given, strict=True) if isinstance(v, tuple)}
    constants = {n: v for n, v in zip(names, given, strict=True) if not isinstance(v, tuple)}
    node = helper.make_node(kind, names, ["y"], "node", **attributes)
    found = summary(make_graph([node], computed, ["y"], constants))
    assert found.macs.total == wanted
    assert not found.macs.uncounted
    assert found.layers[0].macs == wanted


@pytest.mark.parametrize("four_axes", [True, False])
def test_attention_counts_scores_and_values(make_graph: Any, four_axes: bool) -> None:
    """2 queries, 5 keys of which 2 are past ones, 4 heads of 8, values of 6."""
    if four_axes:
        shapes = {"q": [1, 4, 2, 8], "k": [1, 4, 3, 8], "v": [1, 4, 3, 6]}
        attributes = {}
    else:
        shapes = {"q": [1, 2, 32], "k": [1, 3, 32], "v": [1, 3, 24]}
        attributes = {"q_num_heads": 4, "kv_num_heads": 4}
    past = {"pk": [1, 4, 2, 8], "pv": [1, 4, 2, 6]}
    node = helper.make_node(
        "Attention", ["q", "k", "v", "", "pk", "pv"], ["y", "nk", "nv"], "a", **attributes
    )
    found = summary(make_graph([node], {**shapes, **past}, ["y"], opset=23))
    assert found.macs.total == 4 * 2 * 5 * (8 + 6)


def test_a_loop_runs_as_often_as_its_limit_says(make_graph: Any, matrix_loop: Any) -> None:
    constants = {"n": np.array(6, np.int64), "w": floats(4, 4)}
    found = summary(make_graph([matrix_loop], {"x0": [1, 4]}, ["y"], constants))
    assert found.macs.total == 6 * 16
    assert [(layer.operator, layer.macs) for layer in found.layers] == [
        ("Loop", 0), ("MatMul", 96), ("Identity", 0),
    ]  # fmt: skip
    assert found.parameters.count == 16  # of around the body


def test_a_loop_of_unknown_length_counts_once_and_is_told(
    make_graph: Any, matrix_loop: Any
) -> None:
    model = make_graph(
        [matrix_loop], {"x0": [1, 4], "n": []}, ["y"], {"w": floats(4, 4)},
        dtypes={"n": TensorProto.INT64},
    )  # fmt: skip
    found = summary(model)
    assert found.macs.total == 16
    (told,) = found.macs.uncounted
    assert (told.operator, told.count) == ("Loop", 1)
    assert "counted once" in told.reason


def test_of_two_branches_the_larger_one_counts(make_graph: Any) -> None:
    def branch(name: str, matrix: str) -> Any:
        out = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)
        product = helper.make_node("MatMul", ["x", matrix], [f"{name}_y"], f"{name}_product")
        return helper.make_graph([product], name, [], [out])

    node = helper.make_node(
        "If",
        ["flag"],
        ["y"],
        "if",
        then_branch=branch("a", "small"),
        else_branch=branch("b", "big"),
    )
    model = make_graph(
        [node], {"x": [1, 4], "flag": []}, ["y"],
        {"small": floats(4, 2), "big": floats(4, 9)}, dtypes={"flag": TensorProto.BOOL},
    )  # fmt: skip
    found = summary(model)
    assert found.macs.total == 36
    assert {layer.name: layer.macs for layer in found.layers} == {
        "if": 0, "a_product": 0, "b_product": 36,
    }  # fmt: skip


def test_a_scan_runs_once_per_step(make_graph: Any) -> None:
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["h", "w"], ["p"], "product"),
            helper.make_node("Add", ["p", "x"], ["h2"], "add"),
            helper.make_node("Identity", ["h2"], ["out"], "copy"),
        ],
        "body",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [3]) for n in ("h", "x")],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [3]) for n in ("h2", "out")],
    )
    node = helper.make_node("Scan", ["h0", "xs"], ["h", "ys"], "scan", body=body, num_scan_inputs=1)
    found = summary(make_graph([node], {"h0": [3], "xs": [11, 3]}, ["ys"], {"w": floats(3, 3)}))
    assert found.macs.total == 11 * 9


def test_a_product_of_constants_costs_nothing(make_graph: Any) -> None:
    nodes = [
        helper.make_node("MatMul", ["a", "b"], ["w"], "constant"),
        helper.make_node("MatMul", ["x", "w"], ["y"], "product"),
    ]
    found = summary(make_graph(nodes, {"x": [1, 4]}, ["y"], {"a": floats(4, 9), "b": floats(9, 2)}))
    assert found.macs.total == 8


def test_operators_of_an_unknown_domain_are_told(make_graph: Any) -> None:
    node = helper.make_node("Mystery", ["x"], ["y"], "secret", domain="com.example")
    found = summary(make_graph([node], {"x": [1, 4]}, ["y"], domains=["com.example"]))
    (told,) = found.macs.uncounted
    assert told.operator == "Mystery"
    assert "com.example" in told.reason
    assert found.layers[0].macs is None
    assert found.memory.peak_bytes is None
    assert found.memory.reason == "the size of 'y' is not known"


def test_a_shape_that_only_a_run_tells(make_graph: Any) -> None:
    """Range and its length come from data that inference does not follow."""
    nodes = [
        helper.make_node("Mul", ["half", "two"], ["end"], "mul"),
        helper.make_node("Cast", ["end"], ["limit"], "cast", to=TensorProto.INT64),
        helper.make_node("Range", ["zero", "limit", "one"], ["rows"], "range"),
        helper.make_node("Gather", ["table", "rows"], ["picked"], "pick"),
        helper.make_node("Mul", ["picked", "x"], ["scaled"], "scale"),
        helper.make_node("MatMul", ["scaled", "w"], ["y"], "product"),
    ]
    constants = {
        "half": np.array(2.0, np.float32), "two": np.array(2.0, np.float32),
        "zero": np.array(0, np.int64), "one": np.array(1, np.int64),
        "table": floats(9, 3), "w": floats(3, 5),
    }  # fmt: skip
    found = summary(make_graph(nodes, {"x": [1]}, ["y"], constants))
    assert found.macs.total == 4 * 3 * 5


def test_free_dimensions_are_one_and_told(make_graph: Any) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], "conv")
    model = make_graph([node], {"x": ["batch", 3, "height", 8]}, ["y"], {"w": floats(2, 3, 1, 1)})
    fixed = model.clone()
    found = summary(model)
    assert found.macs.free_dimensions == ("batch", "height")
    assert found.macs.total == 8 * 2 * 3
    given = summarize(network_of(fixed, {"x": [4, 3, "height", 8]}))
    assert given.macs.free_dimensions == ("height",)
    assert given.macs.total == 4 * 8 * 2 * 3


@pytest.mark.parametrize(("bits", "packed"), [(4, 16), (8, 32)])
def test_packed_products_of_onnx_runtime(make_graph: Any, bits: int, packed: int) -> None:
    node = helper.make_node(
        "MatMulNBits", ["x", "b", "s"], ["y"], "product", domain="com.microsoft",
        K=32, N=6, bits=bits, block_size=32,
    )  # fmt: skip
    constants = {"b": np.zeros((6, 1, packed), np.uint8), "s": floats(6)}
    model = make_graph([node], {"x": [2, 32]}, ["y"], constants, domains=["com.microsoft"])
    found = summary(model)
    assert found.macs.total == 2 * 32 * 6
    (layer,) = found.layers
    assert layer.precision == f"w{bits}"
    assert found.parameters.count == 32 * 6
    assert found.parameters.bytes == 6 * packed
