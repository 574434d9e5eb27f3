"""Transposes in a row."""

from __future__ import annotations

from itertools import permutations

import pytest

from edgewise.graph import attribute

NAME = "merge-transposes"
ORDERS = [list(order) for order in permutations(range(3))]


@pytest.mark.parametrize("first", ORDERS)
@pytest.mark.parametrize("second", ORDERS)
def test_any_pair_is_one_or_none(parse, rewrite, first, second):
    model = parse(
        f"""g (float[2, 3, 4] x) => (float[a, b, c] y) {{
          s = Sin (x)
          t = Transpose <perm: ints = {first}> (s)
          u = Transpose <perm: ints = {second}> (t)
          y = Cos (u) }}"""
    )
    result = rewrite(model, NAME)
    merged = [first[axis] for axis in second]
    found = [attribute(n, "perm") for n in result.model.graph if n.op_type == "Transpose"]
    assert found == ([] if merged == [0, 1, 2] else [merged])


def test_missing_permutation_reverses(parse, rewrite):
    model = parse(
        """g (float[2, 3, 4] x) => (float[2, 3, 4] y) {
          s = Sin (x)
          t = Transpose (s)
          u = Transpose (t)
          y = Cos (u) }"""
    )
    assert rewrite(model, NAME).ops == {"Sin": 1, "Cos": 1}


def test_chain_of_three_and_a_reader_of_the_middle(parse, rewrite):
    model = parse(
        """g (float[2, 3, 4] x) => (float[4, 2, 3] y, float[3, 4, 2] z) {
          t = Transpose <perm: ints = [1, 2, 0]> (x)
          z = Sin (t)
          u = Transpose <perm: ints = [1, 2, 0]> (t)
          v = Transpose <perm: ints = [0, 2, 1]> (u)
          w = Transpose <perm: ints = [0, 2, 1]> (v)
          y = Cos (w) }"""
    )
    result = rewrite(model, NAME)
    assert result.ops == {"Transpose": 2, "Sin": 1, "Cos": 1}


def test_pair_between_input_and_output_keeps_the_names(parse, rewrite):
    model = parse(
        """g (float[2, 3] x) => (float[2, 3] y) {
          t = Transpose <perm: ints = [1, 0]> (x)
          y = Transpose <perm: ints = [1, 0]> (t) }"""
    )
    result = rewrite(model, NAME)
    assert [v.name for v in result.model.graph.outputs] == ["y"]
    assert result.ops == {"Transpose": 1}  # the identity that remove-identities cannot drop either
