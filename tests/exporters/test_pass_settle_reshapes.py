"""Shapes that the graph computes although they are known."""

from __future__ import annotations

import numpy as np

from edgewise.graph import constant

NAME = "settle-reshapes"
BATCH = """
  shape = Shape (x)
  n = Gather (shape, zero)
  one_axis = Unsqueeze (n, axes)
"""
CONSTANTS = {
    "zero": np.array(0),
    "axes": np.array([0]),
    "rest": np.array([-1]),
    "six": np.array([6]),
}


def target(model) -> list[int]:
    (node,) = (n for n in model.graph if n.op_type == "Reshape")
    return constant(node.inputs[1]).tolist()


def test_flatten_that_keeps_the_batch(parse, rewrite):
    model = parse(
        f"""g (float[batch, 4, 3] x) => (float[batch, 12] y) {{ {BATCH}
          s = Concat <axis: int = 0> (one_axis, rest)
          y = Reshape (x, s) }}""",
        **CONSTANTS,
    )
    result = rewrite(model, NAME)
    assert result.ops == {"Reshape": 1}
    assert target(result.model) in ([0, 12], [-1, 12])


def test_the_batch_may_move(parse, rewrite):
    model = parse(
        f"""g (float[batch, 2, 3] x) => (float[6, batch] y) {{ {BATCH}
          s = Concat <axis: int = 0> (six, one_axis)
          y = Reshape (x, s) }}""",
        **CONSTANTS,
    )
    result = rewrite(model, NAME)
    assert result.ops == {"Reshape": 1}
    assert target(result.model) == [6, -1]


def test_constant_shapes_are_left_alone(parse, rewrite):
    model = parse(
        "g (float[batch, 4, 3] x) => (float[batch, 12] y) { y = Reshape (x, s) }",
        s=np.array([-1, 12]),
    )
    result = rewrite(model, NAME)
    assert not result.modified and result.declined == ()


def test_two_unknown_axes_are_declined(parse, rewrite):
    model = parse(
        """g (float[batch, h, 4] x) => (float[a, 2, b] y) {
          shape = Shape (x)
          n = Gather (shape, ends)
          first = Slice (n, zero1, one1)
          s = Concat <axis: int = 0> (first, two, rest)
          y = Reshape (x, s) }""",
        ends=np.array([1, 0]),
        zero1=np.array([0]),
        one1=np.array([1]),
        two=np.array([2]),
        rest=np.array([-1]),
    )
    result = rewrite(model, NAME)
    assert not result.modified
    assert "computed from the data" in result.declined[0].reason
