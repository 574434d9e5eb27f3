"""Hugging Face folders of each task: names, sizes, labels and preprocessing of the hub model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgewise.data.audio import AudioPreprocessing
from edgewise.data.image import ImagePreprocessing
from edgewise.data.notes import notes_of
from edgewise.data.preprocessing import as_dict
from edgewise.data.text import TextPreprocessing
from edgewise.exporters import SourceOptions, export
from edgewise.exporters.huggingface.tasks import choose_task
from edgewise.exporters.quiet import quiet
from edgewise.graph import OrtSession

with quiet():
    pytest.importorskip("transformers")
    import tiny_transformers as tiny

TEXT = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), (1, 16))
#: model -> inputs, output, kind of preprocessing, labels
CASES = {
    "vit": ({"pixel_values": (1, 3, 32, 32)}, "logits", ImagePreprocessing, ("cat", "dog", "fox")),
    "resnet": ({"pixel_values": (1, 3, 32, 32)}, "logits", ImagePreprocessing, ()),
    "text-classifier": (TEXT, "logits", TextPreprocessing, ("sad", "happy")),
    "wav2vec2": ({"input_values": (1, 4000)}, "logits", AudioPreprocessing, ("yes", "no")),
    "ast": ({"input_values": (1, 64, 32)}, "logits", AudioPreprocessing, ("yes", "no")),
}


@pytest.mark.parametrize(
    ("architecture", "task"),
    {
        "ViTForImageClassification": "image-classification",
        "ViTModel": "image-feature-extraction",
        "BertForSequenceClassification": "text-classification",
        "Wav2Vec2ForSequenceClassification": "audio-classification",
        "ASTForAudioClassification": "audio-classification",
        "DistilBertForTokenClassification": "token-classification",
        "MPNetModel": "feature-extraction",
        "GPT2LMHeadModel": "text-generation",
        "LlamaForCausalLM": "text-generation",
    }.items(),
)
def test_the_class_of_the_weights_says_the_task(architecture: str, task: str) -> None:
    config = SimpleNamespace(architectures=[architecture])
    assert choose_task(None, config, "").name == task


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "inputs", "output", "kind", "labels"), [(k, *v) for k, v in CASES.items()], ids=CASES
)
def test_a_folder_tells_all_that_its_model_needs(
    tmp_path: Path, name: str, inputs: dict, output: str, kind: type, labels: tuple
) -> None:
    result = export(tiny.save(name, tmp_path))
    found = {v.name: tuple(v.shape.numpy()) for v in result.model.graph.inputs}
    assert found == inputs
    assert [v.name for v in result.model.graph.outputs] == [output]
    assert result.source_kind == "transformers"
    assert isinstance(result.preprocessing, kind)
    assert result.labels == labels
    assert result.parity.max_rel_error is not None and result.parity.max_rel_error < 1e-4
    notes = notes_of(result.model)
    assert notes.labels == labels
    assert as_dict(notes.preprocessing) == as_dict(result.preprocessing)


@pytest.mark.slow
def test_a_model_in_memory_is_left_as_it_was_and_takes_a_free_batch() -> None:
    import torch
    import transformers as hf

    torch.manual_seed(0)
    model = hf.BertForSequenceClassification(tiny.bert_config(attn_implementation="sdpa")).eval()
    before = model.config._attn_implementation
    shapes = {"input_ids": ("batch", 8), "attention_mask": ("batch", 8)}
    result = export(model, options=SourceOptions(input_shapes=shapes))
    assert model.config._attn_implementation == before == "sdpa"
    rng = np.random.default_rng(0)
    ids = rng.integers(4, len(tiny.WORDS), (3, 8))
    mask = (np.arange(8) < np.array([[8], [5], [3]])).astype(np.int64)
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    feeds = {v.name: given[v.name] for v in result.model.graph.inputs}
    found = OrtSession(result.model).run(feeds)["logits"]
    with torch.no_grad():
        expected = model(**{k: torch.from_numpy(v) for k, v in feeds.items()}).logits.numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert result.preprocessing is None
    assert any(f.rule == "export/preprocessing" for f in result.findings)


@pytest.mark.slow
def test_input_shapes_say_how_long_texts_are(tmp_path: Path) -> None:
    folder = tiny.save("encoder", tmp_path)
    (folder / "modules.json").write_text(
        '[{"path": "", "type": "sentence_transformers.models.Transformer"},'
        ' {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},'
        ' {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]'
    )
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    result = export(folder, options=SourceOptions(input_shapes={"input_ids": (1, 8)}))
    assert [tuple(v.shape.numpy()) for v in result.model.graph.inputs] == [(1, 8)] * 3
    assert [v.name for v in result.model.graph.outputs] == ["embedding"]
    assert isinstance(result.preprocessing, TextPreprocessing)
    assert (result.preprocessing.max_length, result.preprocessing.pairs) == (8, "apart")
    mask = np.array([[1, 1, 1, 1, 0, 0, 0, 0]])
    feeds = {
        "input_ids": np.array([[2, 5, 6, 3, 0, 0, 0, 0]]),
        "attention_mask": mask,
        "token_type_ids": np.zeros_like(mask),
    }
    found = OrtSession(result.model).run(feeds)["embedding"]
    np.testing.assert_allclose(found, _pooled(folder, feeds), atol=1e-5)


def _pooled(folder: Path, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """What sentence-transformers computes, from the encoder's own results."""
    import torch
    import transformers as hf

    with quiet(), torch.no_grad():
        model = hf.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
        tokens = model(**{k: torch.from_numpy(v) for k, v in feeds.items()}).last_hidden_state
    mean = tokens.numpy()[:, feeds["attention_mask"][0] == 1].mean(axis=1)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)
