"""The whole validation of a real artifact, on the arm target since it needs no other runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgewise.targets
from edgewise.data.source import Sample
from edgewise.errors import DataError, DeviceError, UsageError
from edgewise.targets import Artifact
from edgewise.targets.validation import (
    Baseline,
    Budget,
    EquivalenceLimit,
    LatencyPlan,
    validate,
)

FAST = LatencyPlan(0.0, 2, 3, 0.001, (2, 5), 1)


@pytest.fixture(scope="module")
def artifacts(
    classifier: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Artifact, Artifact]:
    folder = tmp_path_factory.mktemp("artifacts")
    arm = edgewise.targets.get("arm")
    return (
        arm.emit(classifier[1], folder / "int8", "w8a8"),
        arm.emit(classifier[0], folder / "fp32", "fp32"),
    )


@pytest.fixture
def models(classifier: tuple[Path, Path]) -> dict[str, Path]:
    return {"hub": classifier[0], "reference": classifier[1]}


def test_everything(artifacts: Any, models: Any, vectors: Any) -> None:
    budget = Budget(accuracy_drop=0.5, max_size_mb=1, max_latency_ms=1e-9)
    result = validate(
        artifacts[0], **models, fp32_artifact=artifacts[1], source=vectors, budget=budget,
        latency_plan=FAST,
    )  # fmt: skip
    assert (result.target, result.precision) == ("arm", "w8a8")
    assert result.size_bytes == artifacts[0].path.stat().st_size
    assert result.size_fp32_bytes == artifacts[1].path.stat().st_size
    assert result.equivalence.samples == result.accuracy.samples == 60
    assert result.equivalence.max_lsb is not None and result.equivalence.max_lsb <= 1
    assert result.accuracy.metric == "top1" and result.accuracy.ci95 is not None
    assert result.latency.median_ms is not None and result.latency.speedup is not None
    assert [r.ok for r in result.budget] == [True, False, True]
    assert not result.ok
    json.dumps(result.as_dict(), allow_nan=False)


def test_artifact_by_path(artifacts: Any, models: Any, vectors: Any) -> None:
    result = validate(
        artifacts[0].path, **models, fp32_artifact=artifacts[1].path.parent, source=vectors,
        latency_plan=FAST,
    )  # fmt: skip
    assert result.accuracy.samples == 60
    assert result.size_fp32_bytes == artifacts[1].size_bytes


def test_baseline_saves_a_walk(artifacts: Any, models: Any, vectors: Any) -> None:
    with Baseline.collect(models["hub"], vectors) as baseline:
        assert vectors.walks == 1
        for artifact in artifacts:
            reference = models["hub" if artifact is artifacts[1] else "reference"]
            result = validate(
                artifact, hub=models["hub"], reference=reference, source=vectors,
                baseline=baseline, latency_plan=FAST,
            )  # fmt: skip
            assert result.accuracy.fp32 == pytest.approx(0.9)
        assert vectors.walks == 1 + 2 * 2  # each target: one walk, and one sample for latency
        with pytest.raises(UsageError, match="another metric"):
            validate(artifacts[0], **models, source=vectors, metric="mse", baseline=baseline)


def test_without_any_data(artifacts: Any, models: Any) -> None:
    budget = Budget(accuracy_drop=0.01)
    result = validate(artifacts[0], **models, budget=budget, latency_plan=FAST)
    assert result.accuracy.reason == "no evaluation data"
    assert result.equivalence.reason == "no data"
    assert result.latency.median_ms is not None  # on noise
    assert result.latency.reason == "there is no fp32 file to compare with"
    assert [(r.ok, r.reason) for r in result.budget] == [(False, "no evaluation data")]


def test_fallback_serves_equivalence_only(artifacts: Any, models: Any, vectors: Any) -> None:
    limit = EquivalenceLimit(samples=10, at_least=1)
    result = validate(
        artifacts[0], **models, fallback=vectors, equivalence_limit=limit, latency_plan=FAST
    )
    assert result.equivalence.samples == 10
    assert result.accuracy.reason == "no evaluation data"


def test_limit_ends_equivalence_not_accuracy(artifacts: Any, models: Any, vectors: Any) -> None:
    limit = EquivalenceLimit(seconds=0, at_least=5)
    result = validate(
        artifacts[0], **models, source=vectors, equivalence_limit=limit, latency_plan=FAST
    )
    assert result.equivalence.samples == 5
    assert result.accuracy.samples == 60


def test_session_remarks_become_findings(
    artifacts: Any, models: Any, vectors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgewise.targets.host_cpu import HostCpu

    monkeypatch.setattr(
        "edgewise.targets.arm.session.read_host_cpu", lambda: HostCpu("x86_64", frozenset())
    )
    result = validate(artifacts[0], **models, source=vectors, latency_plan=FAST)
    rules = [finding.rule for finding in result.findings]
    assert rules == ["arm/measured-on-x86", "arm/saturating-host"]


def test_data_errors_pass_through(artifacts: Any, models: Any, vectors: Any) -> None:
    class Broken(type(vectors)):  # type: ignore[misc]
        def __iter__(self) -> Any:
            yield from list(super().__iter__())[:3]
            raise DataError("cannot read picture 3")

    with pytest.raises(DataError, match="picture 3"):
        validate(artifacts[0], **models, source=Broken(list(vectors)), latency_plan=FAST)


def test_device_errors_pass_through(artifacts: Any, models: Any) -> None:
    with pytest.raises(DeviceError):
        validate(artifacts[0], **models, device="toaster", latency_plan=FAST)


def test_min_accuracy_needs_more_to_be_better(
    artifacts: Any, models: Any, list_source: Any
) -> None:
    source = list_source([Sample({"x": np.zeros((1, 8), np.float32)}, [0.0] * 4, "zero")])
    with pytest.raises(UsageError, match="of mse less is better"):
        validate(
            artifacts[0], **models, source=source, metric="mse", budget=Budget(min_accuracy=0.5)
        )


def test_empty_data(artifacts: Any, models: Any, list_source: Any) -> None:
    result = validate(artifacts[0], **models, source=list_source([]), latency_plan=FAST)
    assert result.accuracy.reason == "the data holds no example"
    assert result.equivalence.reason == "there is no data"
