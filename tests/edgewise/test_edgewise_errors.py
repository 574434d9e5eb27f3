"""Wrong input, as a new user gives it: one clear line, the right exit code, nothing left behind."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image

Run = Callable[..., Any]


def fails(run: Run, arguments: list[str | Path], code: int, *said: str) -> None:
    """The command ends with `code` and one line that holds all of `said`; `--out` never appears."""
    outcome = run(*arguments)
    line = outcome.line
    assert outcome.code == code, line
    assert line.startswith("error: ")
    for part in said:
        assert part in line
    if "--out" in arguments:
        assert not Path(arguments[arguments.index("--out") + 1]).exists()


def test_a_text_file_named_onnx(run: Run, tiny: Any, tmp_path: Path) -> None:
    tiny.model.write_text("this is no model\n" * 20)
    fails(
        run, tiny.build_flags(tmp_path / "dist"), 3, "model.onnx: cannot read", "not an ONNX file"
    )


def test_a_truncated_model(run: Run, tiny: Any, tmp_path: Path) -> None:
    whole = tiny.model.read_bytes()
    tiny.model.write_bytes(whole[: len(whole) * 2 // 3])
    fails(run, tiny.build_flags(tmp_path / "dist"), 3, "model.onnx: cannot read", "truncated")


def test_an_empty_model(run: Run, tiny: Any, tmp_path: Path) -> None:
    tiny.model.write_bytes(b"")
    fails(run, tiny.build_flags(tmp_path / "dist"), 3, "model.onnx: cannot read")


def test_an_input_name_that_does_not_exist(run: Run, tiny: Any, tmp_path: Path) -> None:
    flags = [*tiny.build_flags(tmp_path / "dist"), "--input-shape", "picture=1,3,8,8"]
    fails(run, flags, 2, "no input 'picture'", "its inputs are image")


def test_data_for_another_input(run: Run, tiny: Any, tmp_path: Path) -> None:
    np.savez(tiny.calibration, picture=np.zeros((2, 3, 8, 8), np.float32))
    fails(run, tiny.build_flags(tmp_path / "dist"), 4, "calibration.npz", "picture", "image")


def test_missing_model(run: Run, tiny: Any, tmp_path: Path) -> None:
    tiny.model.unlink()
    fails(run, tiny.build_flags(tmp_path / "dist"), 2, "model.onnx: no such file")


@pytest.mark.parametrize("which", ["calibration", "evaluation"])
def test_missing_data(run: Run, tiny: Any, tmp_path: Path, which: str) -> None:
    getattr(tiny, which).unlink()
    flags = tiny.build_flags(tmp_path / "dist")
    fails(run, flags, 2, f"{which}.npz: no such file or folder", f"the {which} data")


def test_evaluation_pictures_without_labels(
    run: Run, tiny: Any, pictures: Path, tmp_path: Path
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for index, picture in enumerate(sorted(pictures.rglob("*.jpg"))):
        shutil.copy(picture, flat / f"{index}.jpg")
    flags = [*tiny.build_flags(tmp_path / "dist"), "--evaluation", flat]
    fails(run, flags, 4, "needs labels", "one sub-folder per class")


def test_a_corrupt_jpeg_among_good_ones(
    run: Run, tiny: Any, pictures: Path, tmp_path: Path
) -> None:
    bad = sorted(pictures.rglob("*.jpg"))[3]
    bad.write_bytes(bad.read_bytes()[:40])
    flags = [*tiny.build_flags(tmp_path / "dist"), "--calibration", pictures]
    fails(run, flags, 4, bad.name, "cannot read this picture")


def test_nan_in_calibration_data(run: Run, tiny: Any, tmp_path: Path) -> None:
    images = np.zeros((4, 3, 8, 8), np.float32)
    images[2, 0, 1, 1] = np.nan
    np.savez(tiny.calibration, image=images)
    fails(run, tiny.build_flags(tmp_path / "dist"), 4, "calibration.npz[2]", "NaN")


def test_an_unsupported_operator_is_told_for_all_targets(
    run: Run, tiny: Any, tmp_path: Path, make_model: Callable[..., onnx.ModelProto]
) -> None:
    onnx.save(
        make_model([helper.make_node("RandomNormalLike", ["hidden"], ["scores"], "noise")]),
        tiny.model,
    )
    flags = [*tiny.build_flags(tmp_path / "dist"), "--target", "apple", "--target", "android"]
    fails(
        run, flags, 3, "node 'noise' (RandomNormalLike)", "android, apple cannot take this operator"
    )


def test_a_file_where_the_output_folder_should_be(run: Run, tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    flags = tiny.build_flags(tmp_path / "file" / "dist")
    fails(run, flags, 2, "cannot write here", "Choose another output folder")
    assert (tmp_path / "file").read_text() == "in the way"


def test_an_output_folder_without_permission_is_told_before_any_work(
    run: Run, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> str:
        raise PermissionError(13, "Permission denied")

    tiny.model.write_text("never read")  # a model error would show that work had begun
    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    fails(run, tiny.build_flags(tmp_path / "dist"), 2, "cannot write here", "Permission denied")


def test_grayscale_among_colour_pictures_is_a_finding(
    run: Run, tiny: Any, pictures: Path, tmp_path: Path
) -> None:
    gray = sorted(pictures.rglob("*.jpg"))[0]
    Image.open(gray).convert("L").save(gray)
    out = tmp_path / "statistics.npz"
    outcome = run("calibrate", tiny.model, "--calibration", pictures, "--out", out)
    assert outcome.code == 0, outcome.err
    assert out.is_file()


def test_no_calibration_data(run: Run, tiny: Any, tmp_path: Path) -> None:
    flags = ["build", tiny.model, "--out", tmp_path / "dist"]
    fails(run, flags, 2, "calibration data is missing", "--calibration")


def test_a_precision_that_a_target_lacks(run: Run, tiny: Any, tmp_path: Path) -> None:
    flags = [*tiny.build_flags(tmp_path / "dist"), "--precision", "arm=w4"]
    fails(run, flags, 3, "w4", "arm")


def test_an_unknown_metric(run: Run, tiny: Any, tmp_path: Path) -> None:
    flags = [*tiny.build_flags(tmp_path / "dist"), "--metric", "top2"]
    fails(run, flags, 2, "unknown metric 'top2'", "top1")


def test_a_budget_that_needs_data(run: Run, tiny: Any, tmp_path: Path) -> None:
    flags: list[str | Path] = [
        "build", tiny.model, "--calibration", tiny.calibration, "--out", tmp_path / "dist",
        "--accuracy-drop", "0.01",
    ]  # fmt: skip
    fails(run, flags, 2, "budget 'accuracy_drop' cannot be checked", "--evaluation")


def test_no_project_and_no_model(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fails(run, ["build"], 2, "no project file and no model", "edgewise.toml")


def test_foreign_files_are_not_replaced(run: Run, tiny: Any, tmp_path: Path) -> None:
    source = tmp_path / "android" / "MainActivity.kt"
    source.parent.mkdir()
    source.write_text("class MainActivity")
    outcome = run(*tiny.build_flags(tmp_path))
    assert outcome.code == 2
    assert "android: was not written by Edgewise" in outcome.line
    assert source.read_text() == "class MainActivity"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bild"], "No such command 'bild'"),
        (["build", "--tagret", "arm"], "No such option"),
        (["build", "m.onnx", "--limit", "many"], "--limit"),
        (["build", "m.onnx", "--target", "appel"], "unknown target 'appel'"),
        (["build", "m.onnx", "--resize", "big"], "--resize: found 'big'"),
        (["build", "m.onnx", "--input-shape", "1,3,8,8"], "--input-shape: found '1,3,8,8'"),
        (["build", "m.onnx", "--precision", "w8a8", "--precision", "fp32"], "--precision"),
        (["build", "m.onnx", "--method", "guess"], "--method: found 'guess'; allowed: minmax"),
        (["quantize", "m.onnx"], "Missing"),
    ],
)
def test_wrong_command_lines(run: Run, arguments: list[str], said: str) -> None:
    fails(run, [*arguments], 2, said)


def test_an_unknown_option_of_a_target_is_refused_before_any_work(
    run: Run, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import edgewise.pipeline

    def work(*_: object, **__: object) -> None:
        pytest.fail("nothing may be exported yet")

    monkeypatch.setattr(edgewise.pipeline, "_export", work)
    tiny.project.write_text(tiny.project.read_text() + "bach = 1\n")
    arguments = ["build", str(tiny.project), "--out", str(tmp_path / "dist")]
    fails(run, arguments, 2, "[targets.arm]: unknown option 'bach'. Known options: ", "batch")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("[targets.arm]\nbatch = 0", "[targets.arm]: option 'batch' is 0. Allowed: a whole number"),
        ("[targets.android]\nio = 'int4'", "[targets.android]: option 'io' is 'int4'. Allowed: "),
        (
            "[targets.android]\nprecision = 'fp32'\nio = 'uint8'",
            "[targets.android]: io = 'uint8' contradicts precision fp32",
        ),
        ("[targets.android]\nlayout = 'CHWN'", "option 'layout' is 'CHWN'. Allowed: NHWC, NCHW"),
        ("[targets.apple]\ncompute = 'fp8'", "[targets.apple]: compute must be one of fp16, fp32"),
    ],
)
def test_a_value_that_an_option_cannot_have_is_refused_before_any_work(
    run: Run, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, said: str
) -> None:
    import edgewise.pipeline

    def work(*_: object, **__: object) -> None:
        pytest.fail("nothing may be exported yet")

    monkeypatch.setattr(edgewise.pipeline, "_export", work)
    tiny.project.write_text(tiny.project.read_text().replace("[targets.arm]", table))
    fails(run, ["build", str(tiny.project), "--out", str(tmp_path / "dist")], 2, said)


def test_a_defect_is_one_line_without_v_and_a_traceback_with_it(
    run: Run, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import edgewise.pipeline

    def break_down(*_: object, **__: object) -> None:
        raise LookupError("lost\nin the middle")

    monkeypatch.setattr(edgewise.pipeline, "export_model", break_down)
    flags = tiny.build_flags(tmp_path / "dist")
    fails(run, flags, 70, "unexpected LookupError: lost in the middle", "please report")
    told = run(*flags, "-v")
    assert told.code == 70
    assert "Traceback" in told.err and "break_down" in told.err


def test_out_of_memory(
    run: Run, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import edgewise.pipeline

    def exhaust(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(edgewise.pipeline, "collect_statistics", exhaust)
    fails(run, tiny.build_flags(tmp_path / "dist"), 70, "out of memory")


def test_help_without_arguments(run: Run) -> None:
    outcome = run()
    assert outcome.code == 0
    assert "validate" in outcome.out


def test_version(run: Run) -> None:
    import edgewise

    outcome = run("--version")
    assert (outcome.code, outcome.out.strip()) == (0, f"edgewise {edgewise.__version__}")


def test_the_console_script_is_this_one() -> None:
    from importlib.metadata import entry_points

    (script,) = (e for e in entry_points(group="console_scripts") if e.name == "edgewise")
    assert script.load().__module__ == "edgewise.__main__"
