"""An artifact of this target against its QDQ model, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx_ir as ir

from edgewise.calibration.scheme import Scheme
from edgewise.errors import ModelError, UsageError
from edgewise.graph import load
from edgewise.targets.android.assembly import assemble
from edgewise.targets.android.flatbuffer import assign_names
from edgewise.targets.android.layers import cuts_of
from edgewise.targets.android.options import KNOWN_OPTIONS, AndroidOptions
from edgewise.targets.android.reader import UnreadableFile, read_file
from edgewise.targets.android.replay import replay
from edgewise.targets.base import Artifact, Feeds
from edgewise.targets.layerwise import LayerReport


def compare_layers(
    model: ir.Model | str | Path,
    artifact: Artifact,
    scheme: Scheme,
    feeds: Iterable[Feeds],
    *,
    threads: int = 1,
) -> LayerReport:
    """Feed each layer of the file with what the QDQ model has there.

    The model is lowered once more, since a file tells the names of its tensors but not in which
    order of axes they hold those of the model.

    Raises:
        UsageError: the batch of the artifact is not 1, or its preprocessing is folded in.
        ModelError: the file cannot be read, or was not emitted from this model.
    """
    source = load(model)
    manifest = artifact.manifest
    own = {key: value for key, value in manifest.options.items() if key in KNOWN_OPTIONS}
    options = AndroidOptions.of(own, scheme)
    if options.batch != 1 or options.fold_preprocessing:
        raise UsageError(
            "layers are compared at batch 1, and without preprocessing in the graph",
            remedy="Emit once more without these options to compare.",
        )
    lowered = assemble(source, options, manifest.preprocessing, lambda _: None).lowered
    assign_names(lowered.graph)
    try:
        file = read_file(artifact.path.read_bytes())
    except (OSError, UnreadableFile) as error:
        raise ModelError(
            "the artifact cannot be read", where=str(artifact.path), why=str(error)
        ) from error
    cuts = cuts_of(lowered, file.main.graph)
    ends = {tensor.file_name: tensor for tensor in manifest.inputs}
    return replay(source, file.main.graph, cuts, ends, feeds, threads=threads)
