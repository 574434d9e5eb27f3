"""A diagnosis as text: one table, worst layers first, and under each what causes its error."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from edgewise.diagnosis.document import Cause, Diagnosis, LayerDiagnosis, worst_tensor

_WIDTH = 100
_NAME = 48
_INDENT = " " * 6


def diagnosis_lines(found: Diagnosis, top: int) -> Iterator[str]:
    """The lines for one target."""
    samples = f"{found.samples} sample{'s' * (found.samples != 1)}"
    yield (
        f"{found.target} {found.precision}: outputs have an SQNR of {_decibels(found.sqnr_db)} "
        f"against float, over {samples}"
    )
    if not found.layers:
        yield "  no layer is quantized"
        return
    yield f"  {'error':>6} {'gain':>6}  {'SQNR':>8}  layer"
    for layer in found.layers[:top]:
        yield from _layer(layer)
    rest = found.layers[top:]
    if rest:
        share = sum(layer.share for layer in rest)
        yield f"  {100 * share:5.1f}%                  {len(rest)} more"
    yield from _remedies(found.layers[:top])
    yield "  error: share of what all layers cause alone; gain: what goes when it alone is in float"
    worst = worst_tensor(found.tensors)
    if worst is not None:
        yield (
            f"  tensors: {len(found.tensors)}, the worst by its own rounding "
            f"'{_short(worst.name)}' ({_decibels(worst.own_sqnr_db)})"
        )
    if found.not_switched:
        yield f"  not told apart: constants of {', '.join(map(_short, found.not_switched))}"


def _layer(layer: LayerDiagnosis) -> Iterator[str]:
    gain = "" if layer.gain is None else f"{100 * layer.gain:5.1f}%"
    yield (
        f"  {100 * layer.share:5.1f}% {gain:>6}  {_decibels(layer.sqnr_db):>8}  "
        f"{layer.op_type} {_short(layer.name)}"
    )
    for cause in layer.causes:
        if not cause.reasons and cause is not layer.causes[0]:
            continue
        yield from textwrap.wrap(
            _cause(cause), _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT + "  "
        )


def _remedies(layers: Iterable[LayerDiagnosis]) -> Iterator[str]:
    """What to do about each rule, once: the order is that of the layers."""
    told: dict[tuple[str, str], None] = {}
    for layer in layers:
        for cause in layer.causes:
            told |= {(reason.rule, reason.remedy): None for reason in cause.reasons[:1]}
    for rule, remedy in told:
        yield from textwrap.wrap(
            f"{rule}: {remedy}", _WIDTH, initial_indent="  ", subsequent_indent="    "
        )


def _cause(cause: Cause) -> str:
    share = f"{100 * cause.share:.0f} %"
    what = "weights" if cause.kind == "constants" else f"{cause.kind} '{_short(cause.name)}'"
    if not cause.reasons:
        return f"{share} by {what}: no reason known"
    first = cause.reasons[0]
    others = [reason.rule for reason in cause.reasons[1:]]
    more = f" (also: {', '.join(others)})" if others else ""
    gain = "" if first.gain_db is None else f", costs {first.gain_db:.0f} dB"
    return f"{share} by {what}: {first.rule}{gain}: {first.text}{more}"


def _decibels(value: float | None) -> str:
    return "no error" if value is None else f"{value:.1f} dB"


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 21]}...{name[-18:]}"
