"""Networks of the `transformers` library: their own code, random weights, small inputs."""

from __future__ import annotations

import torch
import transformers as hf
from torch import nn

_CLASSES = 10


class Output(nn.Module):
    """A model with one tensor in and one named output of its answer out."""

    def __init__(self, inner: nn.Module, argument: str, answer: str) -> None:
        super().__init__()
        self.inner, self.argument, self.answer = inner, argument, answer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return getattr(self.inner(**{self.argument: x}), self.answer)


def _classifier(model: type[nn.Module], config: hf.PretrainedConfig) -> nn.Module:
    return Output(model(config), "pixel_values", "logits")


def mobilenet_v1() -> nn.Module:
    config = hf.MobileNetV1Config(num_labels=_CLASSES)
    return _classifier(hf.MobileNetV1ForImageClassification, config)


def mobilenet_v2() -> nn.Module:
    config = hf.MobileNetV2Config(num_labels=_CLASSES)
    return _classifier(hf.MobileNetV2ForImageClassification, config)


def deeplab() -> nn.Module:
    """DeepLabV3+ with its pyramid of dilated convolutions on MobileNetV2."""
    config = hf.MobileNetV2Config(num_labels=_CLASSES, output_stride=8)
    return _classifier(hf.MobileNetV2ForSemanticSegmentation, config)


def efficientnet_b0() -> nn.Module:
    """The configuration's defaults are those of B7: B0 is unscaled."""
    config = hf.EfficientNetConfig(
        num_labels=_CLASSES,
        image_size=224,
        width_coefficient=1.0,
        depth_coefficient=1.0,
        hidden_dim=1280,
    )
    return _classifier(hf.EfficientNetForImageClassification, config)


def resnet_18() -> nn.Module:
    config = hf.ResNetConfig(
        num_labels=_CLASSES,
        layer_type="basic",
        hidden_sizes=[64, 128, 256, 512],
        depths=[2, 2, 2, 2],
    )
    return _classifier(hf.ResNetForImageClassification, config)


def resnet_50() -> nn.Module:
    return _classifier(hf.ResNetForImageClassification, hf.ResNetConfig(num_labels=_CLASSES))


def convnext_tiny() -> nn.Module:
    return _classifier(hf.ConvNextForImageClassification, hf.ConvNextConfig(num_labels=_CLASSES))


def mobilevit() -> nn.Module:
    config = hf.MobileViTConfig(
        num_labels=_CLASSES,
        image_size=64,
        hidden_sizes=[64, 80, 96],
        neck_hidden_sizes=[16, 16, 24, 48, 64, 80, 320],
        mlp_ratio=2.0,
        expand_ratio=2.0,
    )
    return _classifier(hf.MobileViTForImageClassification, config)


def vit_tiny() -> nn.Module:
    config = hf.ViTConfig(
        num_labels=_CLASSES,
        image_size=64,
        patch_size=16,
        hidden_size=192,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=768,
    )
    return _classifier(hf.ViTForImageClassification, config)


def swin_tiny() -> nn.Module:
    config = hf.SwinConfig(
        num_labels=_CLASSES,
        image_size=64,
        patch_size=4,
        embed_dim=48,
        depths=[2, 2, 2],
        num_heads=[2, 4, 8],
        window_size=4,
    )
    return _classifier(hf.SwinForImageClassification, config)


class MiniLm(nn.Module):
    """Sentence embedding as sentence-transformers computes it: masked mean of the last layer."""

    def __init__(self) -> None:
        super().__init__()
        config = hf.BertConfig(
            vocab_size=500,
            hidden_size=96,
            num_hidden_layers=3,
            num_attention_heads=6,
            intermediate_size=384,
            max_position_embeddings=64,
        )
        self.encoder = hf.BertModel(config, add_pooling_layer=False)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None].to(hidden.dtype)
        mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        return nn.functional.normalize(mean, dim=-1)


def whisper_encoder() -> nn.Module:
    config = hf.WhisperConfig(
        d_model=96,
        encoder_layers=2,
        encoder_attention_heads=4,
        encoder_ffn_dim=384,
        max_source_positions=100,
    )
    model = hf.WhisperModel(config).encoder
    return Output(model, "input_features", "last_hidden_state")


class Wav2Vec2Features(nn.Module):
    """The convolutional feature encoder of Wav2Vec2, from samples to frames."""

    def __init__(self) -> None:
        super().__init__()
        config = hf.Wav2Vec2Config(
            conv_dim=(64, 64, 64, 64), conv_kernel=(10, 3, 3, 2), conv_stride=(5, 2, 2, 2),
            num_feat_extract_layers=4, hidden_size=48, num_hidden_layers=1, num_attention_heads=4,
            intermediate_size=96,
        )  # fmt: skip
        self.encoder = hf.Wav2Vec2Model(config).feature_extractor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(x)
