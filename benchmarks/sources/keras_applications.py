"""Five architectures of `keras.applications`, for pictures of 224 x 224.

Their weights are downloads: here they are random, always the same ones, so that no accuracy can be
told. What is compared is the exported network with Keras, and each artifact with the network. Put
`weights="imagenet"` in place of `None` where a download is possible.
The outputs are logits: a softmax over 1000 classes that are all alike has nothing left in 8 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np


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
    """The network with the statistics of one batch of noise in its BatchNormalizations: with those
    that Keras starts from, signals fade to 1e-10 on the way, and any two networks agree."""
    import keras

    keras.utils.set_random_seed(0)
    net = getattr(keras.applications, name)(
        weights=None, input_shape=(224, 224, 3), classifier_activation=None
    )
    norms = [x for x in net.layers if isinstance(x, keras.layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    pictures = np.random.default_rng(0).integers(0, 256, (8, 224, 224, 3))
    net(pictures.astype(np.float32), training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return net
