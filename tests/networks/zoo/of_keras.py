"""Networks of `keras.applications`, which are channels-last, with random weights."""

from __future__ import annotations

import os
from typing import Any


def densenet121() -> Any:
    return _application("DenseNet121", 64)


def inception_v3() -> Any:
    return _application("InceptionV3", 80)


def _application(name: str, size: int) -> Any:
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras

    keras.utils.set_random_seed(0)
    return getattr(keras.applications, name)(
        weights=None,
        input_tensor=keras.Input((size, size, 3), name="x"),
        classes=10,
        classifier_activation=None,
    )
