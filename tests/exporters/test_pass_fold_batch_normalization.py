"""BatchNormalization folded into weights, or spelled out."""

from __future__ import annotations

import numpy as np
import pytest

rng = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def statistics(channels: int) -> dict[str, np.ndarray]:
    return {
        "g": normal(channels),
        "b": normal(channels),
        "m": normal(channels),
        "v": np.abs(normal(channels)) + 0.1,
    }


NAME = "fold-batch-normalization"
NORM = "y = BatchNormalization <epsilon: float = 0.01> (c, g, b, m, v)"


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("group", [1, 2, 4])
def test_conv(parse, rewrite, bias, group):
    model = parse(
        f"""g (float[n, 4, 6, 6] x) => (float[n, 8, 4, 4] y) {{
          c = Conv <group: int = {group}> (x, w{", cb" if bias else ""})
          {NORM} }}""",
        w=normal(8, 4 // group, 3, 3),
        **({"cb": normal(8)} if bias else {}),
        **statistics(8),
    )
    result = rewrite(model, NAME)
    assert result.modified and result.declined == ()
    assert result.ops == {"Conv": 1}
    assert len(result.model.graph.initializers) == 2


@pytest.mark.parametrize("group", [1, 2])
def test_conv_transpose(parse, rewrite, group):
    model = parse(
        f"""g (float[n, 4, 5, 5] x) => (float[n, 6, h, w] y) {{
          c = ConvTranspose <group: int = {group}, strides: ints = [2, 2]> (x, w)
          {NORM} }}""",
        w=normal(4, 6 // group, 2, 3),
        **statistics(6),
    )
    assert rewrite(model, NAME).ops == {"ConvTranspose": 1}


@pytest.mark.parametrize("trans", [0, 1])
@pytest.mark.parametrize("bias", [None, (5,), (1, 5), (1,)])
def test_gemm_with_factors(parse, rewrite, trans, bias):
    model = parse(
        f"""g (float[n, 3] x) => (float[n, 5] y) {{
          c = Gemm <transB: int = {trans}, alpha: float = 0.5, beta: float = 2.0>
              (x, w{", cb" if bias else ""})
          {NORM} }}""",
        w=normal(5, 3) if trans else normal(3, 5),
        **({"cb": normal(*bias)} if bias else {}),
        **statistics(5),
    )
    assert rewrite(model, NAME).ops == {"Gemm": 1}


def test_weights_shared_with_another_node_stay_as_they_were(parse, rewrite):
    model = parse(
        f"""g (float[n, 4, 6, 6] x) => (float[n, 4, 6, 6] y, float[n, 4, 6, 6] z) {{
          c = Conv (x, w)
          {NORM}
          z = Conv (x, w) }}""",
        w=normal(4, 4, 1, 1),
        **statistics(4),
    )
    assert rewrite(model, NAME).ops == {"Conv": 2}


@pytest.mark.parametrize("reader", ["graph output", "another node"])
def test_a_result_read_elsewhere_is_declined_and_a_layer_of_its_own(parse, rewrite, reader):
    second = "float[n, 4, 6, 6] c" if reader == "graph output" else "float[n, 4, 6, 6] z"
    model = parse(
        f"""g (float[n, 4, 6, 6] x) => (float[n, 4, 6, 6] y, {second}) {{
          c = Conv (x, w)
          {NORM}
          {"z = Relu (c)" if reader == "another node" else ""} }}""",
        w=normal(4, 4, 1, 1),
        **statistics(4),
    )
    result = rewrite(model, NAME)
    assert result.ops["Conv"] == 2
    assert "BatchNormalization" not in result.ops
    (declined,) = result.declined
    assert "used elsewhere" in declined.reason


def test_computed_weights_are_declined(parse, rewrite):
    model = parse(
        f"""g (float[n, 4, 6, 6] x, float[4, 4, 1, 1] w) => (float[n, 4, 6, 6] y) {{
          c = Conv (x, w)
          {NORM} }}""",
        **statistics(4),
    )
    result = rewrite(model, NAME)
    assert "weights" in result.declined[0].reason
    assert result.ops == {"Conv": 2}


@pytest.mark.parametrize(
    ("shape", "ops"),
    [
        ("n, 4", {"Mul": 1, "Add": 1}),
        ("n, 4, 5", {"Conv": 1}),
        ("n, 4, 5, 6", {"Conv": 1}),
        ("n, 4, 2, 3, 3", {"Mul": 1, "Add": 1}),
    ],
)
def test_a_lone_one_is_a_layer_of_its_own(parse, rewrite, shape, ops):
    model = parse(
        f"""g (float[{shape}] x) => (float[{shape}] y) {{ c = Relu (x)
          {NORM} }}""",
        **statistics(4),
    )
    result = rewrite(model, NAME)
    assert result.ops == {"Relu": 1, **ops}
    assert result.declined == ()


def test_a_channel_of_nothing_has_no_scale_for_a_weight(parse, rewrite):
    constants = statistics(4)
    constants["g"] = np.float32([1, 0, 2, 3])
    model = parse(
        f"""g (float[n, 4, 5, 6] x) => (float[n, 4, 5, 6] y) {{ c = Relu (x)
          {NORM} }}""",
        **constants,
    )
    assert rewrite(model, NAME).ops == {"Relu": 1, "Mul": 1, "Add": 1}


def test_training_mode_is_declined(parse):
    from edgewise.exporters.passes import PASSES

    model = parse(
        """g (float[n, 4, 6, 6] c) => (float[n, 4, 6, 6] y, float[4] a, float[4] z) {
          y, a, z = BatchNormalization <training_mode: int = 1> (c, g, b, m, v) }""",
        **statistics(4),
    )
    outcome = PASSES[NAME](model)
    assert not outcome.modified
    assert "training" in outcome.declined[0].reason


def test_a_gemm_bias_per_row_is_declined(parse, rewrite):
    model = parse(
        f"""g (float[5, 3] x) => (float[5, 5] y) {{ c = Gemm (x, w, cb)
          {NORM} }}""",
        w=normal(3, 5),
        cb=normal(5, 1),
        **statistics(5),
    )
    result = rewrite(model, NAME)
    assert result.ops == {"Gemm": 1, "Mul": 1, "Add": 1}
    assert "one constant per channel" in result.declined[0].reason
