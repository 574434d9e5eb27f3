"""Hugging Face folders that cannot be exported: one line each, with the exit code."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgewise.errors import ModelError, UsageError
from edgewise.exporters import SourceOptions, export
from edgewise.exporters.hub_name import is_hub_name
from edgewise.exporters.quiet import quiet

with quiet():
    pytest.importorskip("transformers")
    import tiny_transformers as tiny


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save("text-classifier", tmp_path_factory.mktemp("model"))


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    for file in saved.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def change(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refused(folder: Path, error: type[Exception] = ModelError, **options: object) -> str:
    with pytest.raises(error) as caught:
        export(folder, options=SourceOptions(**options))
    text = str(caught.value)
    assert "\n" not in text and text.endswith((".", "?"))
    return text


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "there are no weights in this folder: none of model.safetensors" in refused(folder)


def test_truncated_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    assert "cannot load the model" in refused(folder)


def test_a_configuration_that_is_no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    assert "cannot load the model" in refused(folder)


def test_code_of_its_own(folder: Path) -> None:
    change(folder, auto_map={"AutoModel": "modeling.Own"})
    assert "auto_map names Python files" in refused(folder)


def test_an_unknown_task(folder: Path) -> None:
    text = refused(folder, UsageError, task="summarization")
    assert "unknown task 'summarization'" in text and "text-classification" in text


def test_an_architecture_that_no_task_takes(folder: Path) -> None:
    change(folder, architectures=["BertForQuestionAnswering"])
    text = refused(folder)
    assert "no task takes BertForQuestionAnswering" in text and "--task" in text


def test_weights_of_another_task(folder: Path) -> None:
    assert "weights of BertLMHeadModel are missing" in refused(folder, task="text-generation")


def test_an_input_that_is_none_of_the_model(folder: Path) -> None:
    assert "no input 'x'" in refused(folder, UsageError, input_shapes={"x": (1, 8)})


def test_a_part_of_sentence_transformers_that_is_not_known(tmp_path: Path) -> None:
    folder = tiny.save("encoder", tmp_path)
    (folder / "modules.json").write_text('[{"path": "1", "type": "models.WordWeights"}]')
    assert "it lists WordWeights" in refused(folder)


def test_what_could_be_a_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dist").mkdir()
    assert is_hub_name("org/name") and is_hub_name("org/Llama-3.2-1B")
    for text in ("dist/name", "org/model.onnx", "org", "a/b/c", "/org/name", "org/"):
        assert not is_hub_name(text)


def test_a_hub_that_cannot_be_reached_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = "http://127.0.0.1:9/{}/{}"
    monkeypatch.setattr("huggingface_hub.hf_hub_url", lambda *parts: closed.format(*parts))
    start = time.monotonic()
    with pytest.raises(ModelError, match=r"nosuch/model: .* cannot be reached .*no such path here"):
        export("nosuch/model")
    assert time.monotonic() - start < 15  # transformers asks for half a minute


_MISSING = """
import sys
sys.modules["transformers"] = None
from edgewise.__main__ import main
sys.argv = ["edgewise", "export", "."]
main()
"""


def test_transformers_is_missing(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _MISSING], cwd=folder, capture_output=True, text=True
    )
    assert done.stderr.strip() == (
        "error: Hugging Face models need transformers. Run: pip install 'edgewise[transformers]'"
    )
    assert done.returncode == 2
