"""What a profile says: shares, sums, and parts that int8 made slower."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgewise.targets
from edgewise.errors import UsageError
from edgewise.report import wording
from edgewise.targets.profiling import PartTime, PartTimes
from edgewise.targets.validation import Latency, LatencyPlan, validate
from edgewise.targets.validation.profile import measure_profile, profile_findings

LATENCY = Latency("local", 1, 2.5, 2.6, 2.7, 5.0, 2.0)
PARTS = (
    PartTime("a", ("CONV_2D",), 1.0, 2.0),
    PartTime("b", ("DEQUANTIZE", "SIN", "QUANTIZE"), 0.6, 0.4),
    PartTime("c", ("MUL",), 0.4, 0.38),
)


class FakeTarget:
    """A target whose parts take what they are given."""

    name = "fake"

    def __init__(self, parts: tuple[PartTime, ...] = PARTS, refusal: str = "") -> None:
        self._parts, self._refusal = parts, refusal

    def profile(
        self, artifact: Any, fp32: Any, feeds: Any, *, device: str, threads: int
    ) -> PartTimes:
        if self._refusal:
            raise UsageError(self._refusal)
        return PartTimes(self._parts, "with a sundial")


def _measured(target: Any) -> Any:
    return measure_profile(target, None, None, {}, LATENCY)  # type: ignore[arg-type]


def test_shares_sums_and_losses() -> None:
    found = _measured(FakeTarget())
    assert [(part.tensor, part.share) for part in found.parts] == [
        ("a", pytest.approx(0.5)),
        ("b", pytest.approx(0.3)),
        ("c", pytest.approx(0.2)),
    ]
    assert (found.sum_ms, found.whole_ms, found.method) == (2.0, 2.5, "with a sundial")
    assert found.fp32_sum_ms == pytest.approx(2.78)
    assert [part.tensor for part in found.slower] == ["b"]  # c is within what timings differ by
    assert found.lost_ms == pytest.approx(0.2)


def test_no_sum_where_parts_have_no_twin() -> None:
    found = _measured(FakeTarget((*PARTS, PartTime("d", ("ABS",), 0.1))))
    assert found.fp32_sum_ms is None and found.parts[-1].fp32_ms is None
    assert not found.parts[-1].is_slower


def test_what_is_lost_is_one_remark() -> None:
    (found,) = profile_findings(_measured(FakeTarget()))
    assert (found.rule, found.severity) == ("validation/slower-than-fp32", "info")
    assert "1 of 3 parts are slower than in fp32, by 10.0% of the time of all: 'b'" in found.message
    fine = tuple(replace(part, fp32_ms=part.ms) for part in PARTS)
    assert profile_findings(_measured(FakeTarget(fine))) == []
    small = (replace(PARTS[0], ms=100.0, fp32_ms=200.0), *PARTS[1:])
    assert profile_findings(_measured(FakeTarget(small))) == []


def test_gaps_have_reasons() -> None:
    found = _measured(FakeTarget(refusal="a file with a free batch cannot be profiled"))
    assert found.reason == "a file with a free batch cannot be profiled" and not found.parts
    other = _measured(edgewise.targets.get("apple"))
    assert other.reason == "the apple target cannot time parts of its artifacts"
    assert profile_findings(other) == []
    assert wording.profile_summary(other).startswith("not measured: the apple target")


def test_wording() -> None:
    found = _measured(FakeTarget())
    assert wording.profile_summary(found) == (
        "sum of 3 parts 2.00 ms (fp32 2.78 ms), whole artifact 2.50 ms; "
        "1 parts slower than in fp32, by 0.200 ms together"
    )
    assert wording.profile_line(found.parts[1]) == (
        " 30.0%  0.600 ms (fp32 0.400 ms, slower)  DEQUANTIZE + SIN + QUANTIZE  b"
    )
    assert wording.operator_names(("A", "B", "C", "D", "E")) == "A + B + 2 more + E"


@pytest.mark.parametrize("asked", [False, True])
def test_validation_measures_it_when_asked(
    classifier: tuple[Path, Path], tmp_path: Path, asked: bool
) -> None:
    hub, qdq = classifier
    target = edgewise.targets.get("android")
    artifact = target.emit(qdq, tmp_path / "int8", "w8a8")
    result = validate(
        artifact,
        reference=qdq,
        hub=hub,
        fp32_artifact=target.emit(hub, tmp_path / "fp32", "fp32"),
        latency_plan=LatencyPlan(0.0, 1, 2, 0.0, (1, 1), 0),
        profile=asked,
    )
    if not asked:
        assert result.profile is None
        return
    assert result.profile is not None and result.profile.parts
    assert result.profile.whole_ms == result.latency.median_ms
    assert sum(part.share for part in result.profile.parts) == pytest.approx(1.0)
    assert np.isclose(result.profile.sum_ms or 0, sum(part.ms for part in result.profile.parts))
