"""Losses against PyTorch, which agrees with ONNX Runtime where the ONNX reference does not
(an ignored index of -1 without weights)."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

SHAPES = [(3, 5), (2, 3, 4, 5), (1, 3, 2, 2, 2, 3)]


def expected(op_type, scores, target, weights, ignored, reduction):
    functions = {
        "NegativeLogLikelihoodLoss": torch.nn.functional.nll_loss,
        "SoftmaxCrossEntropyLoss": torch.nn.functional.cross_entropy,
    }
    options = {} if ignored is None else {"ignore_index": ignored}
    loss = functions[op_type](
        torch.tensor(scores),
        torch.tensor(target).long(),
        None if weights is None else torch.tensor(weights),
        reduction=reduction,
        **options,
    )
    return loss.numpy()


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("ignored", [None, 2, -1, 77])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("op_type", ["NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"])
def test_loss(rewritten, rng, op_type, shape, weighted, ignored, reduction):
    scores = rng.standard_normal(shape, np.float32)
    target = rng.integers(0, shape[1], (shape[0], *shape[2:])).astype(np.int32)
    if ignored is not None:
        target.flat[0] = ignored
    weights = rng.uniform(0.1, 1, shape[1]).astype(np.float32) if weighted else None
    attributes = {} if ignored is None else {"ignore_index": ignored}
    inputs = [scores, target, *([weights] if weighted else [])]
    run = rewritten(op_type, inputs, reduction=reduction, **attributes)
    assert not {op_type, "GatherElements"} & set(run.ops)
    wanted = expected(op_type, scores, target, weights, ignored, reduction)
    np.testing.assert_allclose(run.outputs[0], wanted, rtol=1e-5, atol=1e-6)


def test_the_second_output_is_the_logarithm_of_the_softmax(rewritten, rng):
    scores, target = rng.standard_normal((2, 3, 4), np.float32), np.zeros((2, 4), np.int64)
    run = rewritten("SoftmaxCrossEntropyLoss", [scores, target], outputs=2)
    np.testing.assert_allclose(
        run.outputs[1], torch.log_softmax(torch.tensor(scores), 1).numpy(), rtol=1e-5
    )


def test_a_score_of_minus_infinity_that_is_not_picked_does_not_matter(rewritten):
    scores = np.array([[-1.0, -np.inf], [-np.inf, -2.0]], np.float32)
    run = rewritten("NegativeLogLikelihoodLoss", [scores, np.array([0, 1])], reduction="none")
    assert run.outputs[0].tolist() == [1.0, 2.0]
