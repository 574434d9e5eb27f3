"""The networks as exporters write them: ONNX before anything is done to it."""

from __future__ import annotations

import logging
import tempfile
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path

import onnx_ir as ir

from edgewise.exporters.opened import ExporterName, SourceOptions
from edgewise.exporters.quiet import quiet
from edgewise.exporters.source import open_source_model
from zoo.settle import settled
from zoo.source import Samples
from zoo.table import NETWORKS


def written_model(name: str, exporter: ExporterName = "auto", *, free_batch: bool = False) -> Path:
    """An ONNX file that stays for as long as the process runs.

    With `free_batch` the first dimension of every input has a name, as in models that are exported
    for any number of examples: then sizes are computed in the graph.
    """
    path = _folder() / f"{name}-{exporter}-{free_batch}.onnx"
    if path.exists():
        return path
    network = NETWORKS[name]
    example = next(iter(Samples(network, 1, seed=1))).feeds
    options = SourceOptions(example=example, exporter=exporter)
    if free_batch:
        shapes = {key: ("batch", *array.shape[1:]) for key, array in example.items()}
        options = replace(options, input_shapes=shapes)
    logging.getLogger("torch.__trace").disabled = True
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")  # of the libraries that define and trace the networks
        opened = open_source_model(settled(network), options)
    ir.save(opened.model, path)
    return path


@cache
def _folder() -> Path:
    _folders.append(tempfile.TemporaryDirectory(prefix="edgewise-written-"))
    return Path(_folders[-1].name)


#: deleted when the process ends
_folders: list[tempfile.TemporaryDirectory[str]] = []
