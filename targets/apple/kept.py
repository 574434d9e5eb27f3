"""Which inputs of a model its package keeps as states, as the manifest tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgewise.errors import UsageError
from edgewise.targets.base import Array, Feeds, Manifest, TensorSignature


@dataclass(frozen=True, slots=True)
class KeptInputs:
    """`names` of inputs, each with the output that is its next value, and their signatures."""

    names: Mapping[str, str]
    inputs: Mapping[str, TensorSignature]
    outputs: tuple[TensorSignature, ...]

    @classmethod
    def of(cls, manifest: Manifest) -> KeptInputs:
        names: Mapping[str, str] = manifest.options.get("states", {})
        results = set(names.values())
        return cls(
            names,
            {signature.name: signature for signature in manifest.inputs if signature.name in names},
            tuple(signature for signature in manifest.outputs if signature.name in results),
        )

    def split(self, feeds: Feeds) -> tuple[dict[str, Array], dict[str, Array]]:
        """Arrays for the package, and arrays for its states: all of them or none.

        Raises UsageError where some are missing.
        """
        kept = {name: array for name, array in feeds.items() if name in self.names}
        if kept and len(kept) != len(self.names):
            raise UsageError(
                f"inputs missing: {', '.join(sorted(set(self.names) - set(kept)))}",
                why=f"the package keeps them as states together with {', '.join(sorted(kept))}",
                remedy="Give all of them, or none to go on from the last run.",
            )
        return {name: array for name, array in feeds.items() if name not in kept}, kept
