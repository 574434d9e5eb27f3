"""Models of `transformers` with random weights, a few thousand of them, saved to folders."""

from __future__ import annotations

import warnings
import wave
from pathlib import Path
from typing import Any

import numpy as np

_TEXT = "a the man woman is are cat dog plays runs sees big red blue guitar ball and happy sad"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *_TEXT.split(" ")]
SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def save(name: str, folder: Path) -> Path:
    """Write the model of that name, with what prepares its inputs, and give the folder."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        _MAKERS[name](folder)
    return folder


def names(*classes: str) -> dict[str, Any]:
    return {"id2label": dict(enumerate(classes)), "label2id": {c: i for i, c in enumerate(classes)}}


def save_tokenizer(folder: Path, *, special: bool = True) -> None:
    import transformers as hf
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    inputs = ["input_ids", "attention_mask"]
    if special:
        inputs.insert(1, "token_type_ids")
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )
    hf.PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=inputs,
    ).save_pretrained(folder)


def bert_config(**others: Any) -> Any:
    import transformers as hf

    return hf.BertConfig(
        vocab_size=len(WORDS), intermediate_size=64, max_position_embeddings=16, **SIZES, **others
    )


def save_wave(path: Path, samples: np.ndarray, *, rate: int = 4000, width: int = 2) -> None:
    """Fractions (time,) or (time, channels) as PCM of so many bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = np.rint(np.clip(samples, -1, 1) * (2 ** (8 * width - 1) - 1)).astype(np.int64)
    if width == 1:
        whole = whole + 128
    data = whole.astype("<i8").reshape(-1, 1).view(np.uint8)[:, :width].tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)


def _vit(folder: Path) -> None:
    import transformers as hf

    classes = names("cat", "dog", "fox")
    config = hf.ViTConfig(image_size=32, patch_size=8, intermediate_size=64, **SIZES, **classes)
    hf.ViTForImageClassification(config).save_pretrained(folder)
    hf.ViTImageProcessorPil(size={"height": 32, "width": 32}, resample=3).save_pretrained(folder)


def _resnet(folder: Path) -> None:
    import transformers as hf

    config = hf.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3
    )
    hf.ResNetForImageClassification(config).save_pretrained(folder)
    processor = hf.ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=0.875)
    processor.save_pretrained(folder)


def _text_classifier(folder: Path) -> None:
    import transformers as hf

    config = bert_config(**names("sad", "happy"))
    hf.BertForSequenceClassification(config).save_pretrained(folder)
    save_tokenizer(folder)


def _encoder(folder: Path) -> None:
    import transformers as hf

    hf.BertModel(bert_config(), add_pooling_layer=False).save_pretrained(folder)
    save_tokenizer(folder)


def _wav2vec2(folder: Path) -> None:
    import transformers as hf

    config = hf.Wav2Vec2Config(
        intermediate_size=64,
        conv_dim=(16, 16, 16),
        conv_stride=(5, 4, 4),
        conv_kernel=(10, 8, 4),
        classifier_proj_size=16,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        **SIZES,
        **names("yes", "no"),
    )
    hf.Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
    hf.Wav2Vec2FeatureExtractor(sampling_rate=4000).save_pretrained(folder)


def _ast(folder: Path) -> None:
    import transformers as hf

    config = hf.ASTConfig(
        intermediate_size=64,
        max_length=64,
        num_mel_bins=32,
        patch_size=8,
        time_stride=8,
        frequency_stride=8,
        **SIZES,
        **names("yes", "no"),
    )
    hf.ASTForAudioClassification(config).save_pretrained(folder)
    extractor = hf.ASTFeatureExtractor(max_length=64, num_mel_bins=32, sampling_rate=4000)
    extractor.save_pretrained(folder)


def _gpt2(folder: Path) -> None:
    import transformers as hf

    config = hf.GPT2Config(
        vocab_size=len(WORDS), n_positions=16, n_embd=32, n_layer=2, n_head=2, bos_token_id=2,
        eos_token_id=3,
    )  # fmt: skip
    hf.GPT2LMHeadModel(config).save_pretrained(folder)
    save_tokenizer(folder, special=False)


def _mistral(folder: Path) -> None:
    """Grouped heads, rotary positions, and a window that ends before the cache does."""
    import transformers as hf

    config = hf.MistralConfig(
        vocab_size=len(WORDS), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=16, sliding_window=4,
        bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    hf.MistralForCausalLM(config).save_pretrained(folder)
    save_tokenizer(folder, special=False)


_MAKERS = {
    "ast": _ast,
    "encoder": _encoder,
    "gpt2": _gpt2,
    "mistral": _mistral,
    "resnet": _resnet,
    "text-classifier": _text_classifier,
    "vit": _vit,
    "wav2vec2": _wav2vec2,
}
