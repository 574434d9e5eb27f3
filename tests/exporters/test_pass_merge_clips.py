"""Intervals in a row."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewise.graph import constant

NAME = "merge-clips"
SIX = np.float32(6)
ZERO = np.float32(0)


def bounds(node: ir.Node) -> list[float | None]:
    arrays = [constant(value) for value in node.inputs[1:]]
    return [None if array is None else float(array) for array in arrays]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("r = Relu (x)\n y = Min (r, six)", [0.0, 6.0]),
        ("r = Max (x, zero)\n y = Min (six, r)", [0.0, 6.0]),
        ("r = Min (x, six)\n y = Max (zero, r)", [0.0, 6.0]),
        ("r = Relu (x)\n y = Clip (r, zero, six)", [0.0, 6.0]),
        ("r = Clip (x, zero, six)\n y = Relu (r)", [0.0, 6.0]),
        ("y = Min (x, six)", [None, 6.0]),
    ],
)
def test_become_one_clip(parse, rewrite, body, expected):
    result = rewrite(
        parse(f"g (float[2, 9] x) => (float[2, 9] y) {{ {body} }}", six=SIX, zero=ZERO), NAME
    )
    (node,) = result.model.graph
    assert node.op_type == "Clip"
    assert bounds(node) == expected


@pytest.mark.parametrize(
    "body",
    ["y = Max (x, zero)", "y = Clip (x, zero)", "r = Relu (x)\n y = Relu (r)"],
)
def test_become_relu(parse, rewrite, body):
    result = rewrite(parse(f"g (float[9] x) => (float[9] y) {{ {body} }}", zero=ZERO), NAME)
    assert result.ops == {"Relu": 1}


def test_plain_ones_are_left_alone(parse, rewrite):
    model = parse(
        "g (float[9] x) => (float[9] y) { r = Relu (x)\n s = Sin (r)\n y = Clip (s, zero, six) }",
        six=SIX,
        zero=ZERO,
    )
    assert not rewrite(model, NAME).modified


def test_a_result_read_elsewhere_is_declined(parse, rewrite):
    model = parse(
        "g (float[9] x) => (float[9] y, float[9] r) { r = Relu (x)\n y = Min (r, six) }", six=SIX
    )
    result = rewrite(model, NAME)
    assert result.ops == {"Relu": 1, "Clip": 1}  # the Min is still written in its plain form
    assert "used elsewhere" in result.declined[0].reason


@pytest.mark.parametrize("body", ["y = Max (x, x)", "y = Max (x, v)", "y = Min (x, six, six)"])
def test_other_forms_are_kept(parse, rewrite, body):
    model = parse(f"g (float[3] x) => (float[3] y) {{ {body} }}", six=SIX, v=np.ones(3, np.float32))
    assert not rewrite(model, NAME).modified


def test_integers_are_kept(parse, rewrite):
    model = parse("g (int32[3] x) => (int32[3] y) { y = Max (x, c) }", c=np.int32(0))
    assert not rewrite(model, NAME).modified


interval = st.tuples(st.integers(-4, 4), st.integers(0, 5))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(interval, min_size=1, max_size=4))
def test_any_chain_is_one_node(parse, rewrite, chain):
    constants, lines = {}, []
    for index, (low, width) in enumerate(chain):
        constants[f"l{index}"], constants[f"h{index}"] = np.float32(low), np.float32(low + width)
        out = "y" if index == len(chain) - 1 else f"t{index}"
        lines.append(f"{out} = Clip ({'x' if not index else f't{index - 1}'}, l{index}, h{index})")
    model = parse(f"g (float[40] x) => (float[40] y) {{ {chr(10).join(lines)} }}", **constants)
    assert rewrite(model, NAME, tolerance=0.0).ops == {"Clip": 1}
