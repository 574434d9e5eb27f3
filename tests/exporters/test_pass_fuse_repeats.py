"""Entries repeated next to each other."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.graph import constant

NAME = "fuse-repeats"


def repeat(data, result, axis, count, shape):
    """Text of `result = repeat(data, count, axis)` for data of this shape, and its constants."""
    longer = [size * count if i == axis else size for i, size in enumerate(shape)]
    text = f"""{result}u = Unsqueeze ({data}, {result}a)
      {result}t = Tile ({result}u, {result}r)
      {result} = Reshape ({result}t, {result}s)"""
    repeats = np.ones(len(shape) + 1, np.int64)
    repeats[axis + 1] = count
    target = np.array([0, *longer[1:]] if axis else longer)
    return text, {f"{result}a": np.array([axis + 1]), f"{result}r": repeats, f"{result}s": target}


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("batch", ["n", "2"])
def test_one_axis(parse, rewrite, axis, batch):
    text, constants = repeat("x", "y", axis, 3, (2, 4, 5, 3))
    model = parse(
        f"g (float[{batch}, 4, 5, 3] x) => (float[a, b, c, d] z) {{ {text}\n z = Relu (y) }}",
        **constants,
    )
    result = rewrite(model, NAME)
    assert result.ops == {"Resize": 1, "Relu": 1}


def test_both_axes_of_a_picture(parse, rewrite):
    rows, first = repeat("x", "y", 1, 2, (2, 4, 5, 3))
    columns, second = repeat("y", "z", 2, 3, (2, 8, 5, 3))
    model = parse(
        f"""g (float[n, 4, 5, 3] x) => (float[a, b, c, d] out) {{
          {rows}
          {columns}
          out = Relu (z) }}""",
        **first, **second,
    )  # fmt: skip
    result = rewrite(model, NAME)
    assert result.ops == {"Resize": 1, "Relu": 1}
    resize = next(node for node in result.model.graph if node.op_type == "Resize")
    assert list(constant(resize.inputs[2])) == [1, 2, 3, 1]


def test_a_tile_that_repeats_the_whole(parse, rewrite):
    model = parse(
        """g (float[2, 4] x) => (float[2, 12] z) {
          u = Unsqueeze (x, one)
          t = Tile (u, r)
          y = Reshape (t, s)
          z = Relu (y) }""",
        one=np.array([1]), r=np.array([1, 3, 1]), s=np.array([2, 12]),
    )  # fmt: skip
    assert not rewrite(model, NAME).modified
