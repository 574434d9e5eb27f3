"""Text of the command line to the values that a project file would hold."""

from __future__ import annotations

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
    """`name=1,3,224,224` each. Raises UsageError for anything else."""
    values: Values = {}
    for text in texts or ():
        name, equals, dims = text.rpartition("=")
        if not equals or not name:
            raise UsageError(f"found '{text}'; allowed: name=1,3,224,224", where="--input-shape")
        found = numbers(dims, "--input-shape", int)
        values["model", "input_shapes", name] = found if isinstance(found, list) else [found]
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
