"""Libraries that come with an extra of the package, imported when a source needs them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from edgewise.errors import UsageError
from edgewise.exporters.quiet import quiet

#: module -> the extra of `pip install edgewise[...]` that brings it
EXTRAS = {
    "equinox": "jax",
    "flax": "jax",
    "huggingface_hub": "transformers",
    "jax": "jax",
    "jax2onnx": "jax",
    "joblib": "sklearn",
    "keras": "tensorflow",
    "safetensors": "torch",
    "skl2onnx": "sklearn",
    "sklearn": "sklearn",
    "tensorflow": "tensorflow",
    "tf2onnx": "tensorflow",
    "tf_keras": "keras2",
    "tokenizers": "transformers",
    "torch": "torch",
    "transformers": "transformers",
}


def import_extra(name: str, *, needed_for: str) -> Any:
    """The module `name`, imported without its chatter.

    Args:
        name: a key of `EXTRAS`, or a module below one of them.
        needed_for: the models that need it, in the plural, such as "PyTorch models".

    Raises:
        UsageError: it is not installed; the message names the extra.
    """
    package = name.partition(".")[0]
    try:
        with quiet():
            return import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or package
        extra = EXTRAS.get(missing.partition(".")[0], EXTRAS[package])
        raise UsageError(
            f"{needed_for} need {package if missing == package else f'{package} and {missing}'}",
            remedy=f"Run: pip install 'edgewise[{extra}]'",
        ) from error
