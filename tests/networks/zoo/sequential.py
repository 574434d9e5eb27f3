"""Recurrent networks and a decoder with its cache, written out here; random weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Crnn(nn.Module):
    """Text recognition: convolutions, a bidirectional GRU over the columns, letters."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d((2, 1)),
            nn.Conv2d(32, 32, (4, 1)), nn.ReLU(),
        )  # fmt: skip
        self.recurrent = nn.GRU(32, 24, bidirectional=True, batch_first=True)
        self.head = nn.Linear(48, 20)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        columns = self.features(x).squeeze(2).transpose(1, 2)
        return self.head(self.recurrent(columns)[0]).log_softmax(-1)


class LstmTagger(nn.Module):
    """Token ids to a tag per token through two bidirectional LSTM layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(200, 32)
        self.recurrent = nn.LSTM(32, 24, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(48, 9)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.recurrent(self.embedding(input_ids))[0])


class Gpt2Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(
        self, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, here: torch.Tensor,
        seen: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
        q, k, v = (
            part.view(1, 1, self.heads, -1).transpose(1, 2)
            for part in self.qkv(self.before(x)).chunk(3, -1)
        )
        keys, values = torch.where(here, k, keys), torch.where(here, v, values)
        y = F.scaled_dot_product_attention(q, keys, values, attn_mask=seen)
        x = x + self.out(y.transpose(1, 2).reshape(x.shape))
        hidden = F.gelu(self.up(self.after(x)), approximate="tanh")
        return x + self.down(hidden), keys, values


class Gpt2(nn.Module):
    """One decoding step of GPT-2 with a cache of fixed length: a token and its position in,
    logits and the cache out."""

    def __init__(self, layers: int = 2, width: int = 48, heads: int = 4, length: int = 16) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(100, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Gpt2Block(width, heads) for _ in range(layers))
        self.norm, self.length = nn.LayerNorm(width), length

    def forward(
        self, input_ids: torch.Tensor, position: torch.Tensor, keys: torch.Tensor,
        values: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
        steps = torch.arange(self.length)
        here = (steps == position).view(1, 1, -1, 1)
        seen = (steps <= position).view(1, 1, 1, -1)
        x = self.tokens(input_ids) + self.positions(position)
        new_keys, new_values = [], []
        for index, block in enumerate(self.blocks):
            x, k, v = block(x, keys[index], values[index], here, seen)
            new_keys.append(k)
            new_values.append(v)
        logits = self.norm(x) @ self.tokens.weight.T
        return logits, torch.stack(new_keys), torch.stack(new_values)
