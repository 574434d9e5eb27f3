"""Decoders step by step: the hub model with its caches against the model on the whole text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgewise.data.preprocessing import DataSettings
from edgewise.data.text import TextPreprocessing
from edgewise.errors import UsageError
from edgewise.exporters import SourceOptions, export
from edgewise.exporters.quiet import quiet
from edgewise.graph import OrtSession
from edgewise.hub_data import open_for

with quiet():
    pytest.importorskip("transformers")
    import tiny_transformers as tiny
    import torch
    import transformers as hf

TEXT = "the man plays a red guitar and the dog runs"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "mistral"])
def test_steps_give_what_the_whole_text_gives(tmp_path: Path, name: str) -> None:
    folder = tiny.save(name, tmp_path)
    result = export(folder)
    states = result.preprocessing.states
    assert states == {f"{k}_{i}": f"new_{k}_{i}" for i in range(2) for k in ("key", "value")}
    shapes = {v.name: tuple(v.shape.numpy()) for v in result.model.graph.inputs}
    outputs = {v.name: tuple(v.shape.numpy()) for v in result.model.graph.outputs}
    assert all(
        shapes[key] == outputs[new] == (1, 2, 16, shapes[key][3]) for key, new in states.items()
    )

    ids = np.array([[tiny.WORDS.index(word) for word in TEXT.split()]])
    with quiet(), torch.no_grad():
        model = hf.AutoModelForCausalLM.from_pretrained(folder).eval()
        expected = model(torch.from_numpy(ids)).logits.numpy()[0]
    source = _texts(tmp_path, result.model)
    session = OrtSession(result.model)
    samples = list(source)
    assert len(samples) == len(source) == ids.shape[1] - 1
    for position, sample in enumerate(samples):
        found = session.run(sample.feeds)["logits"][0, 0]
        np.testing.assert_allclose(found, expected[position], atol=1e-5)
        assert sample.label == ids[0, position + 1]


def _texts(folder: Path, hub):
    path = folder / "texts.txt"
    path.write_text(TEXT + "\n")
    return open_for(hub, path, DataSettings())


@pytest.mark.slow
def test_the_length_of_the_cache_is_said_by_any_of_its_inputs(tmp_path: Path) -> None:
    folder = tiny.save("gpt2", tmp_path)
    with pytest.raises(UsageError, match="length of a static cache cannot be free"):
        export(folder, options=SourceOptions(input_shapes={"key_0": (1, 2, "length", 16)}))
    result = export(folder, options=SourceOptions(input_shapes={"value_1": (1, 2, 8, 16)}))
    assert isinstance(result.preprocessing, TextPreprocessing)
    assert result.preprocessing.max_length == 8
    shapes = {tuple(v.shape.numpy()) for v in result.model.graph.inputs if len(v.shape) == 4}
    assert shapes == {(1, 2, 8, 16)}
