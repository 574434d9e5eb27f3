"""Sums of products of any equation, written in matrix products."""

from __future__ import annotations

import numpy as np
import pytest

EQUATIONS = [
    ("ij->ji", [(3, 4)]),
    ("ij->i", [(3, 4)]),
    ("ij->", [(3, 4)]),
    ("ij", [(3, 4)]),
    ("ba", [(3, 4)]),
    ("i,i", [(5,), (5,)]),
    ("i,i->", [(5,), (5,)]),
    ("i,j->ij", [(3,), (4,)]),
    ("i,j->ji", [(3,), (4,)]),
    ("ij,jk", [(3, 4), (4, 5)]),
    ("ij,jk->ki", [(3, 4), (4, 5)]),
    ("ij,kj->ik", [(3, 4), (5, 4)]),
    ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
    ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]),
    ("bqhd,bkhd->bhqk", [(2, 4, 3, 5), (2, 6, 3, 5)]),
    ("bhqk,bkhd->bqhd", [(2, 3, 4, 6), (2, 6, 3, 5)]),
    ("...ii->...i", [(2, 3, 4, 4)]),
    ("ii->i", [(4, 4)]),
    ("ii", [(4, 4)]),
    ("iij->j", [(4, 4, 3)]),
    ("iii->i", [(4, 4, 4)]),
    ("ijij->ij", [(3, 4, 3, 4)]),
    ("ii,ij->j", [(4, 4), (4, 3)]),
    ("...ij,...jk->...ik", [(2, 1, 3, 4), (6, 4, 5)]),
    ("...ij,jk->...ik", [(2, 3, 4), (4, 5)]),
    ("...i,...i", [(2, 3), (3,)]),
    ("i...,i...->...", [(2, 3), (2, 1)]),
    ("a,b,c->abc", [(2,), (3,), (4,)]),
    ("ab,bc,cd->ad", [(2, 3), (3, 4), (4, 5)]),
    ("ab,bc,ac->ac", [(2, 3), (3, 4), (2, 4)]),
    ("abc,cd,ef->abe", [(2, 3, 4), (4, 5), (6, 7)]),
    ("bi,bi->b", [(3, 5), (3, 5)]),
    ("bi,bi->bi", [(3, 5), (3, 5)]),
    ("abcd,ebcf->aefd", [(2, 3, 4, 5), (6, 3, 4, 7)]),
    ("ab,cd->", [(2, 3), (4, 5)]),
    (",->", [(), ()]),
    (",ij->ji", [(), (2, 3)]),
    ("ij,ij->ij", [(1, 4), (3, 4)]),
    ("ij,jk->ik", [(3, 1), (4, 5)]),
    ("nct,ncp,tvw->nvw", [(2, 3, 4), (2, 3, 5), (4, 6, 7)]),
    ("xd,nd->xn", [(1, 4), (3, 4)]),
]


@pytest.mark.parametrize(("equation", "shapes"), EQUATIONS)
def test_is_the_same_sum(rewritten, rng, equation, shapes):
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    result = rewritten("Einsum", arrays, equation=equation)
    assert not result.declined
    assert "Einsum" not in result.ops
    assert result.error < 1e-5


def test_a_constant_matrix_goes_right(rewritten, rng):
    weights, x = (rng.standard_normal(s).astype(np.float32) for s in ((6, 4), (2, 3, 4)))
    result = rewritten("Einsum", [weights, x], constants=[0], equation="od,bsd->bso")
    assert result.ops == ["MatMul"]
    assert result.error < 1e-5


def test_attention_scores_are_one_product(rewritten, rng):
    arrays = [rng.standard_normal((2, 3, n, 5)).astype(np.float32) for n in (4, 6)]
    result = rewritten("Einsum", arrays, equation="bhqd,bhkd->bhqk")
    assert result.ops == ["Transpose", "MatMul"]


def test_a_diagonal_does_not_touch_other_elements(rewritten):
    x = np.full((3, 3), np.inf, np.float32)
    np.fill_diagonal(x, [1, 2, 3])
    assert rewritten("Einsum", [x], equation="ii->i").outputs[0].tolist() == [1, 2, 3]


def test_an_equation_for_other_operands_is_declined(single):
    import onnx_ir as ir

    from edgewise.graph.expand import CannotExpand
    from edgewise.graph.expand.einsum import expand_einsum
    from edgewise.graph.expand.expansion import Expansion

    model = ir.from_proto(single("Einsum", [np.zeros((2, 3), np.float32)], equation="i,j->ij"))
    with pytest.raises(CannotExpand, match="not for 1 operands"):
        expand_einsum(Expansion(model.graph[0], 21))
