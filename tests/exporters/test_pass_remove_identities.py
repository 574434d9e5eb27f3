"""Nodes that change nothing go; those that change something stay."""

from __future__ import annotations

import numpy as np
import pytest

NAME = "remove-identities"
ZERO, ONE = np.float32(0), np.float32(1)


@pytest.mark.parametrize(
    ("node", "constants"),
    [
        ("Identity (r)", {}),
        ("Dropout (r)", {}),
        ("Dropout (r, half, no)", {"half": np.float32(0.5), "no": np.array(False)}),
        ("Cast <to: int = 1> (r)", {}),
        ("Reshape (r, s)", {"s": np.array([2, 3, 4])}),
        ("Expand (r, s)", {"s": np.array([1, 1])}),
        ("Transpose <perm: ints = [0, 1, 2]> (r)", {}),
        ("Concat <axis: int = 1> (r)", {}),
        ("Sum (r)", {}),
        ("Pad (r, p)", {"p": np.zeros(6, np.int64)}),
        ("Add (r, c)", {"c": ZERO}),
        ("Add (c, r)", {"c": np.zeros((1, 1), np.float32)}),
        ("Add (r, c)", {"c": np.zeros((3, 4), np.float32)}),
        ("Sub (r, c)", {"c": ZERO}),
        ("Mul (c, r)", {"c": ONE}),
        ("Div (r, c)", {"c": ONE}),
        ("Clip (r)", {}),
        ("Clip (r, lo, hi)", {"lo": np.float32(-np.inf), "hi": np.float32(np.inf)}),
        ("Slice (r, z, e)", {"z": np.array([0]), "e": np.array([2])}),
    ],
)
def test_removed(parse, rewrite, node, constants):
    model = parse(
        f"g (float[2, 3, 4] x) => (float[2, 3, 4] y) {{ r = Sin (x)\n i = {node}\n y = Cos (i) }}",
        **constants,
    )
    assert rewrite(model, NAME).ops == {"Sin": 1, "Cos": 1}


@pytest.mark.parametrize(
    ("node", "constants"),
    [
        ("Sub (c, r)", {"c": ZERO}),
        ("Div (c, r)", {"c": ONE}),
        ("Mul (r, c)", {"c": ZERO}),
        ("Add (r, c)", {"c": np.eye(3, 4, dtype=np.float32)}),
        ("Transpose <perm: ints = [1, 0, 2]> (r)", {}),
        ("Clip (r, lo)", {"lo": ZERO}),
        ("Reshape (r, s)", {"s": np.array([3, 2, 4])}),
        ("Add (r, c)", {"c": np.zeros((1, 1, 1, 1), np.float32)}),  # one more axis
        (
            "Slice (r, z, e, a, s)",
            {"z": np.array([-1]), "e": np.array([-9]), "a": np.array([0]), "s": np.array([-1])},
        ),
    ],
)
def test_kept(parse, rewrite, node, constants):
    model = parse(f"g (float[2, 3, 4] x) => (float y) {{ r = Sin (x)\n y = {node} }}", **constants)
    model.graph.outputs[0].shape = None
    result = rewrite(model, NAME)
    assert not result.modified
    assert len(list(result.model.graph)) == 2


def test_dropout_whose_mask_is_read_stays(parse, rewrite):
    model = parse(
        "g (float[2, 3] x) => (float[2, 3] y, bool[2, 3] m) { r = Sin (x)\n y, m = Dropout (r) }"
    )
    assert not rewrite(model, NAME).modified


def test_output_names_survive(parse, rewrite):
    model = parse("g (float[2] x) => (float[2] out) { r = Sin (x)\n out = Identity (r) }")
    result = rewrite(model, NAME)
    assert result.ops == {"Sin": 1}
    assert [value.name for value in result.model.graph.outputs] == ["out"]


def test_input_that_is_an_output_keeps_its_identity(parse, rewrite):
    model = parse("g (float[2] x) => (float[2] y) { y = Identity (x) }")
    assert rewrite(model, NAME).ops == {"Identity": 1}


def test_two_outputs_of_one_value_keep_theirs(parse, rewrite):
    model = parse(
        """g (float[2] x) => (float[2] a, float[2] b) {
           r = Sin (x)
           a = Identity (r)
           b = Identity (r) }"""
    )
    result = rewrite(model, NAME)
    assert [value.name for value in result.model.graph.outputs] == ["a", "b"]
    assert result.ops == {"Sin": 1, "Identity": 1}


def test_symbolic_shapes_of_one_name_are_equal(parse, rewrite):
    text = "g (float[batch, 3] x) => (float y) { r = Sin (x)\n i = Reshape (r, s)\n y = Cos (i) }"
    model = parse(text, s=np.array([0, 3]))
    model.graph.outputs[0].shape = None
    assert rewrite(model, NAME).ops == {"Sin": 1, "Cos": 1}
