"""Random weights made useful: activations of ordinary size in every layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from zoo.table import Network

#: of normalization layers: with 1 a deep residual network of random weights turns rounding of
#: float32 into 1e-4 of its outputs
_GAIN = 0.5


def settled(network: Network, seed: int = 0, *, shift: float = 0.0) -> Any:
    """The module in evaluation mode; normalized networks get weights that neither fade nor grow (He
    et al. 2015, arXiv 1502.01852) and normalization statistics of a few samples. Models of other
    frameworks stay as they are.

    Without both, deep networks of small random weights fade to nothing, and every comparison of
    their outputs would hold. `shift` is added behind each normalization: with 0.5 activations cut
    off little, and a difference stays as large as it is, as in trained networks; with 0 it grows by
    a fifth from layer to layer of random weights, rounding to fp16 to hundredths of the outputs.
    """
    torch.manual_seed(seed)
    module = network.make()
    if not isinstance(module, nn.Module):
        return module
    module.eval()
    layers = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if network.trained or not layers:
        return module
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    for layer in layers:
        layer.reset_parameters()
        nn.init.constant_(layer.weight, _GAIN)
        nn.init.constant_(layer.bias, shift)
        layer.momentum = None  # an average over all samples
        layer.train()
    batch = _batch(network.feeds, 16, np.random.default_rng(seed + 1))
    with torch.no_grad():
        module(**{name: torch.from_numpy(array) for name, array in batch.items()})
    return module.eval()


def _batch(
    feeds: Callable[[np.random.Generator], dict[str, np.ndarray]],
    count: int,
    random: np.random.Generator,
) -> dict[str, np.ndarray]:
    samples = [feeds(random) for _ in range(count)]
    return {name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]}
