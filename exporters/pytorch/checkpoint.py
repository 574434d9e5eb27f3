"""Weights in files, and how they come into a module.

1. `.safetensors`: arrays only. Needs the package of that name.
2. `.pt`, `.pth`, `.th`, `.bin`, `.ckpt`, `.pkl`: what `torch.save` wrote, read with
   `weights_only=True`: tensors, containers and numbers (also numpy's, and `argparse.Namespace`,
   which hold no code). Anything else is code: it is refused unless the user allows it.

The state dict is the whole file, or lies in it under one of `_KEYS`. A wrapper that the model was
trained in leaves its name before every key (`_PREFIXES`): it goes where keys fit only without.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from edgewise.errors import ModelError, UsageError
from edgewise.exporters.extras import import_extra
from edgewise.exporters.pytorch.failures import first_line
from edgewise.exporters.pytorch.running import Module, Tensor, import_torch
from edgewise.exporters.quiet import quiet

_SAFE = ".safetensors"
_KEYS = ("state_dict", "model_state_dict", "model", "net", "module", "weights")
#: of DataParallel, torch.compile, and Lightning or other wrappers
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
#: buffers that count training steps: old checkpoints lack them, and inference does not read them
_COUNTER = "num_batches_tracked"
_SHOWN = 3


def read_checkpoint(path: Path, *, allow_code: bool) -> Any:
    """What the file holds: arrays by name, whatever `torch.save` was given, or a module.

    Raises:
        UsageError: there is no such file, or a package is missing.
        ModelError: the file cannot be read, or it holds code and that is not allowed.
    """
    if not path.is_file():
        raise UsageError("no such file", where=str(path), remedy="Check the path of the weights.")
    if path.suffix.lower() == _SAFE:
        return _read_safetensors(path)
    torch = import_torch()
    try:
        with quiet(), _numbers() if not allow_code else nullcontext():
            return torch.load(path, map_location="cpu", weights_only=not allow_code)
    except Exception as error:  # zip, pickle and tensor errors of many types
        if not allow_code and (code := _code_in(str(error))):
            raise ModelError(
                "the file holds code",
                where=str(path),
                why=f"it needs '{code}', and loading it would run whatever was put there",
                remedy="If you trust who made it, load it with --allow-code ([model] allow_code); "
                "else save the state dict alone: torch.save(module.state_dict(), path).",
            ) from error
        raise ModelError(
            "cannot read the checkpoint",
            where=str(path),
            why=_damage(error),
            remedy="Save it again with torch.save(module.state_dict(), path).",
        ) from error


def read_weights(path: Path, *, allow_code: bool) -> dict[str, Tensor]:
    """The state dict in a file. Raises like `read_checkpoint`, and ModelError: there is none."""
    found = state_dict_in(read_checkpoint(path, allow_code=allow_code))
    if found is None:
        raise ModelError(
            "there are no weights in this file",
            where=str(path),
            remedy=f"A state dict is the file itself, or lies under {', '.join(_KEYS)}.",
        )
    return found


def state_dict_in(loaded: Any) -> dict[str, Tensor] | None:
    """The arrays by name in what a checkpoint holds."""
    torch = import_torch()
    if isinstance(loaded, torch.nn.Module):
        return dict(loaded.state_dict())
    if not isinstance(loaded, Mapping):
        return None
    arrays = {str(k): v for k, v in loaded.items() if isinstance(v, torch.Tensor)}
    if arrays and len(arrays) * 2 > len(loaded):
        return arrays
    nested = (state_dict_in(loaded[key]) for key in _KEYS if key in loaded)
    return next((found for found in nested if found), None)


def fill(module: Module, weights: Mapping[str, Tensor], source: str, where: str) -> None:
    """Put the weights into the module, in place.

    Raises ModelError: one is missing, too many, or of another shape.
    """
    own = module.state_dict()
    fitting = _without_prefixes(weights, own)
    shared = {own[key].data_ptr() for key in fitting if key in own and own[key].numel()}
    missing = [
        key
        for key in own
        if key not in fitting
        and not key.endswith(_COUNTER)
        and (own[key].is_meta or own[key].data_ptr() not in shared)
    ]
    unexpected = [key for key in fitting if key not in own]
    other = [
        f"{key} is {_shape(fitting[key])} in the file and {_shape(own[key])} in the module"
        for key in fitting
        if key in own and fitting[key].shape != own[key].shape
    ]
    if missing or unexpected or other:
        parts = [
            _listed(missing, "missing"),
            _listed(unexpected, "not in the module"),
            _listed(other, "of another shape"),
        ]
        raise ModelError(
            "the weights do not fit the module",
            where=source,
            why="; ".join(part for part in parts if part),
            remedy=f"Let '{where}' build the network that they were saved from.",
        )
    on_meta = any(tensor.is_meta for tensor in own.values())
    module.load_state_dict(dict(fitting), strict=False, assign=on_meta)


def _without_prefixes(
    weights: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    best = dict(weights)
    while True:
        shorter = [{k.removeprefix(p): v for k, v in best.items()} for p in _PREFIXES]
        better = max(shorter, key=lambda keys: len(keys.keys() & own.keys()))
        if len(better.keys() & own.keys()) > len(best.keys() & own.keys()):
            best = better
        elif (under := _all_prefixed(best)) and not best.keys() & own.keys():
            best = under  # two wrappers: keys may fit after the next one
        else:
            return best


def _all_prefixed(weights: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    for prefix in _PREFIXES:
        if weights and all(key.startswith(prefix) for key in weights):
            return {key.removeprefix(prefix): value for key, value in weights.items()}
    return None


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    safetensors = import_extra("safetensors.torch", needed_for=f"{_SAFE} files")
    try:
        loaded: dict[str, Tensor] = safetensors.load_file(path)
    except Exception as error:  # its own errors, and those of the file system
        raise ModelError(
            "cannot read the safetensors file", where=str(path), why=first_line(error)
        ) from error
    return loaded


def _numbers() -> Any:
    """Lets `weights_only=True` read numpy's numbers and arrays, and settings as argparse keeps
    them: learning rates and scores lie beside the weights of many checkpoints."""
    kinds = {type(np.dtype(code)) for code in "?bBhHiIlLqQefdFD"}
    multiarray: Any = np._core.multiarray  # type: ignore[attr-defined]
    allowed: list[Any] = [np.dtype, np.ndarray, argparse.Namespace, *kinds]
    for name in ("scalar", "_reconstruct"):
        function = getattr(multiarray, name)
        # files of numpy 1 name the module as it was called then
        allowed += [function, (function, f"numpy.core.multiarray.{name}")]
    return import_torch().serialization.safe_globals(allowed)


def _code_in(message: str) -> str:
    """The name that a pickle needs and `weights_only=True` refuses."""
    for pattern in (
        r"GLOBAL ([\w.]+) was not an allowed global",
        r"Unsupported (?:global|class)[^\w]*(?:GLOBAL )?([\w.]+)",
        r"add_safe_globals\(\[([\w.]+)\]\)",
        r"Trying to (?:load|call|instantiate)[^'\w]*(?:unsupported GLOBAL )?([\w.]+)",
    ):
        if found := re.search(pattern, message):
            return found[1]
    return ""


def _damage(error: Exception) -> str:
    """torch speaks of its own internals, and advises to load the file unsafely."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "it is truncated, or not written by torch.save"


def _listed(names: list[str], what: str) -> str:
    if not names:
        return ""
    more = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{more})"


def _shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)
