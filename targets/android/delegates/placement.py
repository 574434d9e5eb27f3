"""Which operators XNNPACK takes, as LiteRT itself decides on this machine.

LiteRT hands connected groups of supported operators to XNNPACK. After loading, each group is one
DELEGATE node behind the operators of the file; it lists the tensors that the group reads from
outside, constants among them, and those that the outside reads of the group:

    operators of the file:  0 CONV_2D a -> b   1 ADD b, c -> d   2 SOFTMAX d -> e
    added by the runtime:   3 DELEGATE a, c -> d

What a group holds follows: walk back from its outputs and stop at its inputs. An operator outside
of the group cannot be met, since what it writes would be an input; an operator of the group cannot
be missed, since no operator of a file is dead. Here the group holds 1 and 0, and 2 is not taken.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

from edgewise.targets.android.flatbuffer import serialize
from edgewise.targets.android.model import Graph, Operator
from edgewise.targets.android.runtime import LoadFailure, load


@dataclass(frozen=True, slots=True)
class Placement:
    """What the runtime said: the operators that were asked about, and those that XNNPACK takes.

    `reason` says why operators are missing in `asked`; it is empty when all were asked about.
    """

    runtime: str
    asked: Collection[Operator] = field(default_factory=frozenset)
    delegated: Collection[Operator] = field(default_factory=frozenset)
    reason: str = ""


def runtime_name() -> str:
    """`LiteRT 2.3.0 on x86_64`: what decided, and where, since XNNPACK differs by architecture."""
    return f"LiteRT {version('ai-edge-litert')} on {platform.machine()}"


def ask_runtime(graph: Graph, interpreter: Any) -> Placement:
    """Read off a loaded file which operators XNNPACK takes.

    Args:
        graph: of the file.
        interpreter: LiteRT's, with the file loaded and its tensors allocated. It tells nothing of
            subgraphs, so bodies of operators are loaded as files of their own.
    """
    asked: set[Operator] = set()
    delegated: set[Operator] = set()
    reasons: dict[str, None] = {}
    for part in graph.all_graphs():
        try:
            loaded = interpreter if part is graph else load(_alone(part), threads=1)
        except LoadFailure as failure:
            reasons[str(failure)] = None
            continue
        asked.update(part.operators)
        taken = delegated_nodes(loaded, len(part.operators))
        delegated.update(part.operators[index] for index in taken)
    return Placement(runtime_name(), frozenset(asked), frozenset(delegated), "; ".join(reasons))


def delegated_nodes(interpreter: Any, operators: int) -> set[int]:
    """Positions of the operators that XNNPACK takes, of the first `operators` ones of a file."""
    nodes = interpreter._get_ops_details()
    own, groups = nodes[:operators], nodes[operators:]
    writers = {int(out): index for index, node in enumerate(own) for out in node["outputs"]}
    taken: set[int] = set()
    for group in groups:
        taken |= _members(group, own, writers)
    return taken


def _members(group: Mapping[str, Any], own: list[Any], writers: Mapping[int, int]) -> set[int]:
    edge = {int(tensor) for tensor in group["inputs"]}
    found: set[int] = set()
    queue = [int(tensor) for tensor in group["outputs"]]
    while queue:
        tensor = queue.pop()
        index = writers.get(tensor)
        if index is None or tensor in edge or index in found:
            continue
        found.add(index)
        queue += [int(source) for source in own[index]["inputs"]]
    return found


def _alone(body: Graph) -> bytes:
    return serialize(
        replace(
            body,
            input_names=[f"input_{index}" for index in range(len(body.inputs))],
            output_names=[f"output_{index}" for index in range(len(body.outputs))],
        )
    )
