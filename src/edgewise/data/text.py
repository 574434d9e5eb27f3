"""A text to the arrays that a model takes: what its tokenizer does.

A `tokenizer.json` (of the library `tokenizers`) says everything: how a text is cut, which special
tokens surround it, where it is truncated and what fills it up. Edgewise writes it with truncation
and padding set to the model's length, so that an application has only to load it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgewise.data.source import Array, InputSpec
from edgewise.data.specs import fit_array
from edgewise.errors import DataError, UsageError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"
#: name of a model's input -> what of an encoded text it takes
FIELDS: Mapping[str, str] = {
    "input_ids": "ids",
    "attention_mask": "attention_mask",
    "token_type_ids": "type_ids",
}
#: two texts of one example: one sequence with a separator, or one run of the model for each
Pairs = Literal["together", "apart"]


@dataclass(frozen=True, slots=True)
class TextPreprocessing:
    """How a text becomes token ids.

    Attributes:
        tokenizer: the content of `tokenizer.json`, with padding and truncation set.
        max_length: most tokens of a text, special ones counted; the rest is cut off.
        pairs: what a model does with two texts: `together` for classifiers of pairs, `apart` for
            embeddings that are compared.
        states: of a decoder, which takes one step after another: each input that is zero at the
            beginning, and the output that is its next value.
    """

    tokenizer: str = field(repr=False)
    max_length: int
    pairs: Pairs = "together"
    states: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_length < 1:
            raise UsageError(
                f"'max_length' must be at least 1, found {self.max_length}",
                where="text preprocessing",
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for manifests; the tokenizer is a file beside them."""
        stored = json.loads(self.tokenizer)
        padding = stored.get("padding") or {}
        return {
            "tokenizer": TOKENIZER_FILE,
            "sha256": hashlib.sha256(self.tokenizer.encode()).hexdigest(),
            "max_length": self.max_length,
            "padding": {
                "side": str(padding.get("direction", "Right")).lower(),
                "id": padding.get("pad_id", 0),
                "token": padding.get("pad_token", ""),
            },
            "pairs": self.pairs,
            "states": dict(self.states),
        }

    def for_inputs(self, inputs: Sequence[InputSpec]) -> TextPreprocessing:
        """The same preprocessing, with the length that the model's inputs have.

        Raises:
            DataError: an input takes no tokens, or the length is shorter than `max_length` asks.
        """
        if self.states:
            return self
        length = self.max_length
        for spec in inputs:
            if spec.name not in FIELDS or len(spec.shape) != 2:
                raise DataError(
                    f"input '{spec.name}' does not take the tokens of a text",
                    why=f"known are {', '.join(FIELDS)} of shape (1, length)",
                    remedy="Give the data as .npz or as package.module:function.",
                )
            if isinstance(spec.shape[1], int):
                length = spec.shape[1]
        chosen = replace(self, max_length=min(self.max_length, length))
        encoder = chosen.open()
        padding = encoder.padding or {}
        keys = ("direction", "pad_id", "pad_type_id", "pad_token")
        encoder.enable_padding(length=length, **{k: padding[k] for k in keys if k in padding})
        return replace(chosen, tokenizer=encoder.to_str())

    def open(self) -> Tokenizer:
        """The tokenizer, truncating to `max_length`.

        Raises:
            UsageError: the library `tokenizers` is not installed.
            DataError: the content is no tokenizer.
        """
        try:
            from tokenizers import Tokenizer
        except ModuleNotFoundError as error:
            raise UsageError(
                "texts need tokenizers", remedy="Run: pip install 'edgewise[transformers]'"
            ) from error
        try:
            tokenizer = Tokenizer.from_str(self.tokenizer)
        except Exception as error:  # the library raises plain exceptions
            raise DataError(
                "cannot read the tokenizer", where=TOKENIZER_FILE, why=str(error)
            ) from error
        stored = tokenizer.truncation or {}
        keys = ("stride", "strategy", "direction")
        tokenizer.enable_truncation(
            self.max_length, **{key: stored[key] for key in keys if key in stored}
        )
        return tokenizer


def encoded(
    tokenizer: Tokenizer, texts: Sequence[str], inputs: Sequence[InputSpec], where: str
) -> dict[str, Array]:
    """The arrays of one text, or of two in one sequence. Raises DataError."""
    encoding = tokenizer.encode(texts[0], texts[1] if len(texts) > 1 else None)
    return {
        spec.name: fit_array(
            np.asarray([getattr(encoding, FIELDS[spec.name])], np.int64), spec, where
        )
        for spec in inputs
    }
