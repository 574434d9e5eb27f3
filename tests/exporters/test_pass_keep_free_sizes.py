"""Reshapes to (-1, ...) of tensors whose first size is free."""

from __future__ import annotations

import numpy as np
import pytest

NAME = "keep-free-sizes"


def model(parse, shape, target):
    return parse(
        f"""g (float[{shape}] x) => (float[p, q] out) {{
          s = Sin (x)
          r = Reshape (s, target)
          out = Relu (r) }}""",
        target=np.array(target),
    )


@pytest.mark.parametrize("target", [[-1, 24], [-1, 6, 4]])
def test_the_size_keeps_its_name(parse, rewrite, target):
    result = rewrite(model(parse, "batch, 4, 2, 3", target), NAME)
    assert result.modified
    value = next(n.outputs[0] for n in result.model.graph if n.op_type == "Reshape")
    assert str(value.shape) == f"[batch,{','.join(map(str, target[1:]))}]"


@pytest.mark.parametrize(
    ("shape", "target"),
    [("batch, 4, 2, 3", [-1, 12]), ("2, 4, 2, 3", [-1, 24]), ("batch, n, 2, 3", [-1, 6])],
)
def test_other_reshapes_stay(parse, rewrite, shape, target):
    assert not rewrite(model(parse, shape, target), NAME).modified
