"""The report as table and page: what is told, and what is not invented."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from edgewise.exporters import Parity
from edgewise.findings import Finding
from edgewise.report import (
    FORMAT,
    CalibrationSummary,
    DataSummary,
    EvaluationSummary,
    ModelSummary,
    Report,
    TensorSummary,
    print_results,
    render_page,
    report_schema,
    to_json,
    wording,
)
from edgewise.search.result import Nearest
from edgewise.search.summary import SearchSummary, TrialSummary
from edgewise.targets.validation import (
    Accuracy,
    BudgetResult,
    Equivalence,
    Latency,
    Profile,
    ProfilePart,
    TargetResult,
)

REASON = "Core ML runs on Apple hardware only"


def result(target: str = "android", **changes: object) -> TargetResult:
    whole = TargetResult(
        target=target,
        precision="w8a8",
        artifact=f"{target}/efficientnet_lite0.tflite",
        size_bytes=5_012_345,
        size_fp32_bytes=18_700_000,
        equivalence=Equivalence(1.0, 0.0, 0.9967, 31.5, 0.1, False, 300),
        accuracy=Accuracy("top1", 0.7567, 0.7533, 0.0034, (-0.0066, 0.0133), 300),
        latency=Latency("local", 1, 12.345, 13.0, 14.0, 30.0, 2.43, (2.3, 2.5), 5.0, 900),
        findings=(),
        budget=(BudgetResult("accuracy_drop", 0.01, 0.0034, True),),
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


UNMEASURED = {
    "latency": Latency("local", 1, None, None, None, None, None, reason=REASON),
    "equivalence": Equivalence(None, None, None, None, None, False, 0, reason="no data"),
    "accuracy": Accuracy(None, None, None, None, None, 0, reason="no evaluation data"),
    "size_fp32_bytes": None,
}


def table(results: dict[str, TargetResult], width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    print_results(results, stream, metric="top1")
    return stream.getvalue()


@pytest.mark.parametrize("width", [80, 100])
def test_nothing_is_cut_at_usual_widths(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = table({"android": result(), "apple": result("apple", **UNMEASURED)}, width, monkeypatch)
    for said in (
        "5.01 MB", "3.7x smaller", "0.7567 -> 0.7533", "drop 0.34 ±1.00 pt", "12.35 ms",
        "2.4x faster", "max 1 LSB", "argmax 99.67 %", "budget", "ok", "not measured",
    ):  # fmt: skip
        assert said in text, said
    body = text.split("[1]", maxsplit=1)[0]
    assert max(map(len, body.splitlines())) <= width


def test_plain_text_without_a_terminal() -> None:
    stream = io.StringIO()
    print_results({"android": result()}, stream)
    assert "\x1b" not in stream.getvalue()


def test_gaps_are_explained_once(monkeypatch: pytest.MonkeyPatch) -> None:
    results = {name: result(name, latency=UNMEASURED["latency"]) for name in ("apple", "arm")}
    text = table(results, 100, monkeypatch)
    assert text.count(REASON) == 1
    assert text.count("[1]") == 3


def test_a_latency_says_where_it_was_measured() -> None:
    results = {name: result(name) for name in ("android", "arm")}
    results["apple"] = result("apple", **UNMEASURED)
    stream = io.StringIO()
    print_results(results, stream)
    assert "latency of android, arm: local, threads 1\n" in stream.getvalue()


def test_missed_budgets_are_told_one_by_one() -> None:
    rows = (
        BudgetResult("max_size_mb", 4.0, 5.012345, False),
        BudgetResult("max_latency_ms", 10.0, None, False, REASON),
        BudgetResult("accuracy_drop", 0.01, 0.0, True),
    )
    stream = io.StringIO()
    print_results({"apple": result("apple", budget=rows)}, stream)
    assert "budget missed: apple max_size_mb: 5.012, limit 4\n" in stream.getvalue()
    assert f"apple max_latency_ms: not measured ({REASON}), limit 10\n" in stream.getvalue()
    assert "accuracy_drop" not in stream.getvalue()


def test_findings_are_counted_or_told() -> None:
    findings = (
        Finding("android/float-island", "warning", "stays in float", "conv_3", "Choose another."),
        Finding("android/note", "info", "a remark"),
    )
    brief, paged, long = io.StringIO(), io.StringIO(), io.StringIO()
    print_results({"android": result(findings=findings)}, brief)
    print_results({"android": result(findings=findings)}, paged, page=Path("report.html"))
    print_results({"android": result(findings=findings)}, long, verbose=True)
    assert "findings: android 1 warning, 1 remark (--verbose tells them)\n" in brief.getvalue()
    assert "findings: android 1 warning, 1 remark\n" in paged.getvalue()
    wanted = "android warning: 'conv_3': stays in float. Choose another. (android/float-island)\n"
    assert wanted in long.getvalue()
    assert "android info: a remark. (android/note)\n" in long.getvalue()


@pytest.mark.parametrize(
    ("cell", "figure", "detail"),
    [
        (wording.size(result(size_bytes=67_300)), "67.3 kB", "277.9x smaller"),
        (wording.latency(replace(result().latency, speedup=0.5)), "12.35 ms", "2.0x slower"),
        (wording.latency(replace(result().latency, median_ms=0.0253)), "0.025 ms", "2.4x faster"),
        (
            wording.equivalence(replace(result().equivalence, argmax_agreement=0.99999)),
            "max 1 LSB",
            "argmax 99.99 %",
        ),
        (
            wording.equivalence(replace(result().equivalence, max_lsb=None)),
            "32 dB SQNR",
            "argmax 99.67 %",
        ),
        (
            wording.equivalence(Equivalence(0.0, 0.0, 1.0, None, 0.0, True, 9)),
            "identical",
            "argmax 100 %",
        ),
        (wording.size(result(size_bytes=40_000, size_fp32_bytes=20_000)), "40.0 kB", "2.0x larger"),
        (
            wording.accuracy(Accuracy("mse", 0.5, 0.75, 0.25, None, 9)),
            "0.5000 -> 0.7500",
            "drop 0.25",
        ),
        (
            wording.accuracy(Accuracy("top1", 0.5, 0.50001, -0.00001, (0.0, 0.0), 9)),
            "0.5000 -> 0.5000",
            "drop 0.00 ±0.00 pt",
        ),
        (
            wording.accuracy(
                Accuracy(None, None, None, None, None, 9, top1_agreement=0.985, reason="no labels")
            ),
            "98.5% as fp32",
            "",
        ),
    ],
)
def test_wording(cell: wording.Cell, figure: str, detail: str) -> None:
    assert (cell.figure, cell.detail) == (figure, detail)


def report(**changes: object) -> Report:
    tensor = TensorSummary("image", ("batch", 3, None, 8), "float32")
    whole = Report(
        format=FORMAT,
        ok=True,
        exit_code=0,
        model=ModelSummary(
            "tiny", "tiny.onnx", "onnx", "", "0" * 64, (tensor,), (tensor,), 5, 1234, 5678, 4096
        ),
        parity=Parity(1e-6, 1e-6, 4, 1e-4, "real"),
        calibration=CalibrationSummary(
            DataSummary("data/calib", "f" * 64, 8, False), "percentile", 99.99
        ),
        evaluation=EvaluationSummary(DataSummary("data/eval", "e" * 64, 9, True), "top1"),
        targets={"android": result()},
        search={},
        findings=(),
        hashes={"android/efficientnet_lite0.tflite": "a" * 64},
        versions={"python": "3.11.7"},
        timings={"export": 0.25},
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_the_page_tells_what_the_model_computes() -> None:
    page = render_page(report())
    assert "0.005678 M multiply-accumulates, 4.1 kB of activations at once" in page
    unknown = replace(report().model, activation_bytes=None)
    assert "activations at once" not in render_page(report(model=unknown))


def test_names_of_the_user_are_escaped_in_the_page() -> None:
    evil = "<script>alert(1)</script>"
    model = replace(report().model, name=evil, source=evil)
    findings = (Finding("a/b", "warning", evil, node=evil, remedy=evil),)
    page = render_page(report(model=model, findings=findings, hashes={evil: "0"}))
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 6


def test_the_verdict_comes_first() -> None:
    rows = (BudgetResult("max_latency_ms", 1.0, 12.345, False),)
    missed = render_page(report(ok=False, exit_code=1, targets={"arm": result("arm", budget=rows)}))
    assert "1 of 1 budgets missed" in missed
    assert missed.index("arm max_latency_ms: 12.35, limit 1") < missed.index("<h2>Targets")
    assert "All budgets met" in render_page(report())
    assert "no budget was set" in render_page(report(targets={"arm": result(budget=())}))


def test_a_page_of_gaps_gives_their_reasons() -> None:
    page = render_page(
        report(
            targets={"apple": result("apple", **UNMEASURED, budget=())},
            parity=Parity(None, None, 0, 1e-4, "random", "it cannot be run"),
            calibration=CalibrationSummary(None, None, None, "no target is quantized"),
            evaluation=EvaluationSummary(None, None, "no evaluation data"),
        )
    )
    for reason in (REASON, "it cannot be run", "no target is quantized", "no evaluation data"):
        assert reason in page
    assert ">None<" not in page


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_has_no_nan(value: float) -> None:
    broken = result(accuracy=replace(result().accuracy, sqnr_db=value))
    document = json.loads(to_json(report(targets={"android": broken}).as_dict()))
    assert document["targets"]["android"]["accuracy"]["sqnr_db"] is None
    jsonschema.validate(document, report_schema())


def refuse(change: Callable[[dict[str, object]], object]) -> bool:
    document = report().as_dict()
    change(document)
    return not jsonschema.Draft202012Validator(report_schema()).is_valid(document)


def test_the_schema_is_closed() -> None:
    assert not refuse(lambda document: None)
    assert refuse(lambda document: document.pop("timings"))
    assert refuse(lambda document: document.update(extra=1))
    assert refuse(lambda document: document.update(format="another"))
    assert refuse(lambda document: document.update(exit_code="0"))


def _profile() -> Profile:
    parts = (
        ProfilePart("features", ("PAD", "CONV_2D"), 6.0, 0.6, 9.0),
        ProfilePart("<gate>", ("MUL",), 4.0, 0.4, 2.0),
    )
    return Profile(parts, 10.0, 11.0, 12.3, 2.0, "with a sundial")


def test_a_profile_is_told_with_what_lost_to_fp32() -> None:
    results = {"android": result(profile=_profile()), "arm": result("arm")}
    stream = io.StringIO()
    print_results(results, stream)
    text = stream.getvalue()
    assert "profile of android: sum of 2 parts 10.00 ms (fp32 11.00 ms), whole artifact" in text
    assert "40.0%  4.00 ms (fp32 2.00 ms, slower)  MUL  <gate>" in text
    assert "profile of arm" not in text


def test_the_page_shows_the_profile_once_there_is_one() -> None:
    assert "Profile" not in render_page(report(targets={"android": result()}))
    page = render_page(report(targets={"android": result(profile=_profile())}))
    assert "<h2>Profile</h2>" in page and "with a sundial" in page
    assert page.count(">slower than fp32<") == 1
    assert "&lt;gate&gt;" in page and "<gate>" not in page
    assert page.index("features") < page.index("&lt;gate&gt;")


def test_a_profile_is_part_of_the_json() -> None:
    for profile in (None, _profile(), Profile.not_measured("nothing to time")):
        document = report(targets={"android": result(profile=profile)}).as_dict()
        jsonschema.validate(document, report_schema())


def test_the_page_has_the_trials_of_a_search_and_what_can_be_had() -> None:
    trial = TrialSummary(
        "method <mse>", {"method": "mse"}, 20.5, None, None, None, None, None, False, None, 1.25
    )
    near = Nearest(0.0123, "method mse", 2)
    found = SearchSummary("exhausted", "method <mse>", {}, (trial,), (near,))
    page = render_page(report(search={"apple": found}))
    assert "<h2>Search</h2>" in page and "method &lt;mse&gt;" in page and "20.5" in page
    assert "accuracy_drop = 0.0123 with 2 operators in float" in page
    assert "<h2>Search</h2>" not in render_page(report())
