"""Labels as data hold them, to the numbers that a model counts its classes with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from edgewise.errors import DataError


def class_names(found: Iterable[str], model_labels: Sequence[str]) -> tuple[str, ...]:
    """The names in the order of their numbers: the model's own where it knows all of them, in
    whatever order the data hold them; else sorted."""
    names = set(found)
    return tuple(model_labels) if names <= set(model_labels) else tuple(sorted(names))


def numbered(labels: Sequence[Any], model_labels: Sequence[str], where: str) -> tuple[Any, ...]:
    """Labels of a column as numbers, and the names of the classes where they were names.

    Whole numbers stay indices, other numbers are scores.

    Raises DataError: some are numbers and others are not.
    """
    numbers = [_number(label) for label in labels]
    if all(number is not None for number in numbers):
        whole = all(isinstance(number, int) for number in numbers)
        return [n if whole else float(n) for n in numbers if n is not None], ()
    texts = [str(label).strip() for label in labels]
    names = class_names(texts, model_labels)
    if any(number is not None for number in numbers) and names != tuple(model_labels):
        index = next(i for i, number in enumerate(numbers) if number is None)
        raise DataError(
            "some labels are numbers and others are not",
            where=where,
            why=f"found '{texts[index]}'",
            remedy="Label all rows in the same way.",
        )
    index_of = {name: index for index, name in enumerate(names)}
    return [index_of[text] for text in texts], names


def _number(label: Any) -> int | float | None:
    if isinstance(label, bool):
        return int(label)
    if isinstance(label, int | float):
        return label
    try:
        return int(str(label))
    except ValueError:
        pass
    try:
        return float(str(label))
    except ValueError:
        return None
