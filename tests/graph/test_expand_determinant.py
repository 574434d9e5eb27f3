"""Determinants of small matrices against numpy."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_determinant(rewritten, rng, size, batch):
    x = rng.standard_normal((*batch, size, size), np.float32)
    run = rewritten("Det", [x])
    assert "Det" not in run.ops
    assert run.outputs[0].shape == batch
    np.testing.assert_allclose(
        run.outputs[0], np.linalg.det(x.astype(np.float64)), rtol=1e-4, atol=1e-4
    )


def test_large_matrices_are_declined(rewritten):
    run = rewritten("Det", [np.eye(9, dtype=np.float32)])
    (reason,) = run.declined.values()
    assert "8 x 8" in reason.why
