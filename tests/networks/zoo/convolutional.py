"""Convolutional networks written out here, after their papers; random weights, small inputs."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F


def unit(
    before: int, after: int, size: int = 3, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    conv = nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(after)]


def separable(before: int, after: int, size: int = 3, stride: int = 1) -> list[nn.Module]:
    return [
        *unit(before, before, size, stride, before), nn.ReLU6(), *unit(before, after, 1), nn.ReLU6()
    ]  # fmt: skip


class Squeeze(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, max(8, channels // 4), 1)
        self.expand = nn.Conv2d(max(8, channels // 4), channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = F.adaptive_avg_pool2d(x, 1)
        return x * F.hardsigmoid(self.expand(F.relu(self.reduce(pooled))))


class V3Block(nn.Module):
    def __init__(self, before: int, row: tuple[int, int, int, bool, bool, int]) -> None:
        super().__init__()
        size, inner, after, squeeze, swish, stride = row
        activation = nn.Hardswish if swish else nn.ReLU
        layers = [] if inner == before else [*unit(before, inner, 1), activation()]
        layers += [*unit(inner, inner, size, stride, inner)]
        layers += [Squeeze(inner)] if squeeze else []
        self.layers = nn.Sequential(*layers, activation(), *unit(inner, after, 1))
        self.residual = stride == 1 and before == after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class MobileNetV3(nn.Module):
    """MobileNetV3-Small (arXiv 1905.02244, table 2)."""

    ROWS = (
        (3, 16, 16, True, False, 2), (3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1),
        (5, 96, 40, True, True, 2), (5, 240, 40, True, True, 1), (5, 240, 40, True, True, 1),
        (5, 120, 48, True, True, 1), (5, 144, 48, True, True, 1), (5, 288, 96, True, True, 2),
        (5, 576, 96, True, True, 1), (5, 576, 96, True, True, 1),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        blocks, channels = [], 16
        for row in self.ROWS:
            blocks.append(V3Block(channels, row))
            channels = row[2]
        stem, last = [*unit(3, 16, 3, 2), nn.Hardswish()], [*unit(96, 576, 1), nn.Hardswish()]
        self.features = nn.Sequential(*stem, *blocks, *last)
        self.head = nn.Sequential(nn.Linear(576, 1024), nn.Hardswish(), nn.Linear(1024, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


class ShuffleUnit(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.stride, half = stride, after // 2
        inner = before if stride == 2 else half
        self.right = nn.Sequential(
            *unit(inner, half, 1), nn.ReLU(), *unit(half, half, 3, stride, half),
            *unit(half, half, 1), nn.ReLU(),
        )  # fmt: skip
        left = [*unit(before, before, 3, 2, before), *unit(before, half, 1), nn.ReLU()]
        self.left = nn.Sequential(*left) if stride == 2 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = (x, x) if self.stride == 2 else x.chunk(2, 1)
        y = torch.cat([self.left(left), self.right(right)], 1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class ShuffleNetV2(nn.Module):
    """ShuffleNetV2 1.0x with its channel shuffle (arXiv 1807.11164, table 5)."""

    def __init__(self) -> None:
        super().__init__()
        layers, channels = [*unit(3, 24, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)], 24
        for after, count in ((116, 4), (232, 8), (464, 4)):
            layers.append(ShuffleUnit(channels, after, 2))
            layers += [ShuffleUnit(after, after, 1) for _ in range(count - 1)]
            channels = after
        self.features = nn.Sequential(*layers, *unit(464, 1024, 1), nn.ReLU())
        self.head = nn.Linear(1024, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean((2, 3)))


class Fire(nn.Module):
    def __init__(self, before: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(before, squeezed, 1)
        self.one = nn.Conv2d(squeezed, expanded, 1)
        self.three = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.one(x)), F.relu(self.three(x))], 1)


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1: pools round up (ceil_mode)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(64, 16, 64), Fire(128, 16, 64), nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(128, 32, 128), Fire(256, 32, 128), nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
            nn.Conv2d(512, 10, 1), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.adaptive_avg_pool2d(self.features(x), 1).flatten(1)


class Aspp(nn.Module):
    """DeepLabV3's head (arXiv 1706.05587): parallel dilated convolutions and the picture's mean."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Sequential(*unit(3, 16, 3, 2), nn.ReLU(), *separable(16, 32, 3, 2))
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(32, 24, 3, padding=rate, dilation=rate, bias=False),
                nn.BatchNorm2d(24),
                nn.ReLU(),
            )
            for rate in (2, 4, 6)
        )
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(32, 24, 1), nn.ReLU())
        self.head = nn.Sequential(*unit(96, 32, 1), nn.ReLU(), nn.Conv2d(32, 5, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.base(x)
        mean = F.interpolate(self.pooled(y), size=y.shape[2:], mode="bilinear")
        y = self.head(torch.cat([*(branch(y) for branch in self.branches), mean], 1))
        return F.interpolate(y, size=x.shape[2:], mode="bilinear")


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 64)
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(self._double(a, b) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairs[:0:-1])
        self.join = nn.ModuleList(self._double(2 * a, a) for a, _ in pairs[:0:-1])
        self.refine = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.head = nn.Conv2d(16, 4, 1)

    @staticmethod
    def _double(before: int, after: int) -> nn.Module:
        return nn.Sequential(*unit(before, after), nn.ReLU(), *unit(after, after), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for level, layer in enumerate(self.down):
            x = layer(x if level == 0 else F.max_pool2d(x, 2))
            kept.append(x)
        for up, join, skip in zip(self.up, self.join, kept[-2::-1], strict=True):
            x = join(torch.cat([up(x), skip], 1))
        return self.head(self.refine(x))


class C2f(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = nn.Sequential(*unit(before, after, 1), nn.SiLU())
        half = after // 2
        self.inner = nn.Sequential(*unit(half, half), nn.SiLU(), *unit(half, half), nn.SiLU())
        self.last = nn.Sequential(*unit(after + half, after, 1), nn.SiLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self.first(x).chunk(2, 1)
        return self.last(torch.cat([left, right, right + self.inner(right)], 1))


class Yolo(nn.Module):
    """A YOLOv8-style detector: SPPF, upsampled neck, and a head with distribution focal loss
    (boxes are expectations over 16 bins), decoded to boxes in pixels."""

    def __init__(self, classes: int = 4, bins: int = 16) -> None:
        super().__init__()
        self.classes, self.bins = classes, bins
        self.stem = nn.Sequential(*unit(3, 16, 3, 2), nn.SiLU(), *unit(16, 32, 3, 2), nn.SiLU())
        self.low = nn.Sequential(C2f(32, 32), *unit(32, 64, 3, 2), nn.SiLU(), C2f(64, 64))
        self.high = nn.Sequential(*unit(64, 64, 3, 2), nn.SiLU(), C2f(64, 64))
        self.merge = nn.Sequential(*unit(256, 64, 1), nn.SiLU())
        self.neck = C2f(128, 64)
        self.heads = nn.ModuleList(nn.Conv2d(64, 4 * bins + classes, 1) for _ in range(2))
        self.register_buffer("steps", torch.arange(bins, dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low = self.low(self.stem(x))
        high = self.high(low)
        pooled = [high]
        for _ in range(3):
            pooled.append(F.max_pool2d(pooled[-1], 5, 1, 2))
        high = self.merge(torch.cat(pooled, 1))
        low = self.neck(torch.cat([low, F.interpolate(high, scale_factor=2)], 1))
        parts = [
            self._decoded(h(f), s) for h, f, s in zip(self.heads, (low, high), (8, 16), strict=True)
        ]
        return torch.cat(parts, 2)

    def _decoded(self, raw: torch.Tensor, stride: int) -> torch.Tensor:
        n, _, h, w = raw.shape
        boxes, scores = raw.flatten(2).split([4 * self.bins, self.classes], 1)
        weights = boxes.view(n, 4, self.bins, h * w).transpose(2, 1).softmax(1)
        distance = (weights * self.steps.view(1, -1, 1, 1)).sum(1)
        y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
        anchors = torch.stack([x, y]).flatten(1)[None]
        near, far = distance.chunk(2, 1)
        corners = torch.cat([anchors - near, anchors + far], 1) * stride
        return torch.cat([corners, scores.sigmoid()], 1)


class Ssd(nn.Module):
    """An SSDLite head on three feature maps: class scores and box offsets, decoded."""

    def __init__(self, classes: int = 5, anchors: int = 3) -> None:
        super().__init__()
        self.classes = classes
        self.base = nn.Sequential(
            *unit(3, 16, 3, 2), nn.ReLU6(), *separable(16, 32, 3, 2), *separable(32, 64, 3, 2)
        )
        self.extra = nn.ModuleList(nn.Sequential(*separable(64, 64, 3, 2)) for _ in range(2))
        self.scores = nn.ModuleList(
            nn.Conv2d(64, anchors * classes, 3, padding=1) for _ in range(3)
        )
        self.boxes = nn.ModuleList(nn.Conv2d(64, anchors * 4, 3, padding=1) for _ in range(3))
        self.register_buffer("priors", torch.rand(1, anchors * (64 + 16 + 4), 4))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = [self.base(x)]
        for layer in self.extra:
            maps.append(layer(maps[-1]))
        scores = torch.cat(
            [self._rows(h(m), self.classes) for h, m in zip(self.scores, maps, strict=True)], 1
        )
        offsets = torch.cat([self._rows(h(m), 4) for h, m in zip(self.boxes, maps, strict=True)], 1)
        centre = self.priors[..., :2] + 0.1 * offsets[..., :2] * self.priors[..., 2:]
        size = self.priors[..., 2:] * torch.exp(0.2 * offsets[..., 2:])
        return scores.softmax(-1), torch.cat([centre - size / 2, centre + size / 2], -1)

    @staticmethod
    def _rows(x: torch.Tensor, width: int) -> torch.Tensor:
        return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, width)


class DsCnn(nn.Module):
    """The keyword spotter of MLPerf Tiny: 49 x 10 MFCC in, an asymmetric first kernel."""

    def __init__(self) -> None:
        super().__init__()
        first = [nn.Conv2d(1, 64, (10, 4), 2, (5, 1), bias=False), nn.BatchNorm2d(64), nn.ReLU()]
        blocks = [layer for _ in range(4) for layer in separable(64, 64)]
        self.features = nn.Sequential(*first, *blocks)
        self.head = nn.Linear(64, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x)
        return self.head(F.avg_pool2d(x, x.shape[2:]).flatten(1)).softmax(-1)
