"""Rounding up or down so that a layer's output stays, rather than each weight (AdaRound).

A row of weights w = u s, with u in steps of the scale s, becomes integers q = floor(u) + b with b
in {0, 1}. With d = (q - u) s, the layer's output changes by d H d^T (see `gram`). Rounding to
nearest minimises each d^2 by itself; the sum has its minimum elsewhere, for H is far from diagonal.

1. Relaxation (Nagel et al. 2020, arXiv:2004.10568, section 3.4 and equations 21 to 25): b becomes
   h(v) = clip(1.2 sigmoid(v) - 0.1, 0, 1), and Adam minimises

       d H d^T / (n H n^T) + (lambda / K) sum_k (1 - |2 h_k - 1|^beta)

   where n is the change by rounding to nearest, which brings all rows to one size, and beta falls
   from 20 to 2 along a cosine, which drives every h to 0 or 1.
2. Descent: since H is known, each single flip b_k -> 1 - b_k has an exact price. With
   e = +1 (up) or -1 (down) and g = d H:

       2 e s_k g_k + s_k^2 H_kk

   Flips with a negative price are made, one weight after another over all rows at once, until none
   is left. It finishes what a short relaxation leaves, and stands alone where that takes too long.
3. Descent in pairs: two flips that do not pay alone may pay together, one up and one down where
   inputs are alike. Each weight is priced with its best partner:

       price_k + price_j + 2 e_k s_k e_j s_j H_kj

All rows are independent, and none reads random numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]

_STRETCH_LOW, _STRETCH_HIGH = -0.1, 1.1
_RATE = 1.0
_REGULARIZATION = 10.0
_BETA_FIRST, _BETA_LAST = 20.0, 2.0
#: share of the iterations before the regularization sets in
_WARM_UP = 0.2
_MOMENTUM, _SECOND_MOMENTUM = 0.9, 0.999
#: powers of less have no part in the gradient, and are slow to compute
_SMALLEST_BASE = np.float32(0.02)
_MOST_SWEEPS, _MOST_PAIR_SWEEPS = 10, 2
#: share of a price that float32 may be off
_ROUNDING_ERROR = np.float32(1e-5)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows of weights that share Gram matrices: arrays (groups, channels, K).

    `steps` is u; `nearest` the integers of rounding to nearest; `free` what may be rounded the
    other way; `scale` s, of any size along each row.
    """

    steps: Floats
    nearest: Floats
    free: Bools
    scale: Floats


def output_change(rows: Rows, integers: Floats, gram: Floats) -> npt.NDArray[np.float64]:
    """d H d^T of each row, (groups, channels)."""
    change = (integers - rows.steps) * rows.scale
    return np.asarray(np.einsum("grk,grk->gr", change @ gram, change, dtype=np.float64))


def relax(rows: Rows, gram: Floats, iterations: int) -> Floats:
    """Integers by step 1."""
    floor = _floor(rows)
    part = rows.steps - floor
    price = output_change(rows, rows.nearest, gram)[..., None]
    # a row that is on the grid already has no price, and nothing to win
    weight = np.where(price > 1e-30, 2 * rows.scale / np.maximum(price, 1e-30), 0)
    weight = weight.astype(np.float32)
    start = np.clip(part, 0.01, 0.99)
    variable = np.log((start - _STRETCH_LOW) / (_STRETCH_HIGH - start)).astype(np.float32)
    first, second = np.zeros_like(variable), np.zeros_like(variable)
    for index in range(iterations):
        stretched, slope = _rectified(variable)
        chosen = np.clip(stretched, 0, 1)
        gradient = (((chosen - part) * rows.scale) @ gram) * weight
        gradient += _regularization(chosen, index / iterations)
        gradient *= slope * ((stretched > 0) & (stretched < 1) & rows.free)
        first += (1 - _MOMENTUM) * (gradient - first)
        second += (1 - _SECOND_MOMENTUM) * (gradient * gradient - second)
        mean = first / (1 - _MOMENTUM ** (index + 1))
        spread = np.sqrt(second / (1 - _SECOND_MOMENTUM ** (index + 1)))
        variable -= _RATE * mean / (spread + np.float32(1e-12))
    up = _rectified(variable)[0] > 0.5
    return np.where(rows.free, floor + up, rows.nearest).astype(np.float32)


def _floor(rows: Rows) -> Floats:
    """The lower one of the two integers."""
    return np.where(rows.free, np.floor(rows.steps), rows.nearest).astype(np.float32)


def _rectified(variable: Floats) -> tuple[Floats, Floats]:
    """The stretched sigmoid before it is clipped, and its slope."""
    sigmoid = 1 / (1 + np.exp(-np.clip(variable, -30, 30)))
    width = _STRETCH_HIGH - _STRETCH_LOW
    return (
        np.asarray(sigmoid * width + _STRETCH_LOW, np.float32),
        np.asarray(sigmoid * (1 - sigmoid) * width, np.float32),
    )


def _regularization(chosen: Floats, progress: float) -> Floats | float:
    """The gradient of the regularization at a share of all iterations."""
    late = (progress - _WARM_UP) / (1 - _WARM_UP)
    if late < 0:
        return 0.0
    beta = _BETA_LAST + (_BETA_FIRST - _BETA_LAST) * 0.5 * (1 + np.cos(np.pi * late))
    distance = 2 * chosen - 1
    power = np.maximum(np.abs(distance), _SMALLEST_BASE) ** np.float32(beta - 1)
    factor = np.float32(2 * beta * _REGULARIZATION / chosen.shape[-1])
    return np.asarray(-factor * np.sign(distance) * power, np.float32)


def descend(rows: Rows, gram: Floats, integers: Floats) -> Floats:
    """Integers by step 2, from given ones; none of the rows becomes worse."""
    state = _State(rows, gram, integers)
    for _ in range(_MOST_SWEEPS):
        flips = 0
        for k in range(integers.shape[-1]):
            change = state.change[..., k]
            price = change * (2 * state.gradient[..., k] + state.curve[..., k])
            group, row = np.nonzero(price < 0)
            flips += state.flip(group, row, k)
        if not flips:
            break
    return state.integers


def descend_in_pairs(rows: Rows, gram: Floats, integers: Floats) -> Floats:
    """Integers by step 3, from given ones; none of the rows becomes worse.

    As many multiplications in a sweep as in an iteration of the relaxation, one by one.
    """
    state = _State(rows, gram, integers)
    for _ in range(_MOST_PAIR_SWEEPS):
        flips = 0
        for k in range(integers.shape[-1]):
            change = state.change[..., k]
            price = change * (2 * state.gradient[..., k] + state.curve[..., k])
            # of every other flip, once k is flipped
            others = change[..., None] * gram[:, None, k, :]
            others += state.gradient
            others *= 2
            others += state.curve
            others *= state.change
            others[..., k] = 0  # k alone
            partner = others.argmin(axis=-1)
            least = np.take_along_axis(others, partner[..., None], axis=-1)[..., 0]
            gains = price + least < -_ROUNDING_ERROR * (np.abs(price) + np.abs(least))
            group, row = np.nonzero(gains & (change != 0))
            partner = partner[group, row]
            flips += state.flip(group, row, k)
            both = partner != k
            state.flip(group[both], row[both], partner[both])
        if not flips:
            break
    return state.integers


class _State:
    """Rows on the way: integers, g, what a flip changes (e s; 0 where nothing may change) and its
    square times the diagonal of H."""

    def __init__(self, rows: Rows, gram: Floats, integers: Floats) -> None:
        self.integers = integers.copy()
        self.gradient = ((integers - rows.steps) * rows.scale) @ gram
        up = np.where(integers > _floor(rows), np.float32(-1), np.float32(1))
        self.change = np.where(rows.free, up * rows.scale, np.float32(0))
        self.curve = self.change * np.einsum("gkk->gk", gram)[:, None, :]
        self._gram = gram

    def flip(self, group: Indices, row: Indices, k: int | Indices) -> int:
        """Flip one weight in each of some rows; how many that are."""
        if len(row):
            moved = self.change[group, row, k]
            self.integers[group, row, k] += np.sign(moved)
            self.gradient[group, row] += moved[:, None] * self._gram[group, k]
            self.change[group, row, k] = -moved
            self.curve[group, row, k] *= -1
        return len(row)
