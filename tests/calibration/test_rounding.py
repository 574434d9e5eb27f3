"""Rounding of rows: never worse than to nearest, and no single flip that would still help."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgewise.calibration.repairs.rounding import (
    Rows,
    descend,
    descend_in_pairs,
    output_change,
    relax,
)


def problem(seed: int, groups: int, channels: int, length: int, fixed: float = 0.2):
    """Random rows and a Gram matrix of correlated inputs."""
    random = np.random.default_rng(seed)
    steps = random.uniform(-7, 7, (groups, channels, length)).astype(np.float32)
    mixing = random.normal(0, 1, (groups, length, 4 * length)) + random.normal(0, 2, (groups, 1, 1))
    gram = (mixing @ mixing.transpose(0, 2, 1) / (4 * length)).astype(np.float32)
    scale = random.uniform(0.5, 2, steps.shape).astype(np.float32)
    free = random.uniform(size=steps.shape) > fixed
    return Rows(steps, np.rint(steps), free, scale), gram


sizes = st.integers(1, 6)


@given(st.integers(0, 2**32 - 1), sizes, sizes, sizes, st.sampled_from([0, 5, 60]))
def test_never_worse_and_locally_best(seed, groups, channels, length, iterations):
    rows, gram = problem(seed, groups, channels, length)
    start = relax(rows, gram, iterations) if iterations else rows.nearest
    found = descend(rows, gram, start)
    assert (np.abs(found - rows.steps) <= 1 + 1e-5).all()
    assert np.array_equal(found, np.rint(found))
    assert np.array_equal(found[~rows.free], rows.nearest[~rows.free])
    price = output_change(rows, found, gram)
    slack = 1e-4 * np.abs(price) + 1e-5
    assert (price <= output_change(rows, start, gram) + slack).all()
    floor = np.floor(rows.steps)
    for k in range(length):
        flipped = found.copy()
        flipped[..., k] = 2 * floor[..., k] + 1 - found[..., k]
        better = output_change(rows, flipped, gram) < price - slack
        assert not (better & rows.free[..., k]).any()


def every_rounding(rows: Rows):
    """All integers, one after another, that are a step or less away."""
    floor = np.floor(rows.steps)
    for bits in product((0, 1), repeat=rows.steps.shape[-1]):
        yield floor + np.array(bits, np.float32)


def test_steps_come_close_to_the_best_of_all_roundings():
    rows, gram = problem(3, 2, 20, 9, fixed=0.0)
    best = np.min([output_change(rows, found, gram) for found in every_rounding(rows)], axis=0)
    nearest = output_change(rows, rows.nearest, gram).sum()
    alone = descend(rows, gram, rows.nearest)
    relaxed = descend(rows, gram, relax(rows, gram, 100))
    paired = descend_in_pairs(rows, gram, relaxed)
    single, after, found = (
        output_change(rows, integers, gram).sum() for integers in (alone, relaxed, paired)
    )
    assert max(single, after) < 0.3 * nearest
    assert best.sum() <= found < 0.9 * min(single, after)
    assert found < 1.3 * best.sum() and nearest > 5 * best.sum()


@given(st.integers(0, 2**32 - 1), sizes, sizes)
def test_no_pair_of_flips_is_left_that_pays(seed, channels, length):
    rows, gram = problem(seed, 1, channels, length, fixed=0.0)
    found = rows.nearest
    for _ in range(20):
        found = descend_in_pairs(rows, gram, found)
    price = output_change(rows, found, gram)
    assert (price <= output_change(rows, rows.nearest, gram) * (1 + 1e-4) + 1e-5).all()
    for other in every_rounding(rows):
        near = (other != found).sum(axis=-1) <= 2
        better = output_change(rows, other, gram) < price * (1 - 1e-3) - 1e-4
        assert not (near & better).any()


def test_rows_on_the_grid_stay():
    rows, gram = problem(1, 1, 3, 5)
    rows = Rows(np.rint(rows.steps), rows.nearest, rows.free, rows.scale)
    assert np.array_equal(descend(rows, gram, relax(rows, gram, 50)), rows.nearest)
    assert np.array_equal(descend_in_pairs(rows, gram, rows.nearest), rows.nearest)
