"""What a package says of itself where Xcode shows it, and other programs read it.

Core ML's metadata has four fields for people and a dictionary (message `Metadata`). The dictionary
gets, under names that begin with `edgewise.`: the version that wrote the package, the model's name,
its precision, and the SHA-256 of the model that it was made from. `com.apple.coreml.model.preview.
type` tells Xcode how to try a model out (coremltools guide, "Xcode Model Preview Types"): a
classifier of pictures is an `imageClassifier`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from edgewise.targets.apple.interface import Interface
from edgewise.targets.base import About
from edgewise.targets.manifest import tool_versions

PREVIEW_TYPE = "com.apple.coreml.model.preview.type"
_PREFIX = "edgewise."


def sign(metadata: Any, about: About, facts: Mapping[str, str]) -> None:
    """Fill a message `Metadata`; `facts` go into its dictionary."""
    metadata.shortDescription = about.description
    metadata.versionString = about.version
    metadata.author = about.author
    metadata.license = about.license
    for key, value in facts.items():
        metadata.userDefined[key] = value


def facts_of(name: str, precision: str, source: str, interface: Interface) -> dict[str, str]:
    """The entries of the dictionary.

    Args:
        source: SHA-256 of the model.
    """
    facts = {
        f"{_PREFIX}version": tool_versions()["edgewise"],
        f"{_PREFIX}model": name,
        f"{_PREFIX}precision": precision,
        f"{_PREFIX}source_sha256": source,
    }
    if interface.picture is not None and interface.classifier is not None:
        facts[PREVIEW_TYPE] = "imageClassifier"
    return facts


def source_hash(model: ir.Model) -> str:
    """SHA-256 over what the model computes, tensor by tensor: no copy of all weights is made.

    Documentation, producer and inferred shapes do not count.
    """
    digest = hashlib.sha256()
    graph = model.graph
    for value in (*graph.inputs, *graph.outputs):
        digest.update(f"{value.name} {value.dtype} {value.shape}\n".encode())
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is not None:
            digest.update(f"{value.name} {tensor.dtype} {tensor.shape}\n".encode())
            digest.update(tensor.tobytes())
    for node in graph:
        proto = ir.to_proto(node)
        for field in ("doc_string", "metadata_props"):
            proto.ClearField(field)
        digest.update(proto.SerializeToString(deterministic=True))
    return digest.hexdigest()
