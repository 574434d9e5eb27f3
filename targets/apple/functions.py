"""The functions of a package that has several, as its manifest tells of them."""

from __future__ import annotations

from edgewise.errors import ModelError, UsageError
from edgewise.targets.base import Artifact, Manifest
from edgewise.targets.manifest import parse_manifest

#: among the options of the manifest: a manifest for each function, and the one that is opened
#: without a name
FUNCTIONS = "functions"
DEFAULT = "default_function"


def function_manifest(artifact: Artifact, name: str | None) -> tuple[Manifest, str | None]:
    """The manifest of a function, and its name in the package; None where there is one alone.

    Raises:
        UsageError: the package has no function of that name.
        ModelError: the manifest does not describe its functions.
    """
    options = artifact.manifest.options
    if FUNCTIONS not in options:
        if name is not None:
            raise UsageError(
                f"no function '{name}'",
                where=str(artifact.path),
                remedy="The package has one function; open it without a name.",
            )
        return artifact.manifest, None
    chosen = name or str(options.get(DEFAULT))
    if chosen not in options[FUNCTIONS]:
        raise UsageError(
            f"no function '{chosen}'",
            where=str(artifact.path),
            remedy=f"It has {', '.join(options[FUNCTIONS])}.",
        )
    try:
        return parse_manifest(options[FUNCTIONS][chosen]), chosen
    except ValueError as error:
        raise ModelError(
            "not a valid manifest",
            where=str(artifact.path),
            why=f"function '{chosen}': {error}",
            remedy="Merge the packages again.",
        ) from error
