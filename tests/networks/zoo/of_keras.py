"""Networks of `keras.applications` on the torch backend: NHWC models with random weights."""

from __future__ import annotations

import os

from torch import nn


def densenet121() -> nn.Module:
    return _application("DenseNet121", 64)


def inception_v3() -> nn.Module:
    return _application("InceptionV3", 80)


def _application(name: str, size: int) -> nn.Module:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras
    import torch

    model = getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None
    )

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x)

    return Wrapped()
