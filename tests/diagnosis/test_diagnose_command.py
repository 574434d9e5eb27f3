"""`edgewise diagnose` as a user calls it."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import jsonschema
import numpy as np
import onnx_ir as ir
import pytest

import edgewise
from edgewise import stages
from edgewise.calibration import Recipe, Statistics, collect_statistics
from edgewise.calibration.quantize_for import quantize_for
from edgewise.calibration.repairs import RepairInput, apply_repairs
from edgewise.cli import app
from edgewise.cli_run import run_app
from edgewise.data.preprocessing import DataSettings
from edgewise.diagnosis.document import diagnosis_schema
from edgewise.graph import load, prepare, save
from edgewise.hub_data import open_for

DIGITS = Path(edgewise.__file__).resolve().parents[2] / "sample_models" / "digits"
DATA = str(DIGITS / "calibration.npz")


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a build leaves, as far as a diagnosis looks at it."""
    folder = tmp_path_factory.mktemp("dist")
    hub = prepare(load(DIGITS / "digits.onnx"))
    statistics = collect_statistics(hub, open_for(hub, DATA, DataSettings()), limit=200)
    save(hub, folder / "stages" / stages.HUB)
    statistics.save(folder / "stages" / stages.STATISTICS)
    for target in ("android", "apple"):
        out = folder / "stages" / stages.qdq_name(target)
        stages.quantize(hub, statistics, target=target, out=out)
    return folder


def run(*arguments: str | Path) -> int:
    return run_app(app, ["diagnose", *map(str, arguments)])


def test_a_folder_gives_text_json_and_a_plot(
    build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document, picture = tmp_path / "d.json", tmp_path / "d.svg"
    options = ("--calibration", DATA, "--limit", "2", "--top", "3")
    assert run(build, *options, "--json", document, "--plot", picture) == 0
    text = capsys.readouterr().out
    assert "android w8a8: outputs have an SQNR of" in text
    assert "apple w8a8: outputs have an SQNR of" in text
    assert f"plot: {picture}" in text

    found = json.loads(document.read_text())
    jsonschema.validate(found, diagnosis_schema())
    assert found["format"] == "edgewise-diagnosis-1"
    assert list(found["targets"]) == ["android", "apple"]
    for diagnosis in found["targets"].values():
        shares = [layer["share"] for layer in diagnosis["layers"]]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1.0)
        assert diagnosis["samples"] == 2
        assert diagnosis["not_switched"] == []
        assert all(layer["causes"] for layer in diagnosis["layers"][:3])
        assert "logits" in {tensor["name"] for tensor in diagnosis["tensors"]}

    drawn = ElementTree.parse(picture).getroot()
    lines = drawn.findall(".//{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 4
    assert "http" not in picture.read_text().replace("http://www.w3.org/2000/svg", "")


def test_a_hub_model_with_statistics(
    build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Gives what the folder gives for the same target."""
    hub, statistics = build / "stages" / stages.HUB, build / "stages" / stages.STATISTICS
    options = ("--calibration", DATA, "--limit", "2", "--target", "android")
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    assert run(hub, "--statistics", statistics, *options, "--json", one) == 0
    assert run(build, *options, "--json", two) == 0
    assert one.read_bytes() == two.read_bytes()
    capsys.readouterr()


def test_a_project_file_names_folder_and_data(
    build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "edgewise.toml"
    project.write_text(
        f'[model]\nsource = "{DIGITS / "digits.onnx"}"\n[data]\ncalibration = "{DATA}"\n'
        '[output]\ndir = "dist"\n[targets.android]\n'
    )
    assert run(project) == 2
    assert "the project has not been built" in capsys.readouterr().err
    shutil.copytree(build, tmp_path / "dist")
    assert run(project, "--target", "android", "--limit", "1") == 0
    assert "over 1 sample\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--calibration", DATA, "--target", "phone"), 2, "phone"),
        (("--calibration", DATA, "--target", "arm"), 2, "no quantized model for arm"),
        (("--calibration", DATA, "--limit", "0"), 2, "--limit"),
        (("--calibration", DATA, "--top", "-1"), 2, "--top"),
        (("--calibration", DATA, "--statistics", "s.npz"), 2, "has its own statistics"),
        (("--calibration", "nowhere.npz"), 2, "no such file or folder"),
        ((), 2, "data is missing"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    arguments: tuple[str, ...],
    code: int,
    message: str,
    build: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(build, *arguments) == code
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_repairs_of_a_search_are_done_again(
    build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its QDQ model has the repaired weights, its hub model those before."""
    dist = tmp_path / "dist"
    hub, statistics = load(build / "stages" / stages.HUB), build / "stages" / stages.STATISTICS
    scheme = edgewise.targets.get("apple").scheme("w8a8")
    recipe = Recipe(repairs=("equalize",), float_nodes=frozenset({"node_linear"}))
    source = open_for(hub, DATA, DataSettings())
    given = RepairInput(source, Statistics.load(statistics), scheme, recipe)
    done = apply_repairs(hub, recipe.repairs, given)
    qdq = quantize_for(done.model, done.statistics, scheme, recipe).model
    save(hub, dist / "stages" / stages.HUB)
    save(qdq, dist / "stages" / stages.qdq_name("apple"))
    shutil.copy(statistics, dist / "stages")
    report = {"search": {"apple": {"recipe": recipe.as_dict()}}}
    (dist / "report.json").write_text(json.dumps(report))
    out = tmp_path / "d.json"
    assert run(dist, "--calibration", DATA, "--limit", "1", "--json", out) == 0
    found = json.loads(out.read_text())["targets"]["apple"]
    assert "node_linear" not in {name for layer in found["layers"] for name in layer["nodes"]}
    (dist / "report.json").write_text('{"search": {"apple": {"recipe": {"unknown": 1}}}}')
    assert run(dist, "--calibration", DATA) == 3
    assert "cannot read the report" in capsys.readouterr().err
    (dist / "report.json").unlink()
    assert run(dist, "--calibration", DATA, "--limit", "1") == 3
    assert "made from another model" in capsys.readouterr().err


def test_paths_that_are_no_build_or_model(
    build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--calibration", DATA) == 2
    assert "not the output folder of a build" in capsys.readouterr().err
    assert run(tmp_path / "none.onnx", "--calibration", DATA) == 2
    assert "no such file" in capsys.readouterr().err
    hub = build / "stages" / stages.HUB
    assert run(hub, "--calibration", DATA) == 2
    assert "the target is missing" in capsys.readouterr().err
    assert run(hub, "--calibration", DATA, "--target", "arm") == 2
    assert "statistics are missing" in capsys.readouterr().err


def test_a_qdq_model_of_other_weights(
    build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(build, tmp_path / "dist")
    hub = load(build / "stages" / stages.HUB)
    for value in hub.graph.initializers.values():
        if value.const_value is not None and len(value.const_value.shape) == 4:
            array = np.asarray(value.const_value.numpy())
            value.const_value = ir.tensor(array[::-1].copy(), name=value.name)
    save(hub, tmp_path / "dist" / "stages" / stages.HUB)
    assert run(tmp_path / "dist", "--calibration", DATA, "--limit", "1") == 3
    assert "made from another model" in capsys.readouterr().err
