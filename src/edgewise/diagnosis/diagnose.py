"""One QDQ model against the float model that it was made from: which layers lose how much, and why.

1. Every layer alone in integers, and every layer alone in float: its part in the output error.
2. Every tensor in float and in integers: its SQNR, and that of its own rounding.
3. For the worst layers, every tensor and the constants alone: which of them it is.
4. For what causes most of a layer's error, the reasons that hold.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from edgewise.calibration.gates import with_gates
from edgewise.calibration.layers import named_copy
from edgewise.calibration.output_error import Measure, Probe
from edgewise.calibration.scheme import Scheme
from edgewise.calibration.sensitivity import (
    LayerError,
    PartError,
    Sensitivity,
    layer_errors,
    part_errors,
)
from edgewise.calibration.statistics import Statistics
from edgewise.calibration.tensor_errors import TensorError, tensor_errors
from edgewise.data.source import DataSource
from edgewise.diagnosis.document import (
    Cause,
    Diagnosis,
    LayerDiagnosis,
    TensorDiagnosis,
    finite,
)
from edgewise.diagnosis.reasons import Reason, Surroundings, activation_reasons
from edgewise.diagnosis.surroundings import hub_name, surroundings
from edgewise.diagnosis.weight_reasons import weight_reasons
from edgewise.progress import SILENT, Progress

DEFAULT_SAMPLES = 4
DEFAULT_TOP = 10
#: a part of a layer that causes less of its error than this is not asked for reasons
_TOLD_SHARE = 0.2


def diagnose(
    hub: ir.Model,
    qdq: ir.Model,
    scheme: Scheme,
    source: DataSource,
    *,
    statistics: Statistics | None = None,
    exclude: Collection[str] = (),
    measure: Measure = "auto",
    limit: int = DEFAULT_SAMPLES,
    top: int = DEFAULT_TOP,
    threads: int = 1,
    progress: Progress = SILENT,
) -> Diagnosis:
    """What each layer and each tensor of a QDQ model loses.

    Args:
        hub: the float model that `qdq` was made from, repairs included.
        qdq: of `quantize_for` with this scheme.
        source: samples like those of calibration; labels are not needed.
        statistics: of the hub model; without, ranges are those of the samples.
        exclude: the nodes that were left in float (`Recipe.float_nodes`).
        measure: whether outputs are class scores, see `calibration.output_error`.
        limit: samples; a few tell as much as many.
        top: layers that reasons are looked for.

    Raises:
        UsageError: the model has no floating-point output.
        DataError: no samples, or what `source` raises.
        ModelError: ONNX Runtime cannot run the model.
    """
    gated = with_gates(hub, qdq, scheme, exclude)
    probe = Probe(gated, hub, measure=measure, threads=threads)
    ranked = layer_errors(probe, source, gains=top, limit=limit, progress=progress)
    worst = [layer for layer in ranked.layers[:top] if layer.error > 0.0]
    names = [layer.name for layer in worst]
    parts = part_errors(probe, names, source, limit=limit, progress=progress)
    tensors = tensor_errors(gated, source, limit=limit, threads=threads, progress=progress)
    reasons = _Reasons(hub, qdq, scheme, tensors, statistics)
    causes = {layer.name: reasons.causes(parts[layer.name]) for layer in worst}
    return _document(scheme, ranked, tensors, causes, gated.stuck)


class _Reasons:
    """Of tensors and of nodes' constants."""

    def __init__(
        self,
        hub: ir.Model,
        qdq: ir.Model,
        scheme: Scheme,
        tensors: Mapping[str, TensorError],
        statistics: Statistics | None,
    ) -> None:
        qdq = named_copy(qdq)
        self._scheme = scheme
        self._hub = {node.name or "": node for node in named_copy(hub).graph}
        self._nodes = {node.name or "": node for node in qdq.graph}
        self._tensors = tensors
        self._around = surroundings(qdq, scheme, tensors, statistics)

    def causes(self, parts: Sequence[PartError]) -> tuple[Cause, ...]:
        """The parts that matter, each with its reasons. What only moved counts once: either of the
        two tensors makes the whole error."""
        once = [part for index, part in enumerate(parts) if not self._repeats(part, parts[:index])]
        total = sum(part.share for part in once) or 1.0
        once = [replace(part, share=part.share / total) for part in once]
        told = [part for part in once if part.share >= _TOLD_SHARE] or once[:1]
        return tuple(
            Cause(part.kind, hub_name(part.name), part.share, tuple(self._of(part)))
            for part in told
        )

    def _repeats(self, part: PartError, earlier: Sequence[PartError]) -> bool:
        """Whether one of the earlier tensors has the same elements."""
        around, mine = self._around.get(part.name), self._tensors.get(part.name)
        if around is None or mine is None:
            return False
        sharing = {name for name, _ in around.sharing}
        others = [self._tensors[p.name] for p in earlier if p.name in sharing]
        same = (mine.low, mine.high, mine.count, mine.saturated)
        return any((o.low, o.high, o.count, o.saturated) == same for o in others)

    def _of(self, part: PartError) -> list[Reason]:
        if part.kind == "constants":
            return weight_reasons(self._nodes[part.name], self._hub)
        number = self._scheme.activation
        tensor = self._tensors.get(part.name)
        if number is None or tensor is None:
            return []
        around: Surroundings = self._around[part.name]
        return activation_reasons(tensor, around, number)


def _document(
    scheme: Scheme,
    ranked: Sensitivity,
    tensors: Mapping[str, TensorError],
    causes: Mapping[str, tuple[Cause, ...]],
    stuck: Sequence[str],
) -> Diagnosis:
    return Diagnosis(
        target=scheme.target,
        precision=scheme.precision,
        samples=ranked.samples,
        sqnr_db=finite(ranked.sqnr_db),
        layers=tuple(_layer(layer, causes.get(layer.name, ())) for layer in ranked.layers),
        tensors=tuple(
            TensorDiagnosis(
                hub_name(name),
                finite(tensor.sqnr_db),
                finite(tensor.own_sqnr_db),
                tensor.low,
                tensor.high,
                float(tensor.quantization.scale.max()),
                tensor.quantization.zero_point.dtype.name,
                tensor.saturated,
            )
            for name, tensor in tensors.items()
        ),
        not_switched=tuple(stuck),
    )


def _layer(layer: LayerError, causes: tuple[Cause, ...]) -> LayerDiagnosis:
    return LayerDiagnosis(
        layer.name,
        layer.op_type,
        layer.nodes,
        layer.share,
        layer.gain,
        finite(layer.sqnr_db),
        causes,
    )
