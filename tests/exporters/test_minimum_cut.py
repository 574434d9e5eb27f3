"""The cut of least capacity, against all cuts of small networks."""

from __future__ import annotations

from itertools import chain, combinations

import numpy as np
import pytest

from edgewise.exporters.passes.minimum_cut import SINK, SOURCE, UNCUT, Network


def cheapest(edges, places):
    """The least capacity of any cut, by trying all."""
    inner = [place for place in places if place not in (SOURCE, SINK)]
    sides = chain.from_iterable(combinations(inner, count) for count in range(len(inner) + 1))
    return min(capacity(edges, {SOURCE, *side}) for side in sides)


def capacity(edges, side):
    return sum(c for (a, b), c in edges.items() if a in side and b not in side)


@pytest.mark.parametrize("seed", range(20))
def test_random_networks(seed):
    random = np.random.default_rng(seed)
    places = [SOURCE, SINK, *range(6)]
    edges = {}
    for _ in range(18):
        a, b = (places[i] for i in random.choice(len(places), 2, replace=False))
        edges[a, b] = int(random.integers(1, 9))
    network = Network()
    for (a, b), amount in edges.items():
        network.connect(a, b, amount)
    side = network.source_side()
    assert SOURCE in side and SINK not in side
    assert capacity(edges, side) == cheapest(edges, places)


def test_uncut_edges_and_parallel_ones():
    network = Network()
    network.connect(SOURCE, "a", 2)
    network.connect(SOURCE, "a", 3)
    network.connect("a", "b", UNCUT)
    network.connect("b", SINK, 4)
    assert network.source_side() == {SOURCE, "a", "b"}


def test_a_network_without_a_way():
    network = Network()
    network.connect(SOURCE, "a", 1)
    network.connect("b", SINK, 1)
    assert network.source_side() == {SOURCE, "a"}
