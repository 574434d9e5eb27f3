"""Attention and Einsum written out, so that their products can be quantized."""

from __future__ import annotations

import numpy as np
import pytest

NAME = "expand-attention"
SELF = "q = Mul (x, x)\n y = Attention <q_num_heads = 2, kv_num_heads = 2{}> (q, x, x)"


@pytest.mark.parametrize("options", ["", ", is_causal = 1", ", softcap = 2.0"])
def test_attention_becomes_products(parse, rewrite, options):
    text = f"g (float[1, 5, 8] x) => (float[1, 5, 8] y) {{ {SELF.format(options)} }}"
    result = rewrite(parse(text, opset=23), NAME, tolerance=1e-5)
    assert "Attention" not in result.ops
    assert result.ops["MatMul"] == 2 and result.ops["Softmax"] == 1


def test_a_free_batch_stays_free(parse, rewrite):
    text = f"g (float[N, 5, 8] x) => (float[N, 5, 8] y) {{ {SELF.format('')} }}"
    result = rewrite(parse(text, opset=23), NAME, tolerance=1e-5)
    assert result.modified
    assert str(result.model.graph.outputs[0].shape[0]) == "N"


def test_a_mask_over_a_free_length_is_declined(parse):
    from edgewise.exporters.passes import PASSES
    from edgewise.graph import prepare

    text = f"g (float[1, S, 8] x) => (float[1, S, 8] y) {{ {SELF.format(', is_causal = 1')} }}"
    outcome = PASSES[NAME](prepare(parse(text, opset=23)))
    assert not outcome.modified
    assert "not static" in outcome.declined[0].reason


def test_einsum_becomes_a_product(parse, rewrite):
    body = 'y = Einsum <equation = "bsk,nk->bsn"> (x, w)'
    text = f"g (float[2, 3, 8] x) => (float[2, 3, 4] y) {{ {body} }}"
    weights = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    result = rewrite(parse(text, w=weights), NAME, tolerance=1e-5)
    assert result.ops == {"MatMul": 1}


def test_a_model_without_them_is_left_alone(parse, rewrite):
    assert not rewrite(parse("g (float[2] x) => (float[2] y) { y = Neg (x) }"), NAME).modified
