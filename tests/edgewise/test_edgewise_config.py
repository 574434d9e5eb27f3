"""Project files: what they mean, and what is said about wrong ones."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from edgewise.config import Project, project_schema
from edgewise.config_file import EVERY_TARGET, Override, from_flags, load_project
from edgewise.errors import UsageError

MODEL = '[model]\nsource = "m.onnx"\n'


def load(folder: Path, text: str) -> Project:
    path = folder / "edgewise.toml"
    path.write_text(text)
    return load_project(path)


WRONG = {
    "nothing": ("", "[model]: is missing"),
    "no source": ("[model]\n", "[model] source: is missing"),
    "typing error": (
        MODEL + "nmae = 'a'",
        "[model] nmae: unknown key. Did you mean 'name'? Allowed",
    ),
    "unknown table": (MODEL + "[dat]\n", "[dat]: unknown key. Did you mean 'data'?"),
    "a table that is none": ("model = 3", "[model]: found 3; allowed: a table"),
    "text for a number": (
        MODEL + '[data]\nlimit = "2"',
        "[data] limit: found '2'; allowed: a whole number of at least 1",
    ),
    "a truth for a number": (MODEL + "[data]\nlimit = true", "[data] limit: found True; allowed"),
    "zero": (
        MODEL + "[latency]\nthreads = 0",
        "[latency] threads: found 0; allowed",
    ),
    "choice": (
        MODEL + '[data.image]\ncolor = "red"',
        "[data.image] color: found 'red'; allowed: rgb, bgr, gray",
    ),
    "in a list": (
        MODEL + '[data.image]\nmean = [1.0, "a"]',
        "[data.image] mean: found [1.0, 'a']; allowed: a number, or a list",
    ),
    "std of zero": (
        MODEL + "[data.image]\nstd = 0",
        "[data.image] std: found 0; allowed: a",
    ),
    "not a number": (MODEL + "[budget]\nmin_accuracy = nan", "[budget] min_accuracy: found nan"),
    "shape": (
        MODEL + '[model.input_shapes]\nx = [1, "a b"]',
        "[model.input_shapes] x: found 'a b'; allowed: a list of whole numbers",
    ),
    "unknown target": (
        MODEL + "[targets.androd]",
        "[targets] androd: unknown target. Did you mean 'android'? Allowed: android, apple, arm",
    ),
    "precision": (
        MODEL + '[targets.arm]\nprecision = "w9"',
        "[targets.arm] precision: found 'w9'; allowed: fp32, fp16,",
    ),
    "misspelt precision": (
        MODEL + '[targets.arm]\nprecison = "fp32"',
        "[targets.arm] precison: unknown key. Did you mean 'precision'?",
    ),
    "budget": (
        MODEL + "[budget]\nacc_drop = 1",
        "[budget] acc_drop: unknown key. Did you mean 'accuracy_drop'?",
    ),
    "budget of a target": (
        MODEL + "[budget.arm]\nmax_size_mb = -1",
        "[budget.arm] max_size_mb: found -1; allowed: a number above 0",
    ),
    "key of a target's budget": (MODEL + "[budget.arm]\nx = 1", "[budget.arm] x: unknown key."),
    "name": (MODEL + 'name = "../up"', "[model] name: found '../up'; allowed: letters, digits"),
    "syntax": ("[model\n", "is not valid TOML: Expected ']'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_named_with_key_and_remedy(tmp_path: Path, case: str) -> None:
    text, expected = WRONG[case]
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'edgewise.toml'}: ")
    assert expected in message
    assert "\n" not in message


def test_several_problems_are_told_together(tmp_path: Path) -> None:
    wrong = MODEL + "[data]\nlimit = 0\nx = 1\ny = 2\nz = 3\n"
    with pytest.raises(UsageError, match=r"limit.*\[data\] x.*\[data\] y.*; and 1 more") as caught:
        load(tmp_path, wrong)
    assert str(caught.value).count("edgewise.toml") == 3


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "edgewise.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not a UTF-8 text file"):
        load_project(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.toml: no such file"):
        load_project(tmp_path / "gone.toml")


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    project = load(
        tmp_path,
        MODEL + '[data]\ncalibration = "data.py:calib"\nevaluation = "package.data:eval"',
    )
    assert project.model.source == str(tmp_path / "m.onnx")
    assert project.data.calibration == str(tmp_path / "data.py:calib")
    assert project.data.evaluation == "package.data:eval"
    assert project.out_dir == tmp_path / "dist"
    assert project.folder == tmp_path


def test_all_targets_by_default_in_one_order(tmp_path: Path) -> None:
    assert list(load(tmp_path, MODEL).target_tables) == ["android", "apple", "arm"]
    some = load(tmp_path, MODEL + "[targets.arm]\n[targets.android]\nprecision = 'int8'")
    assert list(some.target_tables) == ["android", "arm"]
    assert some.target_tables["android"].precision == "w8a8"


def test_options_of_a_target(tmp_path: Path) -> None:
    project = load(tmp_path, MODEL + "[targets.arm]\nbatch = 4\nprecision = 'fp32'")
    assert project.targets["arm"].options == {"batch": 4}


def test_a_target_s_budget_wins_over_the_general_one(tmp_path: Path) -> None:
    project = load(
        tmp_path,
        MODEL + "[budget]\naccuracy_drop = 0.01\nmax_size_mb = 5\n[budget.arm]\nmax_size_mb = 1",
    )
    arm, apple = project.budget.for_target("arm"), project.budget.for_target("apple")
    assert (arm.accuracy_drop, arm.max_size_mb) == (0.01, 1)
    assert (apple.accuracy_drop, apple.max_size_mb) == (0.01, 5)


def test_flags_win_and_keep_what_they_do_not_name(tmp_path: Path) -> None:
    path = tmp_path / "edgewise.toml"
    path.write_text(
        MODEL + "[data]\nlimit = 5\nmetric = 'top5'\n"
        "[targets.arm]\nprecision = 'fp32'\nbatch = 2\n[targets.apple]\n"
    )
    flags = from_flags({("data", "limit"): 7, ("data", "metric"): None, ("output", "dir"): "here"})
    project = load_project(path, flags, targets=["arm"])
    assert (project.data.limit, project.data.metric) == (7, "top5")
    assert project.out_dir == Path("here")
    assert list(project.targets) == ["arm"]
    assert project.targets["arm"].precision == "fp32"
    assert project.targets["arm"].options == {"batch": 2}


def test_a_precision_for_every_target_adds_none(tmp_path: Path) -> None:
    path = tmp_path / "edgewise.toml"
    path.write_text(MODEL + "[targets.arm]\n[targets.apple]\n")
    apple = Override(("targets", "apple", "precision"), "--precision", "fp16")
    every = Override(("targets", EVERY_TARGET, "precision"), "--precision", "fp32")
    project = load_project(path, [apple, every])
    assert {n: t.precision for n, t in project.targets.items()} == {"arm": "fp32", "apple": "fp16"}
    path.write_text(MODEL)
    assert len(load_project(path, [every]).targets) == 3


def test_an_error_in_a_flag_names_the_flag(tmp_path: Path) -> None:
    path = tmp_path / "edgewise.toml"
    path.write_text(MODEL)
    with pytest.raises(UsageError, match=r"^--limit: found 0; allowed: a whole number"):
        load_project(path, from_flags({("data", "limit"): 0}))


def test_an_unknown_target_flag() -> None:
    source = Override(("model", "source"), "argument", "m.onnx")
    with pytest.raises(UsageError, match=r"unknown target 'appel'\. Did you mean 'apple'\?"):
        load_project(None, [source], targets=["appel"])


def test_the_schema_agrees_with_the_models(tmp_path: Path) -> None:
    import jsonschema

    validator = jsonschema.Draft202012Validator(project_schema())
    validator.check_schema(project_schema())
    good = MODEL + (
        "[data.image]\ncrop = [2, 3]\nmean = 1.5\nstd = [1, 2, 3]\n"
        "[targets.arm]\nprecision = 'int8'\n"
        "[budget]\nmax_size_mb = 3\n[budget.arm]\nmin_speedup = 1"
    )
    load(tmp_path, good)
    validator.validate(tomllib.loads(good))
    for case in ("typing error", "choice", "zero", "unknown target", "budget of a target"):
        assert not validator.is_valid(tomllib.loads(WRONG[case][0])), case
