"""What operators ask of their operands: shapes that fit, and numbers that are told apart."""

from __future__ import annotations

import numpy as np

from random_graphs.building import MOST_AXES, Growth, Val, take

#: numbers closer than this may be taken the other way round by another runtime
GAP = 2e-3


def broadcast(a: Val, b: Val) -> bool:
    """Whether the two fit together, in no more axes than a graph has."""
    try:
        return len(np.broadcast_shapes(a.shape, b.shape)) <= MOST_AXES
    except ValueError:
        return False


def partner(g: Growth, x: Val) -> Val:
    """Something that broadcasts with x: from the graph, or a constant of any such shape."""
    fitting = [v for v in g.values if v.array.dtype == x.array.dtype and broadcast(v, x)]
    if fitting and g.chance(0.6):
        return g.pick(fitting)
    shape = [1 if g.chance(0.4) else d for d in x.shape]
    cut = g.integer(0, len(shape))
    shape = shape[cut:] if g.chance(0.5) else shape
    if len(shape) < 5 and g.chance(0.1):
        shape = [g.integer(1, 3), *([1] * (x.rank - len(shape))), *shape]
    if x.kind == "f":
        return g.const(g.normal(*shape))
    if x.kind == "b":
        return g.const(g.random.random(shape) < 0.5)
    return g.const(g.random.integers(-5, 6, shape).astype(x.array.dtype))


def ordered(g: Growth, a: Val, b: Val) -> tuple[Val, Val]:
    """Either way round."""
    return (a, b) if g.chance(0.5) else (b, a)


def apart(a: Val, b: Val) -> None:
    """Floats that are compared differ clearly, or are the same numbers."""
    if a.kind == "f":
        difference = np.abs(a.array - b.array)
        take(float(difference[difference > 0].min(initial=1.0)) > GAP)


def factors(g: Growth, size: int) -> list[int]:
    """A shape of so many elements."""
    dims = []
    while size > 1 and len(dims) < 4:
        divisors = [d for d in range(2, size + 1) if size % d == 0]
        d = g.pick(divisors)
        dims.append(d)
        size //= d
    if size > 1:
        dims.append(size)
    for _ in range(g.integer(0, 1)):
        dims.insert(g.integer(0, len(dims)), 1)
    return [int(d) for d in g.random.permutation(dims)]


def distinct(x: Val, axis: int) -> None:
    """Neighbours in order differ clearly, or are the same numbers."""
    if x.kind == "f":
        steps = np.diff(np.sort(x.array, axis))
        take(float(steps[steps > 0].min(initial=1.0)) > GAP)


def varied(x: Val, axes: tuple[int, ...]) -> None:
    """A deviation that a normalization may divide by."""
    take(float(x.array.std(axes).min()) > 0.05)
