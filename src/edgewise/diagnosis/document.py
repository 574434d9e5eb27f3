"""What a diagnosis found, as a JSON document. What is infinite in decibels, no error at all, is
null there."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgewise.diagnosis.reasons import Reason

FORMAT = "edgewise-diagnosis-1"


@dataclass(frozen=True, slots=True)
class Cause:
    """A part of a layer: an `input` or `output` tensor, or the `constants` of a node. `share` is of
    what the layer's parts cause alone."""

    kind: str
    name: str
    share: float
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class LayerDiagnosis:
    """A layer: `nodes` of the hub model; `share` of the error that all layers cause alone; `gain`:
    the share of the whole error that goes when this layer alone goes back to float; `sqnr_db` of
    the outputs with this layer alone in integers."""

    name: str
    op_type: str
    nodes: tuple[str, ...]
    share: float
    gain: float | None
    sqnr_db: float | None
    causes: tuple[Cause, ...]

    @property
    def reason(self) -> tuple[Cause, Reason] | None:
        """The first reason of what causes most, and what that is."""
        return next(((cause, cause.reasons[0]) for cause in self.causes if cause.reasons), None)


@dataclass(frozen=True, slots=True)
class TensorDiagnosis:
    """A quantized tensor, see `calibration.tensor_errors`."""

    name: str
    sqnr_db: float | None
    own_sqnr_db: float | None
    low: float
    high: float
    scale: float
    dtype: str
    saturated: float


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Of one target: layers worst first, tensors in graph order. `not_switched` names nodes whose
    constants have no counterpart in the hub model."""

    target: str
    precision: str
    samples: int
    sqnr_db: float | None
    layers: tuple[LayerDiagnosis, ...]
    tensors: tuple[TensorDiagnosis, ...]
    not_switched: tuple[str, ...]


def worst_tensor(tensors: Sequence[TensorDiagnosis]) -> TensorDiagnosis | None:
    """That with the least SQNR of its own rounding."""
    known = [tensor for tensor in tensors if tensor.own_sqnr_db is not None]
    return min(known, key=lambda tensor: tensor.own_sqnr_db or 0.0, default=None)


def finite(value: float) -> float | None:
    """None for an infinite number."""
    return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Document:
    """Diagnoses by target."""

    format: str
    targets: Mapping[str, Diagnosis]


def diagnosis_schema() -> dict[str, Any]:
    """The JSON Schema of the document, from the types above."""
    from pydantic import TypeAdapter

    from edgewise.report.document import close_schema

    schema = TypeAdapter(Document).json_schema(mode="serialization")
    close_schema(schema)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Edgewise diagnosis"
    schema["properties"]["format"] = {"const": FORMAT}
    return schema


def as_dict(diagnoses: Sequence[Diagnosis]) -> dict[str, Any]:
    return {"format": FORMAT, "targets": {of.target: _plain(asdict(of)) for of in diagnoses}}


def to_json(diagnoses: Sequence[Diagnosis]) -> str:
    """What `edgewise diagnose --json` writes."""
    return json.dumps(as_dict(diagnoses), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return finite(value) if isinstance(value, float) else value
