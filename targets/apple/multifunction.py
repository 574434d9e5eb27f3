"""Several programs in one package, with the weights that they have in common stored once.

An application opens one function of the package by its name, or the default one: the prompt and the
next token of a language model, or one model for several sizes of pictures. Core ML has this from
iOS18 on (coremltools guide, "Multifunction Models").

The functions are taken over from their packages as they are, byte for byte but for the places of
their weights, and so must have been written in the operations of the same system, iOS18 or newer.
Classifiers stay apart: coremltools writes none into a package of several functions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgewise.errors import ModelError, UsageError
from edgewise.targets.apple._coremltools import ct
from edgewise.targets.apple.functions import DEFAULT, FUNCTIONS
from edgewise.targets.apple.metadata import sign
from edgewise.targets.apple.names import identifier
from edgewise.targets.apple.package import MODEL_PATH, WEIGHTS_FILE, WEIGHTS_PATH, write_package
from edgewise.targets.apple.shared_weights import SharedWeights
from edgewise.targets.base import About, Artifact, Manifest
from edgewise.targets.manifest import load_artifact, publish, tool_versions

_WHERE = "merge"
#: `specificationVersion` of iOS18, which brought functions
_FIRST_VERSION = 9
_MAIN = "main"


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    artifact: Artifact
    specification: Any

    @property
    def weights(self) -> Path:
        return self.artifact.path / "Data" / WEIGHTS_PATH / WEIGHTS_FILE

    @property
    def opset(self) -> str:
        return str(self.specification.mlProgram.functions[_MAIN].opset)


def merge(
    packages: Mapping[str, Artifact | str | Path],
    out_dir: str | Path,
    *,
    name: str = "model",
    default: str | None = None,
    about: About | None = None,
) -> Artifact:
    """Write `<name>.mlpackage` and `manifest.json` with one function for each package.

    Args:
        packages: artifacts of the apple target, by the name of the function that each becomes.
        name: of the new artifact.
        default: the function that is opened without a name; the first one without.
        about: what the package says of itself.

    Raises:
        UsageError: fewer than two packages, a name that cannot be, no such package, or a folder
            that cannot be written.
        ModelError: a package cannot be a function.
    """
    parts = [_part(function, package) for function, package in packages.items()]
    chosen = _check(parts, default)
    with tempfile.TemporaryDirectory(prefix="edgewise-") as folder:
        weights = Path(folder) / WEIGHTS_FILE
        specification = _specification(parts, chosen, weights)
        facts = {"edgewise.version": tool_versions()["edgewise"], "edgewise.model": name}
        sign(specification.description.metadata, about or About(), facts)
        manifest = _manifest(parts, chosen, name)
        return publish(
            out_dir,
            f"{name}.mlpackage",
            manifest,
            lambda path: write_package(specification, weights, path),
        )


def _part(name: str, package: Artifact | str | Path) -> _Part:
    artifact = package if isinstance(package, Artifact) else load_artifact(package)
    if artifact.target != "apple":
        raise UsageError(
            f"the artifact was made for {artifact.target}",
            where=str(artifact.path),
            remedy="Merge artifacts of the apple target.",
        )
    if FUNCTIONS in artifact.manifest.options:
        raise UsageError(
            "the package has several functions already",
            where=str(artifact.path),
            remedy="Merge the packages that it was made of.",
        )
    specification = ct.proto.Model_pb2.Model()
    specification.ParseFromString((artifact.path / "Data" / MODEL_PATH).read_bytes())
    return _Part(name, artifact, specification)


def _check(parts: list[_Part], default: str | None) -> str:
    """The name of the default function."""
    if len(parts) < 2:
        raise UsageError("nothing to merge", where=_WHERE, remedy="Give two packages or more.")
    for part in parts:
        if identifier(part.name) != part.name:
            raise UsageError(
                f"'{part.name}' cannot be the name of a function",
                where=_WHERE,
                remedy="Use letters, digits and underscores, and a letter in front.",
            )
        _check_part(part)
    opsets = {part.opset: part for part in parts}
    if len(opsets) > 1:
        raise ModelError(
            "the packages were written for different systems",
            where=_WHERE,
            why=", ".join(f"'{part.name}' for {_system(part)}" for part in opsets.values()),
            remedy="Build them with the same deployment_target.",
        )
    names = [part.name for part in parts]
    if default is not None and default not in names:
        raise UsageError(
            f"no function '{default}'", where=_WHERE, remedy=f"There are {', '.join(names)}."
        )
    return default or names[0]


def _check_part(part: _Part) -> None:
    if part.specification.specificationVersion < _FIRST_VERSION:
        raise ModelError(
            f"the package is for {_system(part)}, and functions need iOS18",
            where=str(part.artifact.path),
            remedy="Build it with deployment_target = 'iOS18'.",
        )
    if part.specification.description.predictedFeatureName:
        raise ModelError(
            "a classifier cannot be one of several functions",
            where=str(part.artifact.path),
            remedy="Build it without classifier = true.",
        )


def _system(part: _Part) -> str:
    return str(part.artifact.manifest.options["minimum_deployment_target"])


def _specification(parts: list[_Part], default: str, weights: Path) -> Any:
    """A message `Model` with all functions, and their constants in the file `weights`."""
    merged = ct.proto.Model_pb2.Model()
    merged.specificationVersion = max(part.specification.specificationVersion for part in parts)
    merged.description.defaultFunctionName = default
    merged.mlProgram.version = 1
    with SharedWeights(weights) as shared:
        for part in parts:
            source = part.specification
            function = merged.mlProgram.functions[part.name]
            function.CopyFrom(source.mlProgram.functions[_MAIN])
            if part.weights.is_file():
                shared.take(function.block_specializations.values(), part.weights)
            described = merged.description.functions.add(name=part.name)
            for ends in ("input", "output", "state"):
                getattr(described, ends).extend(getattr(source.description, ends))
    return merged


def _manifest(parts: list[_Part], default: str, name: str) -> Manifest:
    """That of the default function, with all of them among its options."""
    manifests = {part.name: part.artifact.manifest for part in parts}
    shown = manifests[default]
    described = {name: replace(part, files={}).as_dict() for name, part in manifests.items()}
    return replace(
        shown,
        name=name,
        files={},
        options={**shown.options, FUNCTIONS: described, DEFAULT: default},
    )
