"""Five architectures of `keras.applications`, for pictures of 224 x 224.

Their weights are downloads: here they are random, always the same ones, so that no accuracy can be
told. What is compared is the exported network with Keras, and each artifact with the network. Put
`weights="imagenet"` in place of `None` where a download is possible.
"""

from __future__ import annotations

from typing import Any


def mobilenet_v2() -> Any:
    return _made("MobileNetV2")


def mobilenet_v3_small() -> Any:
    return _made("MobileNetV3Small")


def efficientnet_b0() -> Any:
    return _made("EfficientNetB0")


def resnet50_v2() -> Any:
    return _made("ResNet50V2")


def densenet121() -> Any:
    return _made("DenseNet121")


def _made(name: str) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    return getattr(keras.applications, name)(weights=None, input_shape=(224, 224, 3))
