"""Concat, Slice, Reshape and the like in rows, reductions with an Unsqueeze, and what is computed
twice."""

from __future__ import annotations

import numpy as np
import pytest

INTS = {
    "o": np.array([0]), "i": np.array([1]), "ii": np.array([2]), "iii": np.array([3]),
    "end": np.array([2**63 - 1]), "back": np.array([-1]), "both": np.array([1, 3]),
    "shape": np.array([0, -1]), "whole": np.array([0, 6, 4]), "six": np.array([6, 4]),
    "flat": np.array([-1, 4]), "ends": np.array([-1, 4]),
}  # fmt: skip
X = "float[n, 6, 4] x"


def graph(body: str, output: str = "a, b, c", inputs: str = X) -> str:
    return f"g ({inputs}) => (float[{output}] y) {{ {body} }}"


def test_concats(parse, rewrite):
    body = """r = Relu (x)
        a = Concat <axis = 1> (x, r)
        b = Concat <axis = -2> (a, x)
        y = Concat <axis = 1> (r, b)"""
    result = rewrite(parse(graph(body)), "merge-concats")
    assert result.ops == {"Relu": 1, "Concat": 1}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("a = Concat <axis = 1> (x, x)\n y = Concat <axis = 2> (a, a)", None),
        ("a = Concat <axis = 1> (x, x)\n y = Concat <axis = 1> (a, a)", "used elsewhere"),
    ],
)
def test_concats_that_stay(parse, rewrite, body, reason):
    result = rewrite(parse(graph(body)), "merge-concats")
    assert not result.modified
    assert [reason in d.reason for d in result.declined if reason] == [True] * len(result.declined)


@pytest.mark.parametrize(
    "body",
    [
        "a = Slice (x, i, iii, i)\n y = Slice (a, o, ii, ii)",
        "a = Slice (x, i, end, i)\n b = Slice (a, o, back, i)\n y = Slice (b, i, end, i)",
        "a = Slice (x, i, end, i, ii)\n y = Slice (a, back, end, ii)",
        "a = Slice (x, ii, i, i)\n y = Slice (a, o, i, ii)",
    ],
    ids=["other axes", "the same axis", "steps", "empty"],
)
def test_slices(parse, rewrite, body):
    result = rewrite(parse(graph(body), **INTS), "merge-slices")
    assert result.ops in ({"Slice": 1}, {})


def test_slices_with_steps_along_one_axis_stay(parse, rewrite):
    body = "a = Slice (x, o, end, i, ii)\n y = Slice (a, i, ii, i)"
    result = rewrite(parse(graph(body), **INTS), "merge-slices")
    assert "cannot be joined" in result.declined[0].reason


@pytest.mark.parametrize(
    ("body", "output", "ops"),
    [
        ("a = Flatten (x)\n y = Reshape (a, whole)", "n, 6, 4", {}),
        ("a = Unsqueeze (x, i)\n y = Squeeze (a, i)", "n, 6, 4", {}),
        ("a = Unsqueeze (x, i)\n y = Unsqueeze (a, o)", "1, n, 1, 6, 4", {"Reshape": 1}),
        ("a = Unsqueeze (x, i)\n b = Flatten (a)\n y = Reshape (b, flat)", "k, 4", {"Reshape": 1}),
        (
            "a = Unsqueeze (x, i)\n y = Transpose <perm = [1, 0, 2, 3]> (a)",
            "1, n, 6, 4",
            {"Reshape": 1},
        ),
    ],
)
def test_views(parse, rewrite, body, output, ops):
    body = f"r = Relu (x)\n {body.replace('(x', '(r')}"
    result = rewrite(parse(graph(body, output), **INTS), "merge-reshapes")
    assert result.ops == {"Relu": 1, **ops}


def test_a_transpose_that_moves_elements_is_no_view(parse, rewrite):
    body = "a = Unsqueeze (x, i)\n y = Transpose <perm = [0, 1, 3, 2]> (a)"
    assert not rewrite(parse(graph(body, "n, 1, 4, 6"), **INTS), "merge-reshapes").modified


@pytest.mark.parametrize("operator", ["ReduceMean", "ReduceMax", "ReduceSum"])
@pytest.mark.parametrize(("axes", "back"), [("i", "i"), ("back", "ii"), ("many", "many")])
def test_reductions_keep_axes(parse, rewrite, operator, axes, back):
    body = f"[r] a = {operator} <keepdims = 0> (x, {axes})\n y = Unsqueeze (a, {back})"
    constants = {**INTS, "many": np.array([2, 1])}
    result = rewrite(parse(graph(body), **constants), "merge-reductions")
    assert [(n.op_type, n.name) for n in result.model.graph] == [(operator, "r")]


def test_the_place_of_the_largest(parse, rewrite):
    text = """g (float[n, 6, 4] x) => (int64[n, 1, 4] y) {
        a = ArgMax <axis = 1, keepdims = 0> (x)
        y = Unsqueeze (a, i)
    }"""
    assert rewrite(parse(text, **INTS), "merge-reductions").ops == {"ArgMax": 1}


def test_reductions_that_stay(parse, rewrite):
    other = "a = ReduceMean <keepdims = 0> (x, i)\n y = Unsqueeze (a, ii)"
    assert not rewrite(parse(graph(other), **INTS), "merge-reductions").modified
    twice = """a = ReduceMean <keepdims = 0> (x, i)
        u = Unsqueeze (a, i)
        y = Mul (u, a)"""
    model = parse(graph(twice, inputs="float[4, 4, 4] x"), **INTS)
    result = rewrite(model, "merge-reductions")
    assert "used elsewhere" in result.declined[0].reason


def test_what_is_computed_twice(parse, rewrite):
    body = """a = Softmax <axis = 1> (x)
        b = Softmax <axis = 1> (x)
        c = Softmax <axis = 2> (x)
        d = Slice (a, o, ii, i)
        e = Slice (b, nothing, ii, i)
        f = Add (d, e)
        g = Slice (c, o, ii, i)
        y = Add (f, g)"""
    constants = {**INTS, "nothing": np.array([0])}
    result = rewrite(parse(graph(body), **constants), "share-subexpressions")
    assert result.ops == {"Softmax": 2, "Slice": 2, "Add": 2}


def test_an_output_that_is_computed_twice_keeps_its_name(parse, rewrite):
    text = f"""g ({X}) => (float[n, 6, 4] y, float[n, 6, 4] z) {{
        a = Relu (x)
        y = Relu (x)
        z = Neg (a)
    }}"""
    assert rewrite(parse(text), "share-subexpressions").ops == {"Relu": 1, "Neg": 1}


def test_two_equal_outputs_are_declined(parse, rewrite):
    text = f"""g ({X}) => (float[n, 6, 4] y, float[n, 6, 4] z) {{
        y = Relu (x)
        z = Relu (x)
    }}"""
    result = rewrite(parse(text), "share-subexpressions")
    assert not result.modified
    assert "outputs of the graph" in result.declined[0].reason


def test_random_numbers_are_drawn_twice(parse):
    from edgewise.exporters.passes import PASSES
    from edgewise.graph import prepare

    body = "a = RandomNormalLike (x)\n b = RandomNormalLike (x)\n y = Sub (a, b)"
    assert not PASSES["share-subexpressions"](prepare(parse(graph(body)))).modified


def test_constants_that_passes_made(parse, rewrite):
    """`prepare` folds all there is before passes run, so the pass finds nothing then."""
    body = "r = Range (zero, ten, one)\n y = Add (x, r)"
    constants = {name: np.float32(n) for name, n in (("zero", 0), ("ten", 4), ("one", 1))}
    assert not rewrite(parse(graph(body), **constants), "fold-constants").modified
