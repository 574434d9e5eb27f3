"""ONNX operators written as simpler ONNX operators, for targets that have no form of their own.

A target names the operators it cannot express; each of them that stands in the table is replaced
by an equal subgraph, whose nodes carry the name of the node they stand for.
"""

from edgewise.graph.expand.driver import expand
from edgewise.graph.expand.expansion import CannotExpand, Expansion

__all__ = ["CannotExpand", "Expansion", "expand"]
