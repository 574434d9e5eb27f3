"""Why an export differs from its source: who did it, and from which layer on.

Three graphs are on the way from the source to the hub model: what was written by a third party's
exporter, the prepared one (newer opset, constants folded), and the canonical one. The first that
differs from the source at its outputs tells whose doing it is:

1. the written one: the layers of the source are looked up in it, and the message names the exporter
2. the prepared or the canonical one: the values of the written one are looked up in it by name, and
   the pass is named that changed what is computed; a defect in Edgewise, told as one

A layer's result is looked up by value first: any value of the same size, also with the channels
moved (frameworks differ in that), within the tolerance. One that is not found differs where nodes
carry the layer's name, unless a later layer that depends on these nodes is found again: its own
result was then only fused away. Layers that no node is named after count when nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgewise.errors import EdgewiseError, InternalError, ModelError
from edgewise.exporters.comparison import compare
from edgewise.exporters.layer_lookup import LayerLookup
from edgewise.exporters.layer_values import open_onnx_layers
from edgewise.exporters.opened import Array, OpenedModel
from edgewise.exporters.pipeline import wrong_pass
from edgewise.graph import OrtSession, prepare

_REPORT = "Please report this with the model."
#: kinds of sources that keep channels last
_CHANNELS_LAST = frozenset({"jax", "keras", "saved-model", "tflite"})


@dataclass(frozen=True, slots=True)
class Difference:
    """An output that differs: by how much, absolute and as a share of its range, and `where`, as
    in " with batch 3"."""

    output: str
    absolute: float
    relative: float
    tolerance: float
    where: str = ""

    def __str__(self) -> str:
        if not np.isfinite(self.relative):
            return f"its shape, or the places of infinity and NaN in it, differ{self.where}"
        return (
            f"it differs by up to {self.absolute:.3g}, which is {self.relative:.3g} of its range"
            f"{self.where}; {self.tolerance:g} is allowed"
        )


@dataclass(frozen=True, slots=True)
class FirstLayer:
    """The first layer that differs. `ratio` is the difference over its range; None where there is
    no counterpart of its size. `before` is the layer before it that agrees, and how well."""

    name: str
    operators: tuple[str, ...]
    ratio: float | None
    before: tuple[str, float] | None

    def __str__(self) -> str:
        kind = f" ({', '.join(self.operators)})" if self.operators else ""
        by = (
            f"by {self.ratio:.2g} of its range"
            if self.ratio is not None and np.isfinite(self.ratio)
            else "in what it holds or in its shape"
        )
        before = ""
        if self.before is not None:
            before = f"; the one before, '{self.before[0]}', agrees within {self.before[1]:.0e}"
        return f"layer '{self.name}'{kind} is the first that differs, {by}{before}"


def difference_error(
    opened: OpenedModel,
    hub: ir.Model,
    feed: Mapping[str, Array],
    wanted: Sequence[Array],
    found: Difference,
) -> EdgewiseError:
    """The error for an output that differs. `wanted` is what the source gives for `feed`.

    A ModelError where the written graph differs already, an InternalError where only ours does.
    """
    if _agrees(opened.model, feed, wanted, found.tolerance):
        return _own_error(opened, hub, feed, wanted, found)
    try:
        layers = () if opened.open_layers is None else opened.open_layers()(feed)
        first = first_layer(
            layers,
            opened.model,
            feed,
            found.tolerance,
            moved_channels=opened.kind in _CHANNELS_LAST,
        )
    except Exception:  # the source's runtime may raise anything; the message is poorer without it
        first = None
    writer = opened.exporter or "whoever made the ONNX model"
    why = f"{found}; {first}" if first else str(found)
    return ModelError(
        "the exported model does not compute what its source computes",
        where=f"output '{found.output}'",
        why=f"{why}; {writer} wrote it so",
        remedy=_remedy(opened.exporter),
    )


def _remedy(exporter: str) -> str:
    if "dynamo" in exporter:
        return "Try the other exporter: --exporter torchscript."
    if "torchscript" in exporter.lower():
        return "Try the other exporter: --exporter dynamo."
    return "Please report this with the model; until then, write that layer in other terms."


def _own_error(
    opened: OpenedModel,
    hub: ir.Model,
    feed: Mapping[str, Array],
    wanted: Sequence[Array],
    found: Difference,
) -> InternalError:
    shapes = {
        str(value.name): [d if isinstance(d, int) else str(d.value or "?") for d in value.shape]
        for value in hub.graph.inputs
        if value.shape is not None and value.name not in hub.graph.initializers
    }
    stage, model = "bringing it to canonical form", hub
    try:
        prepared = prepare(opened.model, input_shapes=shapes)
        if not _agrees(prepared, feed, wanted, found.tolerance):
            stage, model = "upgrading and folding it", prepared
        elif name := wrong_pass(prepared, feed, found.tolerance):
            stage = f"{stage}, in the pass {name}"
        values = open_onnx_layers(opened.model)(feed)
        first = first_layer(values, model, feed, found.tolerance)
    except EdgewiseError:
        first = None
    return InternalError(
        "the exported model does not compute what its source computes",
        where=f"output '{found.output}'",
        why=f"{found}; it changed while {stage}" + (f"; {first}" if first else ""),
        remedy=_REPORT,
    )


def _agrees(
    model: ir.Model, feed: Mapping[str, Array], wanted: Sequence[Array], tolerance: float
) -> bool:
    try:
        found = OrtSession(model).run(feed)
    except ModelError:
        return False
    return len(found) == len(wanted) and all(
        compare(reference, array)[1] <= tolerance
        for reference, array in zip(wanted, found.values(), strict=True)
    )


def first_layer(
    layers: Iterable[tuple[str, Array]],
    model: ir.Model,
    feed: Mapping[str, Array],
    tolerance: float,
    *,
    moved_channels: bool = False,
) -> FirstLayer | None:
    """The first of the source's layers that `model` does not compute; None where none is found.

    Args:
        layers: names and results, in the order of execution.
        model: where they are looked up; nodes named after layers tell of those that differ.
        tolerance: of a result, relative to its largest magnitude.
        moved_channels: the source has channels last.

    Raises:
        ModelError: the model cannot be run value by value.
    """
    values = dict(open_onnx_layers(model)(feed))
    graph = LayerLookup(model, values, tolerance, moved_channels=moved_channels)
    known = [found for name, array in layers if (found := graph.look_up(name, array)) is not None]
    agreed = graph.everything_before(found.value for found in known if found.value)
    missing = [found for found in known if found.value is None]
    last = max((at for at, found in enumerate(known) if found.value), default=-1)
    first = next(
        (found for found in missing if found.nodes and found.nodes[-1] not in agreed), None
    )
    first = first or next((found for found in known[last + 1 :] if not found.nodes), None)
    if first is None:
        return None
    before = next((x for x in reversed(known[: known.index(first)]) if x.value), None)
    # layers that were fused share a node, whose result is that of the last of them
    fused = [found for found in missing if found.nodes[-1:] == first.nodes[-1:]]
    return FirstLayer(
        first.layer,
        first.operators,
        min((found.ratio for found in fused if found.ratio is not None), default=None),
        None if before is None or before.ratio is None else (before.layer, before.ratio),
    )
