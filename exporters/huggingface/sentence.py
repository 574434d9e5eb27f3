"""Folders of sentence-transformers: what `modules.json` lists behind the encoder.

Pooling by mean, first token or largest value, Dense and Normalize become part of the graph. Their
settings: `modules.json` lists them with `type` (whose last part is the class) and `path`; Pooling
keeps `pooling_mode`, or in older folders one flag for each mode, in its `config.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgewise.errors import ModelError
from edgewise.exporters.huggingface.place import MODULES, Place, read_json
from edgewise.exporters.huggingface.wrapper import (
    Dense,
    FirstToken,
    MaxPooling,
    MeanPooling,
    Normalization,
)

_POOLINGS = {"mean": MeanPooling, "cls": FirstToken, "max": MaxPooling}
_OLD_FLAGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}
_ACTIVATIONS = frozenset({"GELU", "Identity", "ReLU", "Sigmoid", "Tanh"})
_KNOWN = "Transformer, Pooling (mean, cls, max), Dense and Normalize"


def steps_of(place: Place | None) -> list[nn.Module]:
    """What follows the encoder, in order; nothing for a model without `modules.json`.

    Raises ModelError: a file cannot be read, or a module is none of those known.
    """
    listed = None if place is None else place.file(MODULES)
    if place is None or listed is None:
        return []
    steps: list[nn.Module] = []
    for entry in read_json(listed):
        kind = str(entry.get("type", "")).rpartition(".")[2]
        folder = str(entry.get("path", ""))
        if kind == "Pooling":
            steps.append(_pooling(_settings(place, folder), folder))
        elif kind == "Dense":
            steps.append(_dense(place, folder))
        elif kind == "Normalize":
            steps.append(Normalization())
        elif kind != "Transformer":
            raise _unknown(place.name, f"it lists {kind or 'a module without type'}")
    return steps


def _settings(place: Place, folder: str) -> Mapping[str, Any]:
    path = place.file(f"{folder}/config.json")
    found: Mapping[str, Any] = read_json(path or Path(place.name) / folder / "config.json")
    return found


def _pooling(config: Mapping[str, Any], folder: str) -> nn.Module:
    mode = config.get("pooling_mode")
    if mode is None:
        flags = [
            key for key, on in config.items() if key.startswith("pooling_mode_") and on is True
        ]
        mode = [_OLD_FLAGS.get(flag, flag) for flag in flags]
    if isinstance(mode, list) and len(mode) == 1:
        mode = mode[0]
    if not isinstance(mode, str) or mode not in _POOLINGS:
        raise _unknown(folder, f"it pools by {mode}")
    return _POOLINGS[mode]()


def _dense(place: Place, folder: str) -> nn.Module:
    config = _settings(place, folder)
    name = str(config.get("activation_function", "")).rpartition(".")[2] or "Identity"
    if name not in _ACTIVATIONS:
        raise _unknown(folder, f"its layer is activated by {name}")
    linear = nn.Linear(config["in_features"], config["out_features"], config.get("bias", True))
    try:
        state = _weights(place, folder)
        linear.load_state_dict({key.removeprefix("linear."): t for key, t in state.items()})
    except Exception as error:  # of pickle, zip, safetensors and torch
        raise ModelError(
            "cannot read the weights of this layer",
            where=f"{place.name}/{folder}",
            why=str(error).strip().splitlines()[0],
            remedy="Save or download the folder again.",
        ) from error
    return Dense(linear, getattr(nn, name)())


def _weights(place: Place, folder: str) -> dict[str, torch.Tensor]:
    if tensors := place.file(f"{folder}/model.safetensors"):
        from safetensors.torch import load_file

        return load_file(tensors)
    if pickle := place.file(f"{folder}/pytorch_model.bin"):
        state: dict[str, torch.Tensor] = torch.load(pickle, map_location="cpu", weights_only=True)
        return state
    raise FileNotFoundError("there is neither model.safetensors nor pytorch_model.bin")


def _unknown(where: str, why: str) -> ModelError:
    return ModelError(
        "this sentence-transformers model has a part that cannot be exported",
        where=where,
        why=why,
        remedy=f"Known are {_KNOWN}.",
    )
