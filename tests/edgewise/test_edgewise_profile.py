"""`--profile`: where the time goes, from the command line to the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgewise.report import report_schema


@pytest.fixture
def project(tiny: Any) -> Path:
    path = tiny.folder / "profile.toml"
    path.write_text(tiny.project.read_text().replace("[targets.arm]", "[targets.android]"))
    return path


def test_a_build_and_a_validation_tell_it(run: Any, project: Path, tmp_path: Path) -> None:
    out = tmp_path / "dist"
    built = run("build", project, "--out", out, "--profile", "--json")
    assert built.code == 0, built.err
    document = json.loads(built.out)
    jsonschema.validate(document, report_schema())
    profile = document["targets"]["android"]["profile"]
    assert profile["parts"] and profile["sum_ms"] > 0 and profile["method"]
    assert "<h2>Profile</h2>" in (out / "report.html").read_text(encoding="utf-8")

    again = run("validate", out, "--profile")
    assert again.code == 0, again.err
    assert "profile of android: sum of " in again.out


def test_the_project_file_can_ask(run: Any, tiny: Any, tmp_path: Path) -> None:
    project = tiny.folder / "asks.toml"
    project.write_text(tiny.project.read_text() + "\n[latency]\nprofile = true\n")
    built = run("build", project, "--out", tmp_path / "dist", "--json")
    assert built.code == 0, built.err
    profile = json.loads(built.out)["targets"]["arm"]["profile"]
    assert profile["reason"] is None
    assert sum(part["ms"] for part in profile["parts"]) == pytest.approx(profile["sum_ms"])
