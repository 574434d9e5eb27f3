"""What is done to the user's data before a model sees it, by kind of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from edgewise.data.audio import AudioPreprocessing
from edgewise.data.image import ImagePreprocessing
from edgewise.data.source import InputSpec
from edgewise.data.text import TOKENIZER_FILE, TextPreprocessing

Preprocessing = ImagePreprocessing | TextPreprocessing | AudioPreprocessing
#: as manifests name them
_KINDS = {"image": ImagePreprocessing, "text": TextPreprocessing, "audio": AudioPreprocessing}


def as_dict(preprocessing: Preprocessing) -> dict[str, Any]:
    """Plain values with the `kind`, as in `manifest.json`."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(preprocessing, cls))
    return {"kind": kind, **preprocessing.as_dict()}


def companions(preprocessing: Preprocessing | None) -> dict[str, bytes]:
    """The files that an application needs beside what `as_dict` says, by name."""
    if not isinstance(preprocessing, TextPreprocessing):
        return {}
    return {TOKENIZER_FILE: preprocessing.tokenizer.encode()}


def from_dict(stored: Mapping[str, Any], files: Mapping[str, bytes]) -> Preprocessing:
    """What `as_dict` and `companions` were made of. Raises ValueError for anything else."""
    values = dict(stored)
    kind = values.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"the kind is {kind}, not one of {', '.join(_KINDS)}")
    if kind == "text":
        if TOKENIZER_FILE not in files:
            raise ValueError(f"there is no {TOKENIZER_FILE}")
        values["tokenizer"] = files[TOKENIZER_FILE].decode()
    cls = _KINDS[kind]
    known = {entry.name for entry in fields(cls)}
    try:
        made: Preprocessing = cls(
            **{
                key: tuple(value) if isinstance(value, list) else value
                for key, value in values.items()
                if key in known
            }
        )
    except TypeError as error:
        raise ValueError(str(error)) from error
    return made


def for_inputs(
    preprocessing: Preprocessing | None, inputs: Sequence[InputSpec]
) -> Preprocessing | None:
    """The same with all that the model's inputs settle, or None where it feeds no such model.

    Raises:
        DataError: it does not agree with the inputs.
    """
    if isinstance(preprocessing, TextPreprocessing):
        return preprocessing.for_inputs(inputs)
    if preprocessing is None or len(inputs) != 1:
        return None
    return preprocessing.for_input(inputs[0])


@dataclass(frozen=True, slots=True)
class TextColumns:
    """Where the texts of a table are.

    Attributes:
        texts: name of the column, or of two for pairs; numbers count from 1 in a file without a
            header. Empty: the usual names.
        label: the same for the label.
    """

    texts: tuple[str | int, ...] = ()
    label: str | int | None = None


@dataclass(frozen=True, slots=True)
class DataSettings:
    """What the user says of the data, over what the model's source tells of them.

    Attributes:
        image: the fields of `ImagePreprocessing` that are given; None where none is.
        max_length: of texts, in tokens.
    """

    image: Mapping[str, Any] | None = None
    columns: TextColumns = field(default_factory=TextColumns)
    max_length: int | None = None

    @property
    def image_alone(self) -> ImagePreprocessing | None:
        """What is said of pictures, for a source that has not told anything yet."""
        return None if self.image is None else ImagePreprocessing(**self.image)

    def over(self, told: Preprocessing | None) -> Preprocessing | None:
        """The preprocessing with what the user says in place of what the source told."""
        if self.image is not None:
            if isinstance(told, ImagePreprocessing):
                return replace(told, **self.image)
            return self.image_alone
        if self.max_length is not None and isinstance(told, TextPreprocessing):
            return replace(told, max_length=self.max_length)
        return told
