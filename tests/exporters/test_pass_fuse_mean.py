"""A sum divided by its count is a mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

AXES = np.array([2, 3])


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize(
    ("step", "factor"), [("Div (s, c)", 20.0), ("Mul (s, c)", 1 / 20), ("Mul (c, s)", 1 / 20)]
)
def test_sum_over_count(parse: Any, rewrite: Any, keepdims: int, step: str, factor: float) -> None:
    model = parse(
        f"""g (float[n, 3, 4, 5] x) => (float[] y)
        {{ s = ReduceSum <keepdims: int = {keepdims}> (x, axes)
           y = {step} }}""",
        axes=AXES,
        c=np.float32(factor),
    )
    model.graph.outputs[0].shape = None
    result = rewrite(model, "fuse-mean")
    assert result.ops == {"ReduceMean": 1}


@pytest.mark.parametrize(
    "body",
    [
        "s = ReduceSum (x, axes)\n y = Div (s, other)",  # of another count
        "s = ReduceSum (x, free)\n y = Div (s, c)",  # of a size that is not known
        "s = ReduceSum (x, axes)\n z = Div (s, c)\n y = Add (z, s)",  # the sum is read elsewhere
        "s = ReduceSum (x, axes)\n y = Div (c, s)",  # the count over the sum
    ],
)
def test_left_alone(parse: Any, rewrite: Any, body: str) -> None:
    model = parse(
        f"g (float[n, 3, 4, 5] x) => (float[a, b, c, d] y) {{ {body} }}",
        axes=AXES,
        free=np.array([0]),
        c=np.float32(20),
        other=np.float32(10),
    )
    assert not rewrite(model, "fuse-mean").modified
