"""Texts that name a model on the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

#: an owner and a name
_FORM = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_name(text: str) -> bool:
    """Whether it has the form `org/name`, and is no path here, not even a wrong one: a path into a
    folder that exists, or one that ends like a file of a model, is more likely mistyped."""
    owner, _, name = text.partition("/")
    suffix = Path(name).suffix.lower()
    return (
        _FORM.fullmatch(text) is not None
        and not Path(owner).exists()
        and not suffix.removeprefix(".").isalpha()
    )
