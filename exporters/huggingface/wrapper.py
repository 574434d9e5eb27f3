"""Modules around a model of transformers: named tensors in, named tensors out.

Imported only once torch is known to be there.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

Tensors = Mapping[str, torch.Tensor]


class Wrapper(nn.Module):
    """A model whose inputs are only known at run time: `forward` takes them by name or in order.

    Exporters read the names from the signature, which `with_inputs` gives to a class of its own.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def compute(self, inputs: Tensors) -> dict[str, torch.Tensor]:
        """The outputs by name, in the order that they are to have."""
        raise NotImplementedError


def with_inputs(wrapper: type[Wrapper], names: Sequence[str]) -> type[Any]:
    """The class with a `forward` that takes inputs of these names."""

    def forward(self: Any, *args: torch.Tensor, **kwargs: torch.Tensor) -> Any:
        return self.compute({**dict(zip(names, args, strict=False)), **kwargs})

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind) for name in ("self", *names)]
    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return type(wrapper.__name__, (wrapper,), {"forward": forward})


class Answer(Wrapper):
    """One field of the model's answer, under its own name."""

    def __init__(self, model: nn.Module, field: str) -> None:
        super().__init__(model)
        self.field = field

    def compute(self, inputs: Tensors) -> dict[str, torch.Tensor]:
        return {self.field: getattr(self.model(**inputs), self.field)}


class Embedding(Wrapper):
    """A sentence as one vector, through the modules that sentence-transformers lists.

    Args:
        steps: each takes token vectors (batch, length, width) or a vector (batch, width), and the
            attention mask.
    """

    def __init__(self, model: nn.Module, steps: Sequence[nn.Module]) -> None:
        super().__init__(model)
        self.steps = nn.ModuleList(steps)

    def compute(self, inputs: Tensors) -> dict[str, torch.Tensor]:
        value = self.model(**inputs).last_hidden_state
        for step in self.steps:
            value = step(value, inputs["attention_mask"])
        return {"embedding": value}


class MeanPooling(nn.Module):
    """Mean of the vectors of all tokens that are no padding."""

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        weights = mask[..., None].to(tokens.dtype)
        return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


class FirstToken(nn.Module):
    """The vector of the first token, `[CLS]`."""

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return tokens[:, 0]


class MaxPooling(nn.Module):
    """Largest values over all tokens that are no padding."""

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return tokens.masked_fill(mask[..., None] == 0, -1e9).amax(1)


class Dense(nn.Module):
    """A layer behind the pooling."""

    def __init__(self, linear: nn.Linear, activation: nn.Module) -> None:
        super().__init__()
        self.linear, self.activation = linear, activation

    def forward(self, vector: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.activation(self.linear(vector))
        return result


class Normalization(nn.Module):
    """Vectors of length 1."""

    def forward(self, vector: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(vector, dim=-1)
