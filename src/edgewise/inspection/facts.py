"""What `edgewise inspect` tells of a model: the result of `edgewise.inspect`, as plain values.

Whatever could not be found out is None, and a `reason` or a remark beside it says why. The JSON
Schema in `docs/inspection.schema.json` is generated from these types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

FORMAT = "edgewise-inspection-1"


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """An input or output; a dimension is a size, the name of a free one, or None where it is
    unknown. With a scale, an integer `q` stands for `(q - zero_point) * scale`."""

    name: str
    shape: tuple[int | str | None, ...] | None
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True, slots=True)
class Amount:
    """Numbers that are stored in one form, and the bytes that they take."""

    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ParameterFacts:
    """Weights, biases and tables, each constant once; `by_dtype` in the form they are stored."""

    count: int
    bytes: int
    by_dtype: Mapping[str, Amount]


@dataclass(frozen=True, slots=True)
class Share:
    """Layers with weights of one precision, with their multiply-accumulates and parameters."""

    layers: int
    macs: int
    parameters: int


@dataclass(frozen=True, slots=True)
class Uncounted:
    """Operators whose multiply-accumulates are not in the sum, and why."""

    operator: str
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class MacFacts:
    """Multiply-accumulates of one inference; `free_dimensions` were taken as 1."""

    total: int
    by_operator: Mapping[str, int]
    uncounted: tuple[Uncounted, ...] = ()
    free_dimensions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MemoryFacts:
    """Bytes of activations that are alive at once.

    `peak_bytes` is by liveness in the order of the file (see `edgewise.inspection.memory`), and
    `peak_at` the layer where it is reached; None with a `reason` where a size is unknown.
    `arena_bytes` is what a runtime itself plans, where it tells, and `arena_of` says which.
    """

    peak_bytes: int | None
    peak_at: str | None = None
    reason: str | None = None
    arena_bytes: int | None = None
    arena_of: str | None = None


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """One operator in the order of execution.

    `shape` is that of its first output, with free dimensions taken as 1; `macs` of all its runs,
    None where they are not known; `live_bytes` the activations that are alive while it runs.
    `precision` names how it is stored: `fp32`, `fp16`, `w8a8`, `w8a16`, and for weights alone
    `w8`, `w4`, `palette4`; `weight_dtype` and `activation_dtype` are what it is made of.
    """

    name: str
    operator: str
    shape: tuple[int, ...] | None
    parameters: int
    macs: int | None
    precision: str
    weight_dtype: str | None
    activation_dtype: str | None
    live_bytes: int | None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the size on disk."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a target does not take the model: the node, its operator, the reason, what to do."""

    node: str
    operator: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Support:
    """Whether a target takes the model in one of its precisions.

    `takes` is None where that was not found out; `note` then says why. `remarks` counts the other
    findings by rule, float islands and the Neural Engine's among them, with `note` for the words.
    """

    target: str
    precision: str
    takes: bool | None
    refusals: tuple[Refusal, ...] = ()
    remarks: Mapping[str, int] | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """All of it.

    `versions` are what the file says of its format, such as the opset; `needs` what a device must
    have: the version of each TFLite operator, or the oldest system of a Core ML package.
    """

    format: str
    source: str
    kind: str
    producer: str
    versions: Mapping[str, str]
    needs: Mapping[str, str]
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    operators: Mapping[str, int]
    parameters: ParameterFacts
    macs: MacFacts
    memory: MemoryFacts
    precisions: Mapping[str, Share]
    layers: tuple[LayerFacts, ...]
    size_bytes: int | None
    parts: tuple[Part, ...]
    targets: tuple[Support, ...] = ()
    remarks: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        document: dict[str, Any] = _plain(asdict(self))
        return document


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
