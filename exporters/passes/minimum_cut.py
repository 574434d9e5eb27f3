"""Minimum cut of a network with two terminals, by Dinic's algorithm.

The largest flow equals the smallest cut (Ford and Fulkerson 1956). Dinic (1970) sends flow along
shortest paths, all of one length at a time. What can still be reached from the source afterwards is
the source's side of a cut of least capacity.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from itertools import pairwise

SOURCE, SINK = "source", "sink"
#: no cut goes through an edge of this capacity
UNCUT = 10**18


class Network:
    """Directed edges with capacities between any hashable places, among them SOURCE and SINK."""

    def __init__(self) -> None:
        self._edges: dict[Hashable, dict[Hashable, int]] = {SOURCE: {}, SINK: {}}

    def connect(self, start: Hashable, end: Hashable, capacity: int) -> None:
        """Add capacity from `start` to `end`."""
        there = self._edges.setdefault(start, {})
        there[end] = there.get(end, 0) + capacity
        self._edges.setdefault(end, {}).setdefault(start, 0)

    def source_side(self) -> set[Hashable]:
        """Places on the source's side of a cut of least capacity. Uses the capacities up."""
        while SINK in (levels := self._levels()):
            untried = {place: list(edges) for place, edges in self._edges.items()}
            while path := self._path(levels, untried):
                self._send(path)
        return set(levels)

    def _levels(self) -> dict[Hashable, int]:
        """Steps from the source, over edges with capacity left."""
        levels: dict[Hashable, int] = {SOURCE: 0}
        queue: deque[Hashable] = deque([SOURCE])
        while queue:
            place = queue.popleft()
            for other, left in self._edges[place].items():
                if left and other not in levels:
                    levels[other] = levels[place] + 1
                    queue.append(other)
        return levels

    def _path(
        self, levels: dict[Hashable, int], untried: dict[Hashable, list[Hashable]]
    ) -> list[Hashable]:
        """A shortest path with capacity left; edges that lead nowhere are not tried again."""
        path: list[Hashable] = [SOURCE]
        while path and path[-1] != SINK:
            place = path[-1]
            ways = untried[place]
            while ways and not (
                self._edges[place][ways[-1]] and levels.get(ways[-1]) == levels[place] + 1
            ):
                ways.pop()
            if ways:
                path.append(ways[-1])
            else:
                path.pop()
                if path:
                    untried[path[-1]].pop()
        return path

    def _send(self, path: list[Hashable]) -> None:
        steps = list(pairwise(path))
        amount = min(self._edges[start][end] for start, end in steps)
        for start, end in steps:
            self._edges[start][end] -= amount
            self._edges[end][start] += amount
