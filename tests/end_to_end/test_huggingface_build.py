"""A Hugging Face folder to an artifact that an application can use without the folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import edgewise
from edgewise import stages
from edgewise.data.notes import notes_of
from edgewise.data.preprocessing import DataSettings
from edgewise.exporters.quiet import quiet
from edgewise.graph import load
from edgewise.hub_data import for_application
from edgewise.targets import EmitOptions, get
from edgewise.targets.manifest import load_artifact

with quiet():
    pytest.importorskip("transformers")
    import tiny_transformers as tiny


@pytest.mark.slow
def test_tokenizer_and_labels_reach_every_artifact_and_stages_run_by_hand(tmp_path: Path) -> None:
    folder = tiny.save("text-classifier", tmp_path / "model")
    texts = tmp_path / "texts.csv"
    rows = [f"the {tiny.WORDS[4 + i]} sees a dog,{('happy', 'sad')[i % 2]}" for i in range(8)]
    texts.write_text("\n".join(["text,label", *rows]) + "\n")
    result = edgewise.build(
        folder,
        calibration=texts,
        evaluation=texts,
        out=tmp_path / "dist",
        targets=["arm"],
    )
    assert result.report.evaluation.metric == "top1"
    assert result.report.evaluation.data.samples == 8
    hub = load(tmp_path / "dist/stages/hub.onnx")
    told, beside = for_application(hub, DataSettings())
    for target in ("android", "apple"):
        options = EmitOptions("model", notes_of(hub).labels, told, beside=beside)
        artifact = get(target).emit(hub, tmp_path / "dist" / target, "fp32", options=options)
        assert load_artifact(artifact.path).size_bytes == artifact.size_bytes
        assert artifact.size_bytes < sum(e["size_bytes"] for e in artifact.manifest.files.values())
    for target in ("android", "apple", "arm"):
        manifest = json.loads((tmp_path / "dist" / target / "manifest.json").read_text())
        assert manifest["labels"] == ["sad", "happy"]
        assert manifest["preprocessing"]["kind"] == "text"
        assert manifest["preprocessing"]["max_length"] == 16
        tokenizer = (tmp_path / "dist" / target / "tokenizer.json").read_bytes()
        digest = hashlib.sha256(tokenizer).hexdigest()
        assert manifest["files"]["tokenizer.json"]["sha256"] == digest
        assert manifest["preprocessing"]["sha256"] == digest
    # an app's way: the tokenizer beside the artifact, nothing else
    from tokenizers import Tokenizer

    encoding = Tokenizer.from_str(tokenizer.decode()).encode("the dog")
    assert encoding.ids == [2, 5, tiny.WORDS.index("dog"), 3] + [0] * 12
    assert "edgewise.preprocessing" not in load(tmp_path / "dist/arm/model.onnx").metadata_props

    statistics = stages.calibrate(hub, texts)
    quantized = stages.quantize(hub, statistics, target="arm")
    assert notes_of(quantized).labels == ("sad", "happy")
    assert notes_of(quantized) == notes_of(hub)
