"""Disjoint sets of names, joined one by one (union-find with path halving)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable


class UnionFind:
    """Every name is in one set, alone until `unite` joins it; a set is known by its leader."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, name: str) -> str:
        """The leader of the set that the name is in."""
        parent = self._parent
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    def unite(self, names: Iterable[str]) -> str | None:
        """Join the sets of all the names; gives the leader, that of the first one."""
        leader: str | None = None
        for name in names:
            found = self.find(name)
            leader = found if leader is None else leader
            self._parent[found] = leader
        return leader

    def groups(self) -> dict[str, list[str]]:
        """Leader -> members, both in the order in which names were first seen."""
        groups: dict[str, list[str]] = defaultdict(list)
        for name in self._parent:
            groups[self.find(name)].append(name)
        return dict(groups)
