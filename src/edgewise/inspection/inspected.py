"""What reading a file gives: its network, and what it says of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from edgewise.files import files_below
from edgewise.inspection.facts import Part, TensorFacts
from edgewise.inspection.network import Network


@dataclass(frozen=True, slots=True)
class Inspected:
    """A model that was read.

    Attributes:
        hub: makes the model that targets are asked about; None where the file is a target's own.
        target: whose own file it is.
        arena_bytes: what a runtime plans for activations, where it tells; `arena_of` says which.
        findings: remarks by rule that reading the file gave, the Neural Engine's among them.
    """

    kind: str
    network: Network
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    producer: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    hub: Callable[[], ir.Model] | None = None
    target: str | None = None
    arena_bytes: int | None = None
    arena_of: str | None = None
    findings: Mapping[str, int] = field(default_factory=dict)
    note: str = ""


def parts_of(path: Path, stored: Mapping[str, int]) -> tuple[Part, ...]:
    """The size of a file in its parts: what `stored` names, and the rest as `graph`; of a folder,
    its files."""
    if path.is_dir():
        files = files_below(path)
        return tuple(Part(f.relative_to(path).as_posix(), f.stat().st_size) for f in files)
    rest = path.stat().st_size - sum(stored.values())
    named = tuple(Part(name, size) for name, size in stored.items() if size)
    return (*named, Part("graph", rest)) if rest >= 0 else named
