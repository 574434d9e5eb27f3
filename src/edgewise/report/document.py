"""`report.json`: what a build found out. The schema in `docs/report.schema.json` is generated here.

Whatever was not measured is null, and a `reason` beside it says why.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgewise.exporters import Parity
from edgewise.findings import Finding
from edgewise.search.summary import SearchSummary
from edgewise.targets.validation import TargetResult

FORMAT = "edgewise-report-1"


@dataclass(frozen=True, slots=True)
class TensorSummary:
    """An input or output of the hub model; symbolic dimensions are names, or null."""

    name: str
    shape: tuple[int | str | None, ...] | None
    dtype: str | None


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """The hub model; `sha256` is that of `stages/hub.onnx`; `exporter` is what wrote the ONNX,
    empty for a source that is ONNX.

    `macs` are the multiply-accumulates of one inference, `activation_bytes` the most that is alive
    at once in fp32, None where a size is not known; free dimensions are 1 (docs/inspect.md).
    """

    name: str
    source: str
    source_kind: str
    exporter: str
    sha256: str
    inputs: tuple[TensorSummary, ...]
    outputs: tuple[TensorSummary, ...]
    nodes: int
    parameters: int
    macs: int
    activation_bytes: int | None


@dataclass(frozen=True, slots=True)
class DataSummary:
    """Data that was used; `fingerprint` covers its content and preprocessing."""

    description: str
    fingerprint: str
    samples: int
    labelled: bool


@dataclass(frozen=True, slots=True)
class CalibrationSummary:
    """Where the quantized ranges come from: calibration data, the model's own scales, or both.

    `data` is null, with a reason, where there are none. Where there are data and a reason, the data
    gave the ranges of the tensors that the reason leaves.
    """

    data: DataSummary | None
    method: str | None
    percentile: float | None
    reason: str | None = None
    #: what was done to the hub model before it was quantized, in order
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EvaluationSummary:
    """Where the accuracy comes from; null with a reason where no data was given."""

    data: DataSummary | None
    metric: str | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A whole build.

    `ok` is false, and `exit_code` 1, when a budget was missed. `search` tells by target how its
    recipe was found, where one was searched for. Paths in `targets` and `hashes` (SHA-256) are
    relative to the report's folder; `timings` are seconds by stage.
    """

    format: str
    ok: bool
    exit_code: int
    model: ModelSummary
    parity: Parity
    calibration: CalibrationSummary
    evaluation: EvaluationSummary
    targets: Mapping[str, TargetResult]
    search: Mapping[str, SearchSummary]
    findings: tuple[Finding, ...]
    hashes: Mapping[str, str]
    versions: Mapping[str, str]
    timings: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values: JSON has no infinity and no NaN, so these become null."""
        document: dict[str, Any] = _plain(asdict(self))
        return document


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def to_json(document: Mapping[str, Any]) -> str:
    """The text of `report.json`, and of every `--json`."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def report_schema() -> dict[str, Any]:
    """The JSON Schema of `report.json`, from the types above."""
    from pydantic import TypeAdapter

    schema = TypeAdapter(Report).json_schema(mode="serialization")
    close_schema(schema)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Edgewise report"
    schema["properties"]["format"] = {"const": FORMAT}
    return schema


def close_schema(schema: Any) -> None:
    """A contract: every field is there, and no other."""
    if isinstance(schema, dict):
        if "properties" in schema:
            schema["additionalProperties"] = False
            schema["required"] = list(schema["properties"])
        for part in schema.values():
            close_schema(part)
    elif isinstance(schema, list):
        for part in schema:
            close_schema(part)
