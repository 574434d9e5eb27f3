"""Attention of every form, written in matrix products and a softmax."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgewise.graph import prepare
from edgewise.graph.expand import expand

QUERIES, KEYS, SIZE, VALUE_SIZE = 4, 6, 8, 5


def qkv(rng, queries=3, keys=3, *, batch=2, flat=False):
    arrays = [
        rng.standard_normal((batch, heads, length, size)).astype(np.float32)
        for heads, length, size in (
            (queries, QUERIES, SIZE),
            (keys, KEYS, SIZE),
            (keys, KEYS, VALUE_SIZE),
        )
    ]
    if flat:
        arrays = [a.transpose(0, 2, 1, 3).reshape(batch, a.shape[2], -1) for a in arrays]
    return arrays


def check(rewritten, inputs, *, constants=(), outputs=1, opset=24, **attributes):
    result = rewritten(
        "Attention", inputs, constants=constants, outputs=outputs, opset=opset, **attributes
    )
    assert not result.declined and "Attention" not in result.ops
    assert result.error < 1e-5
    return result


@pytest.mark.parametrize("heads", [(3, 3), (4, 2), (4, 1)])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("options", [{}, {"scale": 0.3}, {"softcap": 2.0}, {"is_causal": 1}])
def test_heads(rewritten, rng, heads, flat, options):
    if flat:
        options = {**options, "q_num_heads": heads[0], "kv_num_heads": heads[1]}
    check(rewritten, qkv(rng, *heads, flat=flat), **options)


def test_plain_attention_is_five_operators(rewritten, rng):
    result = check(rewritten, qkv(rng))
    assert result.ops == ["Mul", "Transpose", "MatMul", "Softmax", "MatMul"]


def test_grouped_heads_copy_nothing(rewritten, rng):
    result = check(rewritten, qkv(rng, 4, 2))
    assert set(result.ops) == {"Mul", "Reshape", "Transpose", "MatMul", "Softmax"}


MASKS = {
    "bool": lambda rng: rng.random((QUERIES, KEYS)) < 0.6,
    "bool per head": lambda rng: rng.random((3, QUERIES, KEYS)) < 0.6,
    "bool per sample": lambda rng: rng.random((2, 1, QUERIES, KEYS)) < 0.6,
    "short": lambda rng: rng.random((QUERIES, KEYS - 2)) < 0.6,
    "short float": lambda rng: rng.standard_normal((QUERIES, KEYS - 2)).astype(np.float32),
    "float": lambda rng: rng.standard_normal((2, 3, QUERIES, KEYS)).astype(np.float32),
    "lowest": lambda rng: np.where(
        rng.random((QUERIES, KEYS)) < 0.5, np.float32(0), np.finfo(np.float32).min
    ),
    "infinite": lambda rng: np.where(
        rng.random((QUERIES, KEYS)) < 0.5, np.float32(0), np.float32(-np.inf)
    ),
}


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("causal", [0, 1])
def test_masks(rewritten, rng, kind, known, causal):
    mask = MASKS[kind](rng)
    mask[..., 0, :] = False if mask.dtype == bool else -np.inf  # a row without any key
    constants = [3] if known else []
    check(rewritten, [*qkv(rng), mask], constants=constants, is_causal=causal)


@pytest.mark.parametrize("mode", [1, 2, 3])
@pytest.mark.parametrize("known", [False, True])
def test_shown_scores(rewritten, rng, mode, known):
    mask = rng.random((QUERIES, KEYS)) < 0.6
    mask[1] = False
    inputs = [*qkv(rng), mask]
    options = {"constants": [3] if known else [], "outputs": 4}
    result = rewritten(
        "Attention", inputs, opset=24, qk_matmul_output_mode=mode, softcap=1.5, **options
    )
    assert result.error < 1e-5


def test_raw_scores_are_shown_before_the_softcap(rewritten, rng):
    inputs = qkv(rng)
    result = rewritten("Attention", inputs, outputs=4, opset=24, softcap=0.5)
    plain = rewritten("Attention", inputs, outputs=4, opset=24)
    np.testing.assert_allclose(result.outputs[3], plain.expected[3], atol=1e-5)
    np.testing.assert_allclose(result.outputs[0], result.expected[0], atol=1e-5)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("causal", [0, 1])
def test_a_past_is_joined_and_handed_on(rewritten, rng, flat, causal):
    past = [rng.standard_normal((2, 2, 3, size)).astype(np.float32) for size in (SIZE, VALUE_SIZE)]
    heads = {"q_num_heads": 4, "kv_num_heads": 2} if flat else {}
    inputs = [*qkv(rng, 4, 2, flat=flat), None, *past]
    result = check(rewritten, inputs, outputs=3, is_causal=causal, **heads)
    assert result.outputs[1].shape == (2, 2, KEYS + 3, SIZE)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("options", [{}, {"is_causal": 1}])
@pytest.mark.parametrize("lengths", [(6, 4), (5, 2)])
def test_padded_keys(rewritten, rng, known, options, lengths):
    inputs = [*qkv(rng), None, None, None, np.array(lengths)]
    check(rewritten, inputs, constants=[6] if known else [], **options)


@pytest.mark.parametrize("left", [-1, 0, 2])
@pytest.mark.parametrize("right", [-1, 0, 1])
@pytest.mark.parametrize("known", [None, False, True])
def test_windows(rewritten, rng, left, right, known):
    inputs = qkv(rng)
    if known is not None:
        inputs = [*inputs, None, None, None, np.array([6, 5])]
    check(
        rewritten,
        inputs,
        constants=[6] if known else [],
        opset=25,
        left_window_size=left,
        right_window_size=right,
    )


def test_a_symbolic_batch_stays(rng, single):
    model = ir.from_proto(single("Attention", qkv(rng, 4, 2), opset=24, is_causal=1))
    for value in model.graph.inputs:
        value.shape = ir.Shape(["N", *list(value.shape)[1:]])
    model = prepare(model)
    assert not expand(model, lambda node: True)
    assert str(model.graph.outputs[0].shape[0]) == "N"


def test_a_mask_for_symbolic_lengths_is_declined(rng, single):
    model = ir.from_proto(single("Attention", qkv(rng), opset=24, is_causal=1))
    model.graph.inputs[0].shape = ir.Shape([2, 3, "S", SIZE])
    (reason,) = expand(prepare(model), lambda node: True).values()
    assert "not static" in reason.why


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("rotated", [0, 4])
@pytest.mark.parametrize("positions", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_rotary_embedding(rewritten, rng, flat, interleaved, rotated, positions, known):
    x = rng.standard_normal((2, 3, 5, 8)).astype(np.float32)
    half = (rotated or 8) // 2
    shape = (9, half) if positions else (2, 5, half)
    caches = [rng.standard_normal(shape).astype(np.float32) for _ in range(2)]
    inputs = [x.transpose(0, 2, 1, 3).reshape(2, 5, 24) if flat else x, *caches]
    if positions:
        inputs.append(rng.integers(0, 9, (2, 5)))
    result = rewritten(
        "RotaryEmbedding",
        inputs,
        constants=range(1, len(inputs)) if known else [],
        opset=23,
        interleaved=interleaved,
        rotary_embedding_dim=rotated,
        num_heads=3 if flat else 0,
    )
    assert "RotaryEmbedding" not in result.ops
    assert result.error < 1e-6
    if known and not rotated and not flat:
        swap = ["Gather"] if interleaved else ["Split", "Concat"]
        assert sorted(result.ops) == sorted([*swap, "Mul", "Mul", "Add"])


RULES = {"linear": (0, 0), "gated": (1, 0), "delta": (0, 1), "gated_delta": (1, 1)}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("heads", [(2, 2), (4, 2)])
@pytest.mark.parametrize("past", [False, True])
def test_linear_attention(rewritten, rng, rule, steps, heads, past):
    queries, keys = heads
    gated, corrected = RULES[rule]
    shapes = [(2, steps, queries * 3), (2, steps, keys * 3), (2, steps, keys * 4)]
    inputs = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    inputs += [
        rng.standard_normal((2, keys, 3, 4)).astype(np.float32) if past else None,
        -rng.random((2, steps, keys * 3)).astype(np.float32) if gated else None,
        rng.random((2, steps, 1)).astype(np.float32) if corrected else None,
    ]
    while inputs[-1] is None:
        inputs.pop()
    result = rewritten(
        "LinearAttention",
        inputs,
        outputs=2,
        opset=27,
        update_rule=rule,
        q_num_heads=queries,
        kv_num_heads=keys,
    )
    assert "LinearAttention" not in result.ops
    assert result.error < 1e-5


def test_a_long_recurrence_is_declined(single, rng):
    inputs = [np.zeros((1, 200, 6), np.float32)] * 3 + [None, None, np.zeros((1, 200, 1), "f")]
    proto = single(
        "LinearAttention",
        inputs,
        outputs=2,
        opset=27,
        update_rule="delta",
        q_num_heads=2,
        kv_num_heads=2,
    )
    (reason,) = expand(prepare(ir.from_proto(proto)), lambda node: True).values()
    assert "200 steps" in reason.why
