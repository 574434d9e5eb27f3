"""Options of the command line to the values that a project file would hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from edgewise.errors import UsageError

Values = dict[tuple[str, ...], Any]


def numbers(
    text: str | None, flag: str, kind: Callable[[str], int | float]
) -> int | float | list[int | float] | None:
    """`224` to a number, `224,192` to a list. Raises UsageError for anything else."""
    if text is None:
        return None
    try:
        found = [kind(part.strip()) for part in text.split(",")]
    except ValueError:
        noun = "whole numbers" if kind is int else "numbers"
        raise UsageError(
            f"found '{text}'; allowed: {noun} separated by commas", where=flag
        ) from None
    return found[0] if len(found) == 1 else found


def shapes(texts: Sequence[str] | None) -> Values:
    """`name=1,3,224,224` each, or `name=batch,3,224,224`. Raises UsageError for anything else."""
    values: Values = {}
    for text in texts or ():
        name, equals, dims = text.rpartition("=")
        if not equals or not name:
            raise UsageError(f"found '{text}'; allowed: name=1,3,224,224", where="--input-shape")
        found = [part.strip() for part in dims.split(",")]
        if not all(re.fullmatch(r"[0-9]+|[A-Za-z_]\w*", part) for part in found):
            raise UsageError(
                f"found '{dims}'; allowed: whole numbers, or names of free dimensions, separated "
                "by commas",
                where="--input-shape",
            )
        values["model", "input_shapes", name] = [
            int(part) if part.isdecimal() else part for part in found
        ]
    return values


def source_values(
    weights: str | None,
    signature: str | None,
    task: str | None,
    exporter: str | None,
    allow_code: bool,
) -> Values:
    return {
        ("model", "weights"): weights,
        ("model", "signature"): signature,
        ("model", "task"): task,
        ("model", "exporter"): exporter,
        ("model", "allow_code"): allow_code or None,
    }


def settings(texts: Sequence[str] | None) -> Values:
    """`targets.apple.deployment_target=iOS17` each: any key of the project file, and its value as
    TOML, or as the text that it is. Raises UsageError for anything else."""
    import tomllib

    from edgewise.config_file import Setting

    values: Values = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        key = tuple(part.strip() for part in name.split("."))
        if not equals or len(key) < 2 or not all(key):
            raise UsageError(
                f"found '{text}'; allowed: table.key=value",
                where="--set",
                remedy="Write it as in --set targets.apple.deployment_target=iOS17.",
            )
        try:
            read = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            read = value.strip()
        values[key] = Setting(read)
    return values


def precisions(texts: Sequence[str] | None) -> Values:
    """`w8a8` for all targets, `apple=fp16` for one, which wins."""
    from edgewise.config_file import EVERY_TARGET

    general = [text for text in texts or () if "=" not in text]
    if len(general) > 1:
        raise UsageError(
            f"found {', '.join(general)}; allowed: one precision for all targets",
            where="--precision",
            remedy="Name the target, as in --precision apple=fp16.",
        )
    chosen = {EVERY_TARGET: general[0]} if general else {}
    for text in texts or ():
        target, equals, precision = text.partition("=")
        if equals:
            chosen[target] = precision
    return {("targets", target, "precision"): value for target, value in chosen.items()}


def data_values(
    calibration: str | None = None,
    evaluation: str | None = None,
    metric: str | None = None,
    limit: int | None = None,
    labels: str | None = None,
) -> Values:
    return {
        ("data", "labels"): labels,
        ("data", "calibration"): calibration,
        ("data", "evaluation"): evaluation,
        ("data", "metric"): metric,
        ("data", "limit"): limit,
    }


def image_values(
    resize: str | None,
    crop: str | None,
    color: str | None,
    mean: str | None,
    std: str | None,
    layout: str | None,
) -> Values:
    return {
        ("data", "image", "resize"): numbers(resize, "--resize", int),
        ("data", "image", "crop"): numbers(crop, "--crop", int),
        ("data", "image", "color"): color,
        ("data", "image", "mean"): numbers(mean, "--mean", float),
        ("data", "image", "std"): numbers(std, "--std", float),
        ("data", "image", "layout"): layout,
    }


def budget_values(
    accuracy_drop: float | None,
    min_accuracy: float | None,
    max_latency_ms: float | None,
    min_speedup: float | None,
    max_size_mb: float | None,
    max_instructions: float | None,
) -> Values:
    return {
        ("budget", "accuracy_drop"): accuracy_drop,
        ("budget", "min_accuracy"): min_accuracy,
        ("budget", "max_latency_ms"): max_latency_ms,
        ("budget", "min_speedup"): min_speedup,
        ("budget", "max_size_mb"): max_size_mb,
        ("budget", "max_instructions"): max_instructions,
    }
