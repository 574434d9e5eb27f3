"""Every network of the tests, by name: what makes it, and inputs of the right kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgewise.sample_models.efficientnet_lite0 import model as efficientnet_lite0
from zoo import convolutional, of_keras, of_transformers, sequential

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]


@dataclass(frozen=True)
class Network:
    """`make` gives a model in memory, and `feeds` draws one sample. `slow` networks take more than
    about five seconds to test.
    """

    make: Callable[[], Any]
    feeds: Callable[[np.random.Generator], Feeds]
    slow: bool = False
    trained: bool = False


def picture(
    size: int, channels: int = 3, name: str = "x"
) -> Callable[[np.random.Generator], Feeds]:
    """Smooth noise around zero, (1, channels, size, size) float32."""

    def draw(random: np.random.Generator) -> Feeds:
        coarse = random.standard_normal((1, channels, size // 8, size // 8), np.float32)
        fine = random.standard_normal((1, channels, size, size), np.float32)
        return {name: coarse.repeat(8, 2).repeat(8, 3) + 0.3 * fine}

    return draw


def picture_nhwc(size: int) -> Callable[[np.random.Generator], Feeds]:
    draw = picture(size)
    return lambda random: {"x": draw(random)["x"].transpose(0, 2, 3, 1).copy()}


def floats(*shape: int) -> Callable[[np.random.Generator], Feeds]:
    return lambda random: {"x": random.standard_normal(shape, np.float32)}


def tokens(length: int, vocabulary: int) -> Callable[[np.random.Generator], Feeds]:
    return lambda random: {"input_ids": random.integers(0, vocabulary, (1, length))}


def masked_tokens(random: np.random.Generator) -> Feeds:
    mask = (np.arange(24)[None] < random.integers(8, 25)).astype(np.int64)
    return {"input_ids": random.integers(0, 500, (1, 24)) * mask, "attention_mask": mask}


def decoding_step(random: np.random.Generator) -> Feeds:
    cache = (2, 1, 4, 16, 12)
    return {
        "input_ids": random.integers(0, 100, (1, 1)),
        "position": random.integers(0, 16, (1,)),
        "keys": random.standard_normal(cache, np.float32),
        "values": random.standard_normal(cache, np.float32),
    }


NETWORKS: dict[str, Network] = {
    "aspp": Network(convolutional.Aspp, picture(64)),
    "convnext_tiny": Network(of_transformers.convnext_tiny, picture(64), slow=True),
    "crnn_gru": Network(sequential.Crnn, floats(1, 1, 16, 48)),
    "deeplab_mobilenet": Network(of_transformers.deeplab, picture(96), slow=True),
    "densenet121": Network(of_keras.densenet121, picture_nhwc(64), slow=True),
    "ds_cnn": Network(convolutional.DsCnn, floats(1, 1, 49, 10)),
    "efficientnet_b0": Network(of_transformers.efficientnet_b0, picture(96), slow=True),
    "efficientnet_lite0": Network(
        efficientnet_lite0, picture(224, name="inputs"), slow=True, trained=True
    ),
    "gpt2_static_cache": Network(sequential.Gpt2, decoding_step),
    "inception_v3": Network(of_keras.inception_v3, picture_nhwc(80), slow=True),
    "lstm_tagger": Network(sequential.LstmTagger, tokens(12, 200)),
    "minilm": Network(of_transformers.MiniLm, masked_tokens),
    "mobilenet_v1": Network(of_transformers.mobilenet_v1, picture(64), slow=True),
    "mobilenet_v2": Network(of_transformers.mobilenet_v2, picture(64), slow=True),
    "mobilenet_v3": Network(convolutional.MobileNetV3, picture(64), slow=True),
    "mobilevit": Network(of_transformers.mobilevit, picture(64), slow=True),
    "resnet_18": Network(of_transformers.resnet_18, picture(64), slow=True),
    "resnet_50": Network(of_transformers.resnet_50, picture(96), slow=True),
    "shufflenet_v2": Network(convolutional.ShuffleNetV2, picture(64), slow=True),
    "squeezenet": Network(convolutional.SqueezeNet, picture(64)),
    "ssd_head": Network(convolutional.Ssd, picture(64)),
    "swin_tiny": Network(of_transformers.swin_tiny, picture(64), slow=True),
    "unet": Network(convolutional.UNet, picture(32)),
    "vit_tiny": Network(of_transformers.vit_tiny, picture(64), slow=True),
    "wav2vec2_features": Network(of_transformers.Wav2Vec2Features, floats(1, 2000)),
    "whisper_encoder": Network(of_transformers.whisper_encoder, floats(1, 80, 200), slow=True),
    "yolo_dfl": Network(convolutional.Yolo, picture(64)),
}
