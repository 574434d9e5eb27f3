"""`--instructions`, `--max-instructions` and `--baseline`, from the command line to the report."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgewise.report import report_schema
from edgewise.report.wording import budget_line, instruction_summary
from edgewise.targets.validation import BudgetResult, Instructions
from edgewise.targets.validation.devices.bundle.installation import Installation
from edgewise.targets.validation.devices.counter.device import NOT_INSTALLED

CPU = "emulated:cortex-a76"


def test_this_machine_is_not_counted_and_the_limit_is_missed(
    run: Any, tiny: Any, tmp_path: Path
) -> None:
    out = tmp_path / "dist"
    built = run("build", tiny.project, "--out", out, "--max-instructions", "1e6", "--json")
    assert built.code == 1
    document = json.loads(built.out)
    jsonschema.validate(document, report_schema())
    counted = document["targets"]["arm"]["instructions"]
    assert counted["total"] is None and "emulated devices only" in counted["reason"]
    (row,) = document["targets"]["arm"]["budget"]
    assert (row["name"], row["ok"], row["reason"]) == (
        "max_instructions", False, counted["reason"]
    )  # fmt: skip
    quiet = json.loads(run("validate", out, "--json").out)
    assert quiet["targets"]["arm"]["instructions"]["reason"] == "not asked for"
    assert "instructions" not in run("validate", out).out


def test_a_baseline_needs_an_emulated_device(run: Any, tiny: Any, tmp_path: Path) -> None:
    project = tiny.folder / "baseline.toml"
    project.write_text(tiny.project.read_text() + '\n[latency]\nbaseline = "earlier.json"\n')
    built = run("build", project, "--out", tmp_path / "dist")
    assert built.code == 2
    assert built.err.startswith(f"error: {tiny.folder / 'earlier.json'}: there is nothing to")
    assert not (tmp_path / "dist").exists()


def test_a_damaged_baseline_is_told_before_any_work(run: Any, tiny: Any, tmp_path: Path) -> None:
    path = tmp_path / "earlier.json"
    path.write_text("{}")
    out = tmp_path / "dist"
    built = run("build", tiny.project, "--out", out, "--on", CPU, "--baseline", path)
    assert built.code == 2
    assert "the baseline is no report" in built.err
    assert not out.exists()


@pytest.mark.slow
def test_an_earlier_report_is_a_gate(
    run: Any, tiny: Any, tmp_path: Path, emulator: Installation
) -> None:
    if emulator.counter is None:
        pytest.skip(NOT_INSTALLED)
    out, earlier = tmp_path / "dist", tmp_path / "earlier.json"
    built = run("build", tiny.project, "--out", out, "--on", CPU, "--instructions", "--json")
    assert built.code == 0, built.err
    document = json.loads(built.out)
    jsonschema.validate(document, report_schema())
    assert document["targets"]["arm"]["instructions"]["total"] > 0
    assert f"M on {CPU}" in (out / "report.html").read_text(encoding="utf-8")

    document["targets"]["arm"]["instructions"]["total"] //= 2
    earlier.write_text(json.dumps(document))
    missed = run("validate", out, "--on", CPU, "--baseline", earlier)
    assert missed.code == 1
    rise = re.search(r"arm max_instructions_rise: ([\d.]+), limit 0\.005", missed.err)
    assert rise is not None and float(rise[1]) == pytest.approx(1, abs=0.01), missed.err


def test_counts_are_told_with_their_largest_class_first() -> None:
    counted = Instructions(CPU, 60_300_000, {"simd": 300_000, "dot": 60_000_000, "sve": 0},
                           180_000_000, 0.335, 3)  # fmt: skip
    assert instruction_summary(counted) == f"60.30 M on {CPU}, 0.335 of fp32 (dot 100 %)"
    missing = Instructions.not_counted("local", "the reason")
    assert instruction_summary(missing) == "not counted: the reason"


def test_a_budget_on_instructions_is_told_exactly() -> None:
    row = BudgetResult("max_instructions", 1_000_000, 1_000_001, False)
    assert budget_line("arm", row) == "arm max_instructions: 1000001, limit 1000000"
