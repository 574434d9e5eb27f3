"""A MobileNetV2 small enough to train while you wait (Sandler et al. 2018, arXiv:1801.04381).

It keeps what makes MobileNetV2 interesting to a quantizer: depthwise convolutions, ReLU6, linear
bottlenecks, residual additions and a global average pool.
"""

from __future__ import annotations

import torch
from torch import nn

INPUT_NAME = "image"
OUTPUT_NAME = "logits"
#: channels, height, width of one input; values are 0..1
IMAGE_SHAPE = (1, 32, 32)
CLASSES = 10

#: (expansion, output channels, stride) of each inverted residual
_BLOCKS = ((1, 16, 1), (4, 24, 2), (4, 24, 1), (4, 32, 2), (4, 32, 1))
_STEM_CHANNELS, _HEAD_CHANNELS = 16, 96


def _conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise 3x3, project 1x1; adds its input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [*_conv(inputs, hidden, 1), nn.ReLU6()] if expansion > 1 else []
        self.layers = nn.Sequential(
            *expand,
            *_conv(hidden, hidden, 3, stride, groups=hidden),
            nn.ReLU6(),
            *_conv(hidden, outputs, 1),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layers(x)
        return x + y if self.residual else y


class DigitsNet(nn.Module):
    """Logits of shape (batch, 10) from pictures of shape (batch, 1, 32, 32)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            *_conv(IMAGE_SHAPE[0], _STEM_CHANNELS, 3, stride=2),
            nn.ReLU6(),
        ]
        channels = _STEM_CHANNELS
        for expansion, outputs, stride in _BLOCKS:
            layers.append(InvertedResidual(channels, outputs, stride, expansion))
            channels = outputs
        layers += [*_conv(channels, _HEAD_CHANNELS, 1), nn.ReLU6()]
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(_HEAD_CHANNELS, CLASSES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        pooled = torch.flatten(self.pool(self.features(image)), 1)
        logits: torch.Tensor = self.classifier(pooled)
        return logits
