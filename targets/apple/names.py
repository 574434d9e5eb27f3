"""Names that Core ML accepts, kept apart from the user's own.

Core ML compiles a package to code, so that its names must be identifiers: a letter or underscore,
then letters, digits and underscores. coremltools would rewrite others by rules of its own; here the
rewriting is ours, and the manifest tells which file name stands for which name of the model.
"""

from __future__ import annotations

import re

#: identifiers that coremltools renames because Core ML's own text format uses them
RESERVED = frozenset(
    {
        "any", "bool", "program", "func", "tensor", "list", "dict", "tuple", "true", "false",
        "string", "bf16", "fp16", "fp32", "fp64", "int8", "int16", "int32", "int64", "uint8",
        "uint16", "uint32", "uint64", "state",
    }
)  # fmt: skip


class NameTable:
    """Gives every name of the model one identifier, and no identifier twice."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._names: dict[str, str] = {}

    def of(self, name: str) -> str:
        """The identifier of `name`; the same one each time."""
        if name not in self._names:
            self._names[name] = self.fresh(name)
        return self._names[name]

    def fresh(self, name: str) -> str:
        """An identifier like `name` that nothing else has."""
        base = identifier(name)
        candidate, count = base, 0
        while candidate in self._taken:
            count += 1
            candidate = f"{base}_{count}"
        self._taken.add(candidate)
        return candidate


def identifier(name: str) -> str:
    """`name` with every other character replaced by an underscore, and a letter in front."""
    text = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return text if text[:1].isalpha() and text not in RESERVED else f"v_{text}"
