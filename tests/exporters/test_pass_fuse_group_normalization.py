"""GroupNormalization around InstanceNormalization."""

from __future__ import annotations

import numpy as np
import pytest

NAME = "fuse-group-normalization"
RNG = np.random.default_rng(0)
CONSTANTS = {
    "split": np.array([0, 2, -1]),
    "ones": np.ones(2, np.float32),
    "noughts": np.zeros(2, np.float32),
    "s": RNG.standard_normal(2, np.float32),
    "b": RNG.standard_normal(2, np.float32),
    "back": np.array([0, 4, 5, 6]),
    "g": RNG.standard_normal((4, 1, 1), np.float32),
    "h": RNG.standard_normal((1, 4, 1, 1), np.float32),
    "plane": RNG.standard_normal((5, 6), np.float32),
}
BODY = """a = Reshape (x, split)
    [norm] i = InstanceNormalization <epsilon = 0.001> (a, s, b)
    r = Reshape (i, back)
    """


def graph(body: str, output: str = "n, 4, 5, 6") -> str:
    return f"g (float[n, 4, 5, 6] x) => (float[{output}] y) {{ {body} }}"


@pytest.mark.parametrize(
    ("end", "left"),
    [
        ("y = Neg (r)", {"Neg": 1}),
        ("m = Mul (r, g)\n y = Add (m, h)", {}),
        ("m = Mul (g, r)\n y = Neg (m)", {"Neg": 1}),
        ("y = Add (h, r)", {}),
        ("m = Add (r, h)\n y = Mul (m, g)", {"Mul": 1}),
        ("m = Mul (r, plane)\n y = Add (m, h)", {"Mul": 1, "Add": 1}),
    ],
)
def test_fused(parse, rewrite, end, left):
    result = rewrite(parse(graph(BODY + end), **CONSTANTS), NAME, tolerance=1e-5)
    assert result.ops == {"GroupNormalization": 1, **left}
    node = next(n for n in result.model.graph if n.op_type == "GroupNormalization")
    assert (node.name, node.attributes["num_groups"].value) == ("norm", 2)


@pytest.mark.parametrize(
    ("body", "output"),
    [
        (BODY.replace("split)", "other)").replace("back)", "any)") + "y = Neg (r)", "n, 4, 5, 6"),
        (BODY.replace("back)", "flat)") + "y = Neg (r)", "n, 120"),
    ],
    ids=["batches in groups", "another shape behind it"],
)
def test_other_reshapes_stay(parse, rewrite, body, output):
    more = {
        "other": np.array([-1, 2, 5]),
        "any": np.array([-1, 4, 5, 6]),
        "flat": np.array([0, 120]),
    }
    result = rewrite(parse(graph(body, output), **CONSTANTS, **more), NAME)
    assert not result.modified


def test_a_result_that_is_read_elsewhere_is_declined(parse, rewrite):
    body = f"{BODY} m = ReduceMax (i)\n y = Add (r, m)"
    result = rewrite(parse(graph(body), **CONSTANTS), NAME)
    assert "used elsewhere" in result.declined[0].reason
