"""LSTM, GRU and RNN as TFLite files: short and long sequences, and quantized models around them.

That the steps are right is shown in tests/graph; here, that the file computes them.
"""

from __future__ import annotations

import numpy as np
import pytest

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
#: steps that are too many to be written out
LONG = {"LSTM": 150, "GRU": 150, "RNN": 560}


def parameters(rng, op_type, directions, inputs, hidden):
    rows = GATES[op_type] * hidden
    shapes = {
        "W": (directions, rows, inputs),
        "R": (directions, rows, hidden),
        "B": (directions, 2 * rows),
    }
    return {
        name: (rng.standard_normal(shape) / np.sqrt(hidden)).astype(np.float32)
        for name, shape in shapes.items()
    }


def recurrent(kit, rng, op_type, *, length, direction="forward", hidden=6, **attributes):
    directions = 2 if direction == "bidirectional" else 1
    feeds = {
        "x": rng.standard_normal((length, 3, 4)).astype(np.float32),
        "lengths": rng.integers(1, length + 1, 3).astype(np.int32),
        "h": rng.standard_normal((directions, 3, hidden)).astype(np.float32),
    }
    node = kit.node(
        op_type,
        ["x", "W", "R", "B", "lengths", "h"],
        ["y", "last"],
        hidden_size=hidden,
        direction=direction,
        **attributes,
    )
    constants = parameters(rng, op_type, directions, 4, hidden)
    outputs = {"y": np.float32, "last": np.float32}
    return kit.model([node], feeds, outputs, constants), feeds


@pytest.mark.parametrize("op_type", sorted(GATES))
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("length", [1, 5])
def test_a_short_sequence(kit, rng, execute, op_type, direction, length):
    source, feeds = recurrent(kit, rng, op_type, length=length, direction=direction)
    assert "WHILE" not in kit.kinds(source)
    assert execute(source, feeds).error <= kit.float_tolerance


@pytest.mark.parametrize("op_type", sorted(GATES))
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_a_long_sequence(kit, rng, execute, op_type, direction):
    source, feeds = recurrent(kit, rng, op_type, length=LONG[op_type], direction=direction)
    found = kit.kinds(source)
    assert found.count("WHILE") == (2 if direction == "bidirectional" else 1)
    assert execute(source, feeds).error <= kit.float_tolerance


def test_no_state_is_left_from_the_run_before(kit, rng, execute):
    source, feeds = recurrent(kit, rng, "LSTM", length=300)
    run = execute(source, feeds)
    from edgewise.targets.android import TARGET

    session = TARGET.open(run.artifact)
    first, second = session.run(feeds), session.run(feeds)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_a_step_is_one_product_and_no_copy_of_its_weights(kit, rng, execute):
    """The inputs of all steps are multiplied at once, and the file holds the weights once."""
    source, feeds = recurrent(kit, rng, "RNN", length=20, hidden=64)
    assert kit.kinds(source).count("FULLY_CONNECTED") == 21
    size = execute(source, feeds).artifact.path.stat().st_size
    assert size < 4 * 64 * (64 + 4) + 60_000


def quantized(kit, rng, op_type, length, hidden):
    """Integer weights behind DequantizeLinear, and QDQ around the node."""
    rows = GATES[op_type] * hidden
    x = rng.standard_normal((length, 1, 4)).astype(np.float32)
    integers = {
        "W": rng.integers(-127, 128, (1, rows, 4)).astype(np.int8),
        "R": rng.integers(-127, 128, (1, rows, hidden)).astype(np.int8),
    }
    constants = {
        "x_s": np.float32(0.03), "x_z": np.int8(4), "y_s": np.float32(0.02), "y_z": np.int8(-9),
        "B": rng.integers(-900, 900, (1, 2 * rows)).astype(np.int32), "B_s": np.float32(1e-4),
        "W_s": np.float32(0.01), "R_s": rng.uniform(1e-3, 3e-3, rows).astype(np.float32),
    }  # fmt: skip
    nodes = [
        kit.node("QuantizeLinear", ["x", "x_s", "x_z"], ["x_q"]),
        kit.node("DequantizeLinear", ["x_q", "x_s", "x_z"], ["x_dq"]),
        kit.node("DequantizeLinear", ["W_q", "W_s"], ["W_dq"]),
        kit.node("DequantizeLinear", ["R_q", "R_s"], ["R_dq"], axis=1),
        kit.node("DequantizeLinear", ["B", "B_s"], ["B_dq"]),
        kit.node(op_type, ["x_dq", "W_dq", "R_dq", "B_dq"], ["raw"], hidden_size=hidden),
        kit.node("QuantizeLinear", ["raw", "y_s", "y_z"], ["y_q"]),
        kit.node("DequantizeLinear", ["y_q", "y_s", "y_z"], ["y"]),
    ]
    constants |= {f"{name}_q": array for name, array in integers.items()}
    return kit.model(nodes, {"x": x}, {"y": np.float32}, constants), {"x": x}


@pytest.mark.parametrize("op_type", sorted(GATES))
@pytest.mark.parametrize("long", [False, True])
def test_a_quantized_model_computes_its_recurrent_part_in_float(kit, rng, execute, op_type, long):
    source, feeds = quantized(kit, rng, op_type, LONG[op_type] if long else 6, hidden=16)
    run = execute(source, feeds, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert run.rules().count("android/float-island") == 1
