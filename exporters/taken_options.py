"""Which of the options of a source each kind takes; one that it does not take is an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgewise.errors import UsageError
from edgewise.exporters.opened import SourceOptions

#: option -> its flag; shapes and examples are for every kind
FLAGS: Mapping[str, str] = {
    "weights": "--weights",
    "signature": "--signature",
    "task": "--task",
    "exporter": "--exporter",
    "allow_code": "--allow-code",
}
_UNSAID = SourceOptions()


@dataclass(frozen=True, slots=True)
class Taken:
    """`kind` in the plural, and the options that are for it."""

    kind: str
    options: tuple[str, ...] = ()


def check_options(options: SourceOptions, taken: Taken, where: str) -> None:
    """Raises UsageError for the first option that is given and not taken."""
    for name, flag in FLAGS.items():
        if name in taken.options or getattr(options, name) == getattr(_UNSAID, name):
            continue
        flags = [FLAGS[option] for option in taken.options]
        raise UsageError(
            f"{flag} ([model] {name}) is not for {taken.kind}",
            where=where,
            remedy=f"Leave it away; these take {' and '.join(['--input-shape', *flags])}.",
        )
