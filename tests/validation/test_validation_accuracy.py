"""The fp32 baseline, and the comparison of an artifact with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise.data.source import Sample
from edgewise.errors import DataError, UsageError
from edgewise.graph import OrtSession
from edgewise.targets.validation.accuracy import AccuracyMeter, drop_interval
from edgewise.targets.validation.baseline import Baseline, OutputSpool
from edgewise.targets.validation.metrics import get_metric
from edgewise.targets.validation.results import Accuracy


def evaluate(baseline: Baseline, source: Any, model: Path) -> Accuracy:
    meter, session = AccuracyMeter(baseline), OrtSession(model)
    for sample in source:
        meter.observe(sample, session.run(sample.feeds))
    return meter.result()


@pytest.mark.parametrize("in_memory_bytes", [0, 64, 1 << 20])
def test_spool_gives_back_what_it_took(in_memory_bytes: int) -> None:
    generator = np.random.default_rng(0)
    kept = [
        {"y": generator.standard_normal((1, n)).astype(np.float32), "n": np.array(n)}
        for n in (5, 0, 17)
    ]
    spool = OutputSpool(in_memory_bytes)
    for outputs in kept:
        spool.append(outputs)
    assert len(spool) == 3
    for index in (2, 0, 1, 2):
        for name, array in kept[index].items():
            got = spool[index][name]
            assert got.dtype == array.dtype
            np.testing.assert_array_equal(got, array)
    spool.append(kept[0])  # appending after reading does not overwrite
    np.testing.assert_array_equal(spool[1]["y"], kept[1]["y"])
    spool.close()


def test_same_model_loses_nothing(classifier: tuple[Path, Path], vectors: Any) -> None:
    with Baseline.collect(classifier[0], vectors) as baseline:
        result = evaluate(baseline, vectors, classifier[0])
    assert result.metric == "top1"
    assert result.fp32 == result.artifact == pytest.approx(0.9)
    assert (result.drop, result.ci95, result.samples) == (0, (0, 0), 60)
    assert result.top1_agreement == 1
    assert result.cosine == pytest.approx(1)
    assert result.reason is None


def test_other_model(classifier: tuple[Path, Path], vectors: Any) -> None:
    before, after = (OrtSession(model) for model in classifier)
    outputs = [(before.run(s.feeds)["y"], after.run(s.feeds)["y"], s) for s in vectors]
    with Baseline.collect(classifier[0], vectors) as baseline:
        result = evaluate(baseline, vectors, classifier[1])
    first = np.mean([a.argmax() == s.label for a, _, s in outputs])
    second = np.mean([b.argmax() == s.label for _, b, s in outputs])
    assert (result.fp32, result.artifact) == (pytest.approx(first), pytest.approx(second))
    assert result.drop == pytest.approx(first - second)
    ratios = [np.sum(a**2) / np.sum((a - b) ** 2) for a, b, _ in outputs]
    assert result.worst_sample == f"vector {np.argmin(ratios)}"
    x, y = (np.concatenate([o[i] for o in outputs]).astype(np.float64) for i in (0, 1))
    assert result.sqnr_db == pytest.approx(10 * np.log10(np.sum(x**2) / np.sum((x - y) ** 2)))
    cosine = np.sum(x * y) / np.linalg.norm(x) / np.linalg.norm(y)
    assert result.cosine == pytest.approx(cosine)


def test_without_labels(classifier: tuple[Path, Path], vectors: Any, list_source: Any) -> None:
    bare = list_source([Sample(s.feeds, None, s.name) for s in vectors], labelled=False)
    with Baseline.collect(classifier[0], bare, "top1") as baseline:
        result = evaluate(baseline, bare, classifier[1])
    assert result.metric is None and result.drop is None and result.ci95 is None
    assert result.reason == "the data has no labels"
    assert result.sqnr_db is not None and result.top1_agreement is not None


def test_lower_is_better_turns_the_drop(classifier: tuple[Path, Path], list_source: Any) -> None:
    zero = np.zeros((1, 8), np.float32)
    source = list_source([Sample({"x": zero}, [0.0] * 4, "zero")] * 3)
    with Baseline.collect(classifier[0], source, "mse") as baseline:
        meter = AccuracyMeter(baseline)
        for sample in source:
            meter.observe(sample, {"y": np.full((1, 4), 2.0, np.float32)})
        result = meter.result()
    assert (result.fp32, result.artifact, result.drop) == (0, 4, 4)
    assert result.ci95 == (4, 4)


def test_label_errors_name_the_sample(classifier: tuple[Path, Path], list_source: Any) -> None:
    x = np.zeros((1, 8), np.float32)
    for label, message in ((7, "cat.png: class 7 does not exist"), (None, "has no label")):
        source = list_source([Sample({"x": x}, 0, "dog.png"), Sample({"x": x}, label, "cat.png")])
        with pytest.raises(DataError, match=message):
            Baseline.collect(classifier[0], source)


def test_data_that_changes_between_walks(classifier: tuple[Path, Path], vectors: Any) -> None:
    y = {"y": np.zeros((1, 4), np.float32)}
    samples = list(vectors)
    with Baseline.collect(classifier[0], vectors) as baseline:
        meter = AccuracyMeter(baseline)
        for sample in samples[:-1]:
            meter.observe(sample, y)
        with pytest.raises(DataError, match="60 examples, and now 59"):
            meter.result()
        meter.observe(samples[-1], y)
        with pytest.raises(DataError, match="and now 61"):
            meter.observe(samples[0], y)


def test_baseline_of_other_data(classifier: tuple[Path, Path], vectors: Any) -> None:
    with Baseline.collect(classifier[0], vectors, "top5") as baseline:
        baseline.check_fits(vectors, get_metric("top5"))
        with pytest.raises(UsageError, match="another metric"):
            baseline.check_fits(vectors, "top1")


def test_interval_of_a_metric_that_is_no_mean() -> None:
    metric = get_metric("spearman")
    generator = np.random.default_rng(0)
    labels = generator.standard_normal(50)
    near = labels + 0.1 * generator.standard_normal(50)
    far = labels + 1.0 * generator.standard_normal(50)
    fp32, artifact = ([*zip(x, labels, strict=True)] for x in (near, far))
    interval = drop_interval(metric, fp32, artifact)
    assert interval is not None
    low, high = interval
    assert 0 < low < metric.compute(fp32) - metric.compute(artifact) < high < 1


def test_pairing_narrows_the_interval() -> None:
    metric = get_metric("top1")
    right = np.random.default_rng(0).integers(0, 2, 500).astype(float).tolist()
    one_changed = [1 - right[0], *right[1:]]
    interval = drop_interval(metric, right, one_changed)
    assert interval is not None
    assert interval[1] - interval[0] < 0.01  # unpaired: about 0.12
