"""The names of the classes: of a file, else the class folders of the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir

from edgewise.data import DataSource
from edgewise.errors import DataError, UsageError


def read_labels(path: str | Path) -> tuple[str, ...]:
    """One label a line, in UTF-8; empty lines at the end do not count.

    Raises:
        UsageError: there is no such file.
        DataError: it cannot be read, or has an empty line between labels, or no label.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(
            "no such file", where=str(path), remedy="Check the path of the labels."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DataError("cannot read the labels", where=str(path), why=why) from error
    labels = tuple(line.strip() for line in text.rstrip().splitlines())
    if not labels or not all(labels):
        found = f"line {labels.index('') + 1} is empty" if labels else "the file is empty"
        raise DataError(
            "cannot read the labels", where=str(path), why=found, remedy="Give one label a line."
        )
    return labels


def labels_for(
    model: ir.Model,
    file: str | None,
    sources: Sequence[DataSource | None],
    *,
    told: Sequence[str] = (),
) -> tuple[str, ...]:
    """Those of the file, else those that the model's source told, else of the first data whose
    classes are as many as the values of the model's first output; none where there are none.

    Raises:
        UsageError: there is no such file, or no output has a value for each of its labels.
        DataError: see `read_labels`.
    """
    if file is not None:
        labels = read_labels(file)
        counts = [_classes(value) for value in model.graph.outputs]
        if len(labels) not in counts and None not in counts:
            told = ", ".join(
                f"'{v.name}' {n}" for v, n in zip(model.graph.outputs, counts, strict=True)
            )
            raise UsageError(
                f"there are {len(labels)} labels, and no output has as many values",
                where=file,
                why=f"the outputs have {told}",
                remedy="Give one label for each class, in the order of the values.",
            )
        return labels
    if told:
        return tuple(told)
    first = _classes(model.graph.outputs[0]) if model.graph.outputs else None
    for source in sources:
        if source is not None and source.class_names and len(source.class_names) == first:
            return source.class_names
    return ()


def _classes(value: ir.Value) -> int | None:
    """Size of the last axis; None where it is not known."""
    size = value.shape[-1] if value.shape is not None and len(value.shape) else None
    return size if isinstance(size, int) else None
