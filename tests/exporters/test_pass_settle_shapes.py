"""Arithmetic on shapes, as TorchScript's exporter writes it for models with free dimensions."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

NAME = "settle-shapes"
INTS = {
    "zero": np.array(0), "one": np.array(1), "zeros": np.array([0]), "ones": np.array([1]),
    "twos": np.array([2]), "minus": np.array([-1]), "minuses": np.array([-1, -1, -1]),
    "six": np.array([6]), "seven": np.array([7]),
}  # fmt: skip


def ops_of(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def graph(inputs: str, output: str, body: str) -> str:
    return f"g ({inputs}) => (float[{output}] y) {{ {body} }}"


def test_a_view_by_the_batch_is_constant(parse, rewrite):
    body = """s = Shape (x)
        b = Gather (s, zero)
        u = Unsqueeze (b, zeros)
        t = Concat <axis = 0> (u, minus)
        y = Reshape (x, t)"""
    result = rewrite(parse(graph("float[n, 2, 3] x", "n, k", body), **INTS), NAME)
    assert ops_of(result.model) == ["Reshape"]


def test_a_named_size_anywhere_is_what_is_left(parse, rewrite):
    body = """s = Shape (x)
        b = Gather (s, zeros)
        t = Concat <axis = 0> (six, b)
        y = Reshape (x, t)"""
    result = rewrite(parse(graph("float[n, 2, 3] x", "6, n", body), **INTS), NAME)
    assert ops_of(result.model) == ["Reshape"]


def test_expansion_to_the_own_size(parse, rewrite):
    """`x.expand(-1, 5, -1)`: minus ones are told apart by Equal and Where."""
    body = """s = Shape (x)
        b = Gather (s, zeros)
        t = Concat <axis = 0> (b, seven, minus)
        e = Equal (t, minuses)
        m = Mul (minuses, minuses)
        w = Where (e, m, t)
        y = Expand (x, w)"""
    result = rewrite(parse(graph("float[n, 1, 3] x", "n, 7, 3", body), **INTS), NAME)
    assert ops_of(result.model) == ["Expand"]


def test_a_slice_to_the_own_end(parse, rewrite):
    body = """s = Shape (x)
        b = Gather (s, ones)
        y = Slice (x, ones, b, ones, ones)"""
    result = rewrite(parse(graph("float[n, m] x", "n, k", body), **INTS), NAME)
    assert ops_of(result.model) == ["Slice"]


def test_neighbouring_sizes_are_one_node(parse, rewrite):
    body = """s = Shape (x)
        b = Gather (s, one)
        c = Gather (s, ones)
        u = Unsqueeze (b, zeros)
        d = Slice (s, twos, seven)
        t = Concat <axis = 0> (u, d)
        y = Expand (z, t)"""
    model = parse(graph("float[n, m, k] x, float[1, 1] z", "m, k", body), **INTS)
    result = rewrite(model, NAME)
    assert ops_of(result.model) == ["Shape", "Expand"]
    shape = next(iter(result.model.graph))
    assert (shape.attributes["start"].value, shape.attributes["end"].value) == (1, 3)


def test_equal_vectors_are_one(parse, rewrite):
    """The sizes of two tensors of one name, and arithmetic with what is not known."""
    body = """s = Shape (x)
        r = Shape (w)
        a = Gather (s, zeros)
        b = Gather (r, zeros)
        c = Add (a, twos)
        d = Add (twos, b)
        p = Expand (z, c)
        q = Expand (z, d)
        y = Add (p, q)"""
    model = parse(graph("float[n] x, float[n, 2] w, float[1] z", "k", body), **INTS)
    result = rewrite(model, NAME)
    assert result.ops == {"Shape": 1, "Add": 2, "Expand": 2}


@pytest.mark.parametrize(
    ("operator", "left", "right", "expected"),
    [
        ("Add", 5, 2, 7), ("Sub", 5, 7, -2), ("Mul", 5, -2, -10), ("Div", 7, 2, 3),
        ("Div", -7, 2, -3),
    ],
)  # fmt: skip
def test_numbers_are_computed_as_the_runtime_does(parse, rewrite, operator, left, right, expected):
    """Behind sizes that are known only to this pass: those of a result without a shape."""
    body = f"""s = Shape (x)
        e = Sub (s, s)
        a = Add (e, left)
        t = {operator} (a, right)
        f = Cast <to = 1> (t)
        y = Add (x, f)"""
    constants = {"left": np.array([left]), "right": np.array([right])}
    result = rewrite(parse(graph("float[n] x", "n", body), **constants), NAME)
    assert result.ops == {"Cast": 1, "Add": 1}
    value = next(n for n in result.model.graph if n.op_type == "Cast").inputs[0]
    assert value.const_value.numpy().tolist() == [expected]


def test_what_is_computed_from_data_stays(parse, rewrite):
    body = """a = Abs (x)
        i = Cast <to = 7> (a)
        t = Gather (i, zeros)
        e = Expand (z, t)
        y = ReduceSum (e)"""
    result = rewrite(parse(graph("float[3] x, float[1] z", "1", body), **INTS), NAME)
    assert not result.modified
