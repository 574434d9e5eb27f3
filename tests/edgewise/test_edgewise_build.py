"""A whole build of the tiny model for arm, and the same in single steps."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import edgewise
from edgewise.files import files_below, sha256
from edgewise.report import report_schema

Run = Callable[..., Any]
ENTRIES = ["arm", "report.html", "report.json", "stages"]


@pytest.fixture(scope="module")
def built(shared_tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The result of the Python API, from the project file."""
    out = tmp_path_factory.mktemp("built") / "deep" / "dist"
    return edgewise.build(shared_tiny.project, out=out)


def report_of(out: Path) -> Any:
    return json.loads((out / "report.json").read_text(encoding="utf-8"))


def test_layout(built: Any) -> None:
    assert sorted(path.name for path in built.out.iterdir()) == ENTRIES
    assert sorted(path.name for path in (built.out / "arm").iterdir()) == [
        "manifest.json", "tiny.onnx",
    ]  # fmt: skip
    assert sorted(path.name for path in (built.out / "stages").iterdir()) == [
        "hub.onnx", "qdq-arm.onnx", "statistics.npz",
    ]  # fmt: skip


def test_report_follows_its_schema(built: Any) -> None:
    document = report_of(built.out)
    jsonschema.Draft202012Validator.check_schema(report_schema())
    jsonschema.validate(document, report_schema())
    assert document == json.loads(json.dumps(built.report.as_dict()))
    del document["targets"]["arm"]["latency"]["reason"]
    assert not jsonschema.Draft202012Validator(report_schema()).is_valid(document)


def test_report_tells_what_was_done(built: Any) -> None:
    document = report_of(built.out)
    arm = document["targets"]["arm"]
    assert (document["ok"], document["exit_code"]) == (True, 0)
    assert arm["artifact"] == "arm/tiny.onnx"
    assert arm["size_bytes"] == (built.out / arm["artifact"]).stat().st_size
    assert arm["size_fp32_bytes"] > 0
    assert arm["accuracy"]["samples"] == 16
    assert arm["latency"]["median_ms"] > 0
    assert document["calibration"]["data"]["samples"] == 8
    assert document["parity"]["max_rel_error"] <= document["parity"]["tolerance"]
    assert {"export", "calibration", "quantize arm", "emit arm", "validation arm"} <= set(
        document["timings"]
    )
    for path, value in document["hashes"].items():
        assert sha256(built.out / path) == value
    assert set(document["hashes"]) == {
        file.relative_to(built.out).as_posix()
        for folder in ("arm", "stages")
        for file in files_below(built.out / folder)
    }


class Links(HTMLParser):
    """Everything that a page would fetch, and the tags that are open."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [v or "" for k, v in attrs if k in ("src", "href", "data", "action")]
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_one_sound_file(built: Any) -> None:
    page = (built.out / "report.html").read_text(encoding="utf-8")
    links = Links()
    links.feed(page)
    assert (links.fetched, links.open) == ([], [])
    assert not re.search(r"url\(|@import|https?://", page)
    assert "tiny.onnx" in page and "prefers-color-scheme: dark" in page
    assert "None" not in re.sub(r"<p class=\"none\">None\.</p>", "", page)


def test_json_is_the_report_and_nothing_else(
    run: Run, shared_tiny: Any, built: Any, tmp_path: Path
) -> None:
    out = tmp_path / "dist"
    outcome = run(*shared_tiny.build_flags(out), "--name", "tiny", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(outcome.out) == report_of(out)
    # flags mean the same as the file, and the same input gives the same bytes
    for folder in ("arm", "stages"):
        first, second = files_below(built.out / folder), files_below(out / folder)
        assert [sha256(file) for file in first] == [sha256(file) for file in second]


def test_a_missed_budget_writes_all_and_exits_with_1(
    run: Run, shared_tiny: Any, tmp_path: Path
) -> None:
    out = tmp_path / "dist"
    flags = ["build", shared_tiny.project, "--max-size-mb", "0.000001", "--out", out]
    outcome = run(*flags, "--precision", "fp32")
    assert outcome.code == 1
    assert outcome.err.startswith("error: budget missed: arm max_size_mb: ")
    assert len(outcome.err.splitlines()) == 1
    assert "MISSED" in outcome.out and str(out / "report.html") in outcome.out
    document = report_of(out)
    assert (document["ok"], document["exit_code"]) == (False, 1)
    (row,) = document["targets"]["arm"]["budget"]
    assert (row["name"], row["ok"]) == ("max_size_mb", False)
    # a float precision needs no calibration, and is compared with the hub model
    assert document["targets"]["arm"]["precision"] == "fp32"
    assert document["calibration"]["data"] is None
    assert document["calibration"]["reason"] == "no target quantizes activations"
    assert sorted(path.name for path in (out / "stages").iterdir()) == ["hub.onnx"]


def test_a_failed_build_leaves_the_previous_one(
    run: Run, tiny: Any, built: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import edgewise.validation_runs

    def break_down(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    out = tmp_path / "dist"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "stages").mkdir()
    (out / "stages" / "hub.onnx").write_text("previous")
    before = {file: file.read_bytes() for file in files_below(out)}
    monkeypatch.setattr(edgewise.validation_runs, "validate_artifact", break_down)
    outcome = run(*tiny.build_flags(out))
    assert outcome.code == 70
    assert "the disk is full" in outcome.line
    assert {file: file.read_bytes() for file in files_below(out)} == before
    assert sorted(path.name for path in out.iterdir()) == ["notes.txt", "stages"]


def test_stages_as_commands_give_what_build_gives(
    run: Run, shared_tiny: Any, built: Any, tmp_path: Path
) -> None:
    hub, statistics, qdq = (tmp_path / n for n in ("hub.onnx", "statistics.npz", "qdq.onnx"))
    steps = (
        ("export", shared_tiny.model, "--out", hub, "--calibration", shared_tiny.calibration),
        ("calibrate", hub, "--calibration", shared_tiny.calibration, "--out", statistics),
        ("quantize", hub, statistics, "--target", "arm", "--out", qdq),
        ("emit", qdq, "--target", "arm", "--name", "tiny", "--out", tmp_path / "arm"),
    )
    for step in steps:
        outcome = run(*step)
        assert (outcome.code, outcome.err) == (0, ""), step
        assert len(outcome.out.splitlines()) == 1
    pairs = {
        "stages/hub.onnx": hub,
        "stages/statistics.npz": statistics,
        "stages/qdq-arm.onnx": qdq,
        "arm/tiny.onnx": tmp_path / "arm" / "tiny.onnx",
        "arm/manifest.json": tmp_path / "arm" / "manifest.json",
    }
    for name, path in pairs.items():
        assert (built.out / name).read_bytes() == path.read_bytes(), name


def test_validate_a_build_again(run: Run, shared_tiny: Any, built: Any) -> None:
    before = {file: sha256(file) for file in files_below(built.out)}
    outcome = run(
        "validate", built.out, "--evaluation", shared_tiny.evaluation, "--json",
        "--max-size-mb", "1",
    )  # fmt: skip
    assert (outcome.code, outcome.err) == (0, "")
    document = json.loads(outcome.out)
    arm, first = document["targets"]["arm"], built.report.targets["arm"]
    assert arm["accuracy"]["fp32"] == first.accuracy.fp32
    assert arm["accuracy"]["artifact"] == first.accuracy.artifact
    assert arm["equivalence"]["max_lsb"] == first.equivalence.max_lsb
    assert arm["size_fp32_bytes"] == first.size_fp32_bytes
    assert [row["ok"] for row in arm["budget"]] == [True]
    assert {file: sha256(file) for file in files_below(built.out)} == before


def test_validate_on_a_device_that_is_not_there(run: Run, built: Any) -> None:
    outcome = run("validate", built.out, "--on", "adb:none")
    assert outcome.code == 5
    assert "adb:none" in outcome.line


def test_python_stages(shared_tiny: Any, built: Any) -> None:
    exported = edgewise.export(shared_tiny.model)
    statistics = edgewise.calibrate(exported.model, shared_tiny.calibration, limit=3)
    assert statistics.samples == 3
    model = edgewise.quantize(exported.model, statistics, target="arm")
    assert any(node.op_type == "QuantizeLinear" for node in model.graph)
    result = edgewise.validate(built.out / "arm", evaluation=shared_tiny.evaluation)
    assert result.accuracy == built.report.targets["arm"].accuracy


def test_a_model_object_and_arguments(shared_tiny: Any, tmp_path: Path) -> None:
    import onnx_ir as ir

    with pytest.raises(edgewise.EdgewiseError, match="argument 'limit': found 0; allowed"):
        edgewise.build(shared_tiny.model, limit=0)
    model = ir.load(shared_tiny.model)
    out = tmp_path / "dist"
    result = edgewise.build(model, targets=["arm"], precision="fp32", out=out)
    assert result.report.model.source_kind == "onnx-model"
    assert result.report.evaluation.reason == "no evaluation data"
    accuracy = result.report.targets["arm"].accuracy
    assert accuracy.fp32 is None and accuracy.reason
    assert (out / "arm" / "Model.onnx").is_file()


def test_functions_of_the_project_folder(run: Run, tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "my_data.py").write_text(
        "import numpy as np\n"
        "def samples():\n"
        "    print('chatter of the module')\n"
        "    for index in range(4):\n"
        "        yield {'image': np.full((1, 3, 8, 8), index / 4, np.float32)}, None\n"
    )
    tiny.project.write_text(
        '[model]\nsource = "model.onnx"\n[data]\ncalibration = "my_data:samples"\n'
    )
    out = tmp_path / "statistics.npz"
    outcome = run("calibrate", tiny.model, "--project", tiny.project, "--out", out)
    assert outcome.code == 0, outcome.err
    assert edgewise.calibrate(tiny.model, f"{tmp_path / 'my_data.py'}:samples").samples == 4
    with np.load(out) as data:
        assert "header" in data.files
