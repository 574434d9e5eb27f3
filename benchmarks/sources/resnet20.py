"""ResNet-20 for CIFAR-10 (He et al. 2015, arXiv:1512.03385, section 4.2), and its data.

The network of a published checkpoint (`resnet20.th`: a state dict, saved from `DataParallel`), with
shortcuts of option A: where a stage halves the picture and doubles the channels, the identity is
every second pixel, with channels of zeros before and after. From the command line:

    edgewise build resnet20.py:ResNet20 --weights resnet20.th \\
        --calibration resnet20.py:calibration --evaluation resnet20.py:evaluation

Data are `calib500.npz` and `eval2000.npz` (`x`: uint8 pictures (N, 32, 32, 3), `y`: classes) in the
folder that the environment variable `CIFAR10` names, or `../shared/data/cifar10`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

#: of ImageNet's colours, on pixels from 0 to 1: what the weights were trained with
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SHARED = Path(__file__).parents[3] / "shared" / "data" / "cifar10"

Example = tuple[dict[str, npt.NDArray[np.float32]], int]


class Block(nn.Module):
    """Two 3x3 convolutions beside the identity; names are those of the checkpoint."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.stride, self.padding = stride, (after - before) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
            x = functional.pad(x, (0, 0, 0, 0, self.padding, self.padding))
        return functional.relu(x + y)


class ResNet20(nn.Module):
    """Logits (batch, 10) of pictures (batch, 3, 32, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.linear = nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.bn1(self.conv1(image)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: torch.Tensor = self.linear(x.mean((2, 3)))
        return logits


def calibration() -> Iterator[Example]:
    return _examples("calib500.npz")


def evaluation() -> Iterator[Example]:
    return _examples("eval2000.npz")


def _examples(name: str) -> Iterator[Example]:
    with np.load(Path(os.environ.get("CIFAR10", _SHARED)) / name) as arrays:
        pictures, labels = arrays["x"], arrays["y"].reshape(-1)
    mean, std = np.asarray(MEAN, np.float32), np.asarray(STD, np.float32)
    for picture, label in zip(pictures, labels, strict=True):
        scaled = (picture.astype(np.float32) / 255 - mean) / std
        yield {"image": scaled.transpose(2, 0, 1)}, int(label)
