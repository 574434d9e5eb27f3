"""Language models one step at a time, with a cache of fixed length that goes in and comes out.

Inputs: `input_ids` (1, tokens), `cache_position` (1,) with the number of tokens that are in the
cache already, and for each layer `i` `key_i` and `value_i` (1, heads, length, width), zeros at the
beginning. Outputs: `logits` (1, tokens, vocabulary), `new_key_i` and `new_value_i`, which are the
caches of the next step. The cache is transformers' own `StaticCache`; what is not filled yet is
masked by the model. Every layer gets a cache of full length, also one with a sliding window: its
mask says how far it looks back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers.cache_utils import StaticCache, StaticLayer, StaticSlidingWindowLayer

from edgewise.errors import ModelError
from edgewise.exporters.huggingface.wrapper import Tensors, Wrapper

TOKENS, POSITION = "input_ids", "cache_position"


class Decoder(Wrapper):
    """See the module's text. `length` is the most tokens that the cache holds."""

    def __init__(self, model: nn.Module, length: int) -> None:
        super().__init__(model)
        self.length = length

    def compute(self, inputs: Tensors) -> dict[str, torch.Tensor]:
        cache = empty_cache(self.model, self.length)
        layers: list[Any] = list(cache.layers)
        for index, layer in enumerate(layers):
            keys, values = inputs[f"key_{index}"], inputs[f"value_{index}"]
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = keys.clone(), values.clone()  # written in place
            layer.cumulative_length = inputs[POSITION][0].clone()
        answer = self.model(input_ids=inputs[TOKENS], past_key_values=cache, use_cache=True)
        outputs = {"logits": answer.logits}
        for index, layer in enumerate(layers):
            outputs |= {f"new_key_{index}": layer.keys, f"new_value_{index}": layer.values}
        return outputs


def empty_cache(model: Any, length: int) -> StaticCache:
    """A cache of the model's layers that takes `length` tokens."""
    cache = StaticCache(config=model.config, max_cache_len=length)
    cache.layers = [
        StaticLayer(length) if isinstance(layer, StaticSlidingWindowLayer) else layer
        for layer in cache.layers
    ]
    return cache


def cache_shapes(model: Any, length: int, where: str) -> dict[str, tuple[int, ...]]:
    """Shape of each cache input, found by running one token.

    Raises ModelError: a layer keeps something else than keys and values.
    """
    cache = empty_cache(model, length)
    strange = sorted({type(e).__name__ for e in cache.layers if type(e) is not StaticLayer})
    if strange:
        raise _refused(where, f"its layers keep {', '.join(strange)}, not keys and values")
    try:
        with torch.no_grad():
            model(input_ids=torch.zeros((1, 1), dtype=torch.int64), past_key_values=cache)
    except Exception as error:  # models without cache raise what they like
        raise _refused(where, f"{type(error).__name__}: {error}") from error
    layers: list[Any] = list(cache.layers)
    if not all(layer.is_initialized for layer in layers):
        raise _refused(where, "it does not fill a cache that it is given")
    shapes = {}
    for index, layer in enumerate(layers):
        shapes[f"key_{index}"] = tuple(layer.keys.shape)
        shapes[f"value_{index}"] = tuple(layer.values.shape)
    return shapes


def states_of(names: Sequence[str]) -> dict[str, str]:
    """Each cache among the inputs, and the output that is its next value."""
    return {name: f"new_{name}" for name in names if name.startswith(("key_", "value_"))}


def _refused(where: str, why: str) -> ModelError:
    return ModelError(
        "this decoder has no static cache",
        where=where,
        why=why,
        remedy="Export it by a factory of your own: package.module:factory.",
    )
