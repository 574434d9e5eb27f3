"""Whether the hub model computes what its source computes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.data.source import InputSpec
from edgewise.errors import EdgewiseError, ModelError
from edgewise.exporters.opened import Array, OpenedModel, Runner
from edgewise.graph import OrtSession

#: per output, relative to its largest magnitude; rounding alone gives about 1e-6 on deep CNNs
TOLERANCE, HALF_TOLERANCE = 1e-4, 1e-2
_RANDOM_SAMPLES = 2
#: stands in for symbolic dimensions other than the batch
_UNKNOWN_DIMENSION = 32


@dataclass(frozen=True, slots=True)
class Parity:
    """The hub model against its source, over `samples` inputs; None where not measured, see
    `reason`.

    `max_abs_error` is the largest absolute difference of any output value. `max_rel_error` is the
    largest of: absolute difference over the largest magnitude of the same output of the source.
    """

    max_abs_error: float | None
    max_rel_error: float | None
    samples: int
    tolerance: float
    inputs: str  # "real" or "random"
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def random_feeds(specs: Sequence[InputSpec], count: int) -> Iterable[dict[str, Array]]:
    """Standard normal floats, zeros and ones for other types; always the same ones."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield {spec.name: _random(spec, rng) for spec in specs}


def _random(spec: InputSpec, rng: np.random.Generator) -> Array:
    shape = [
        dim if isinstance(dim, int) else 1 if axis == 0 else _UNKNOWN_DIMENSION
        for axis, dim in enumerate(spec.shape)
    ]
    if spec.dtype.kind in "biu":
        return rng.integers(0, 2, shape).astype(spec.dtype)
    return rng.standard_normal(shape, np.float32).astype(spec.dtype)


def measure_parity(
    opened: OpenedModel,
    hub: ir.Model,
    specs: Sequence[InputSpec],
    real: Sequence[Mapping[str, Array]],
) -> Parity:
    """Run both on the real inputs, or on random ones where there are none.

    Raises:
        ModelError: the two differ by more than the tolerance, or real inputs cannot be run.
    """
    feeds = list(real) or list(random_feeds(specs, _RANDOM_SAMPLES))
    kind = "real" if real else "random"
    tolerance = opened.tolerance or (HALF_TOLERANCE if _has_half_precision(hub) else TOLERANCE)
    try:
        run = opened.open_runner()
        expected = [run(feed) for feed in feeds]
    except Exception as error:  # the source's runtime may raise anything
        if real and isinstance(error, EdgewiseError):
            raise
        reason = f"the source cannot be run on {kind} inputs ({_line(error)})"
        return Parity(None, None, 0, tolerance, kind, reason)
    session = OrtSession(hub, optimize="none")
    absolute = relative = 0.0
    for feed, wanted in zip(feeds, expected, strict=True):
        found = session.run(feed)
        for (name, array), reference in zip(found.items(), wanted, strict=True):
            difference, ratio = compare(reference, array)
            absolute, relative = max(absolute, difference), max(relative, ratio)
            if ratio > tolerance:
                if not _repeatable(run, feed, wanted):
                    reason = "the source gives another result each time it is run"
                    return Parity(None, None, 0, tolerance, kind, reason)
                raise _mismatch(name, difference, ratio, tolerance)
    return Parity(absolute, relative, len(feeds), tolerance, kind)


def compare(reference: Array, found: Array) -> tuple[float, float]:
    """Largest absolute difference, and that over the largest magnitude of `reference`.

    Infinite where shapes or the places of NaN differ. Equal infinities count as equal.
    """
    if reference.shape != found.shape:
        return np.inf, np.inf
    if not reference.size:
        return 0.0, 0.0
    if reference.dtype.kind not in "biufV" or found.dtype.kind not in "biufV":  # strings
        return (0.0, 0.0) if np.array_equal(reference, found) else (np.inf, np.inf)
    wide, other = reference.astype(np.float64), found.astype(np.float64)
    differing = ~((wide == other) | (np.isnan(wide) & np.isnan(other)))
    if not differing.any():
        return 0.0, 0.0
    error = float(np.abs(wide[differing] - other[differing]).max())
    largest = float(np.abs(wide[np.isfinite(wide)]).max(initial=0.0))
    if not np.isfinite(error):
        return np.inf, np.inf
    return error, error / largest if largest else np.inf


def _repeatable(run: Runner, feed: Mapping[str, Array], first: Sequence[Array]) -> bool:
    again = run(feed)
    return all(compare(a, b)[1] == 0.0 for a, b in zip(first, again, strict=True))


def _has_half_precision(model: ir.Model) -> bool:
    half = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
    return any(out.dtype in half for node in model.graph for out in node.outputs)


def _mismatch(name: str, difference: float, ratio: float, tolerance: float) -> ModelError:
    return ModelError(
        "the exported model does not compute what its source computes",
        where=f"output '{name}'",
        why=f"it differs by up to {difference:.3g}, which is {ratio:.3g} of its range; "
        f"{tolerance:g} is allowed",
        remedy="Please report this with the model.",
    )


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
