"""The four networks of the comparison, as hub models and QDQ models in a folder.

MobileNetV2 and ResNet-50 are those of `transformers`, MobileNetV3-Large is written out here, all
with random weights and normalization statistics taken from random pictures; EfficientNet-Lite0 has
its trained weights. Latency, size and emission time do not depend on the values of weights.

    python benchmarks/android_peers/networks.py FOLDER [NAME ...]
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

import edgewise
from edgewise.graph import save

_PICTURES = 8


def mobilenet_v2() -> nn.Module:
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    return _Logits(MobileNetV2ForImageClassification(MobileNetV2Config(num_labels=1000)))


def resnet_50() -> nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification

    return _Logits(ResNetForImageClassification(ResNetConfig(num_labels=1000)))


def efficientnet_lite0() -> nn.Module:
    from edgewise.sample_models.efficientnet_lite0 import model

    return model()


def mobilenet_v3() -> nn.Module:
    return _MobileNetV3()


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mobilenet_v2": mobilenet_v2,
    "resnet_50": resnet_50,
    "efficientnet_lite0": efficientnet_lite0,
    "mobilenet_v3": mobilenet_v3,
}


class _Logits(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.inner(pixel_values=pixel_values).logits


#: Howard et al. 2019 (arXiv 1905.02244), table 1: kernel, expanded, out, squeeze, hswish, stride
_V3_ROWS = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)


def _unit(before: int, after: int, size: int, stride: int, groups: int) -> list[nn.Module]:
    conv = nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(after)]


class _Squeeze(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(8, (channels // 4 + 4) // 8 * 8)
        self.reduce, self.expand = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = nn.functional.adaptive_avg_pool2d(x, 1)
        return x * nn.functional.hardsigmoid(self.expand(torch.relu(self.reduce(pooled))))


class _Bottleneck(nn.Module):
    def __init__(
        self,
        before: int,
        size: int,
        inner: int,
        after: int,
        squeeze: bool,
        swish: bool,
        stride: int,
    ) -> None:
        super().__init__()
        activation = nn.Hardswish if swish else nn.ReLU
        layers = [] if inner == before else [*_unit(before, inner, 1, 1, 1), activation()]
        layers += [*_unit(inner, inner, size, stride, inner), activation()]
        layers += [_Squeeze(inner)] if squeeze else []
        self.layers = nn.Sequential(*layers, *_unit(inner, after, 1, 1, 1))
        self.residual = stride == 1 and before == after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class _MobileNetV3(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        blocks, channels = [], 16
        for size, inner, after, squeeze, swish, stride in _V3_ROWS:
            blocks.append(_Bottleneck(channels, size, inner, after, squeeze, swish, stride))
            channels = after
        self.features = nn.Sequential(
            *_unit(3, 16, 3, 2, 1),
            nn.Hardswish(),
            *blocks,
            *_unit(160, 960, 1, 1, 1),
            nn.Hardswish(),
        )
        self.head = nn.Sequential(nn.Linear(960, 1280), nn.Hardswish(), nn.Linear(1280, 1000))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean((2, 3)))


def pictures(count: int, seed: int) -> np.ndarray:
    """Smooth random pictures, (count, 3, 224, 224) float32 around zero."""
    coarse = torch.randn(count, 3, 14, 14, generator=torch.Generator().manual_seed(seed))
    fine = nn.functional.interpolate(coarse, size=224, mode="bilinear", align_corners=False)
    return fine.numpy()


def _settle_normalization(module: nn.Module) -> None:
    """Normalization statistics of random weights, so that no activation fades or explodes."""
    layers = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
    module.train()
    with torch.no_grad():
        module(torch.from_numpy(pictures(16, seed=1)))
    module.eval()


def make(name: str, folder: Path) -> Path:
    """Write `<name>.onnx` and `<name>.qdq.onnx` (android w8a8); gives the latter's path."""
    target = folder / f"{name}.qdq.onnx"
    if target.exists():
        return target
    torch.manual_seed(0)
    module = NETWORKS[name]().eval()
    if name != "efficientnet_lite0":
        _settle_normalization(module)
    example = torch.from_numpy(pictures(1, seed=2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module, (example,), dynamo=True, opset_version=21, verbose=False
        )
        program.save(folder / f"{name}.source.onnx")
    hub = edgewise.export(folder / f"{name}.source.onnx").model
    save(hub, folder / f"{name}.onnx")
    (graph_input,) = (v.name for v in hub.graph.inputs if v.name not in hub.graph.initializers)
    np.savez(folder / f"{name}.calib.npz", **{str(graph_input): pictures(_PICTURES, seed=3)})
    statistics = edgewise.calibrate(hub, folder / f"{name}.calib.npz")
    edgewise.quantize(hub, statistics, target="android", out=target)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=list(NETWORKS))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.names:
        print(make(name, arguments.folder))


if __name__ == "__main__":
    main()
