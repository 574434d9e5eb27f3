"""`edgewise run` and `edgewise.run`: packages, TFLite and ONNX files on arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import edgewise
from edgewise.arrays_file import read_arrays, write_arrays
from edgewise.cli import app
from edgewise.cli_run import run_app
from edgewise.errors import DataError, EdgewiseError, ModelError, UsageError
from edgewise.graph import OrtSession, load, prepare
from edgewise.targets import EmitOptions, get

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """Exit code, result and errors of `edgewise run ...`."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run_app(app, ["run", *map(str, arguments)])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def files(make_model: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny network (image to scores) as an ONNX file and as artifacts of two targets."""
    folder = tmp_path_factory.mktemp("run")
    onnx.save(make_model(), folder / "alone.onnx")
    hub = prepare(load(folder / "alone.onnx"))
    artifacts = {
        target: get(target).emit(hub, folder / target, "fp32", options=EmitOptions(name="tiny"))
        for target in ("android", "apple")
    }
    moved = folder / "moved.tflite"
    moved.write_bytes(artifacts["android"].path.read_bytes())
    paths = {target: artifact.path for target, artifact in artifacts.items()}
    return {"onnx": folder / "alone.onnx", "tflite": moved, **paths}


@pytest.fixture(scope="module")
def image() -> Any:
    return np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def scores(files: dict[str, Path], image: Any) -> Any:
    return OrtSession(files["onnx"]).run({"image": image})["scores"]


@pytest.mark.parametrize("kind", ["onnx", "android", "apple"])
def test_every_kind_gives_the_same(
    kind: str, files: dict[str, Path], image: Any, scores: Any, tmp_path: Path, command: Command
) -> None:
    np.savez(tmp_path / "x.npz", image=image.astype(np.float64))
    path, y = files[kind], tmp_path / "new" / "y.npz"
    code, out, err = command(path, "--input", tmp_path / "x.npz", "--output", y)
    assert (code, err) == (0, "")
    head, row, last = out.splitlines()
    assert head.split() == ["output", "shape", "type", "min", "max", "mean", "std"]
    assert row.split()[:5] == ["scores", "1", "x", "3", "float32"]
    assert float(row.split()[5]) == pytest.approx(scores.min(), rel=1e-3)
    assert last == f"outputs: {y}"
    np.testing.assert_allclose(np.load(y)["scores"], scores, atol=1e-5)
    np.testing.assert_allclose(edgewise.run(path, {"image": image})["scores"], scores, atol=1e-5)


def test_a_tflite_file_without_its_manifest_has_its_own_layout(
    files: dict[str, Path], image: Any, scores: Any
) -> None:
    with pytest.raises(DataError, match=r"float32 \[1, 3, 8, 8\] does not fit: it takes"):
        edgewise.run(files["tflite"], {"image": image})
    (found,) = edgewise.run(files["tflite"], {"image": np.moveaxis(image, 1, -1)}).values()
    np.testing.assert_allclose(found, scores, atol=1e-5)


@pytest.mark.parametrize("kind", ["onnx", "tflite", "android", "apple"])
def test_without_input_the_tensors_are_listed(
    kind: str, files: dict[str, Path], command: Command
) -> None:
    code, out, _ = command(files[kind])
    shape = "1 x 8 x 8 x 3" if kind == "tflite" else "1 x 3 x 8 x 8"
    assert code == 0
    assert [line.split(maxsplit=2)[:2] for line in out.splitlines()[1:]] == [
        ["input", "image"],
        ["output", "scores"],
    ]
    assert f"{shape}  float32" in out


def test_the_folder_of_an_artifact(files: dict[str, Path], image: Any, scores: Any) -> None:
    found = edgewise.run(files["apple"].parent, {"image": image})["scores"]
    np.testing.assert_allclose(found, scores, atol=1e-5)


def test_an_artifact_is_checked_against_its_manifest(
    files: dict[str, Path], image: Any, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(files["apple"].parent, tmp_path / "copy")
    weights = next((tmp_path / "copy").rglob("weight.bin"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelError, match="content is not what the manifest describes"):
        edgewise.run(tmp_path / "copy" / "tiny.mlpackage", {"image": image})


def test_rounding_and_threads(files: dict[str, Path], image: Any, tmp_path: Path) -> None:
    hub = prepare(load(files["onnx"]))
    path = get("apple").emit(hub, tmp_path, "fp16").path
    rounded, exact = (
        edgewise.run(path, {"image": image}, threads=2, rounding=rounding)["scores"]
        for rounding in ("declared", "none")
    )
    assert 0 < np.abs(rounded - exact).max() < 0.05


def test_infinities_and_nan_are_told(tmp_path: Path, command: Command) -> None:
    node = helper.make_node("Log", ["x"], ["y"])
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in "xy"]
    graph = helper.make_graph([node], "log", sides[:1], sides[1:])
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), tmp_path / "l.onnx")
    np.savez(tmp_path / "x.npz", x=np.array([-1, 0, 1], np.float32))
    code, out, _ = command(tmp_path / "l.onnx", "-i", tmp_path / "x.npz")
    assert code == 0
    assert "warning: output 'y' holds 1 NaN and 1 infinities" in out


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "there is no array for input 'image': the inputs are 'image'"),
        ({"x": np.zeros(1, np.float32)}, "there is no input 'x': the inputs are 'image'"),
        (
            {"image": np.zeros((1, 3, 8, 9), np.float32)},
            "input 'image': float32 [1, 3, 8, 9] does not fit: it takes float32 [1, 3, 8, 8]",
        ),
        (
            {"image": np.zeros((1, 3, 8, 8), np.int32)},
            "input 'image': int32 [1, 3, 8, 8] does not fit: it takes float32 [1, 3, 8, 8]",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["onnx", "android", "apple"])
def test_unfit_arrays(
    kind: str, arrays: Any, message: str, files: dict[str, Path], tmp_path: Path, command: Command
) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    code, out, err = command(files[kind], "-i", tmp_path / "x.npz", "-o", tmp_path / "y.npz")
    assert (code, out, err) == (DataError.exit_code, "", f"error: {message}\n")
    assert not (tmp_path / "y.npz").exists()


@pytest.mark.parametrize("damage", ["absent", "text", "cut", "flipped", "one array", "objects"])
def test_unreadable_arrays(
    damage: str, files: dict[str, Path], tmp_path: Path, command: Command
) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, image=np.zeros((1, 3, 8, 8), np.float32))
    content = bytearray(path.read_bytes())
    if damage == "absent":
        path.unlink()
    elif damage == "text":
        path.write_text("text")
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[300] ^= 1
        path.write_bytes(content)
    elif damage == "one array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    else:
        np.savez(path, image=np.array([{}], object), allow_pickle=True)
    code, out, err = command(files["apple"], "--input", path)
    assert (code, out) == (DataError.exit_code, "")
    assert err.startswith(f"error: {path}: cannot read the arrays")
    assert err.count("\n") == 1


def test_wrong_uses(files: dict[str, Path], tmp_path: Path, command: Command) -> None:
    (tmp_path / "model.mlmodel").write_bytes(b"")
    for arguments, message in [
        ((tmp_path / "absent.onnx",), "no such file"),
        ((tmp_path / "model.mlmodel",), "not a model file that can be run"),
        ((files["onnx"], "--rounding", "none"), "--rounding is for a .mlpackage"),
        ((files["onnx"], "--function", "main"), "--function is for a .mlpackage"),
        ((files["apple"], "--function", "other"), "no function 'other'"),
        ((files["apple"], "--rounding", "up"), "found 'up'; allowed: declared, none"),
        ((files["apple"], "--threads", "0"), "found 0; allowed: 1 and more"),
        ((files["apple"], "--output", "y.npz"), "nothing to write"),
    ]:
        code, out, err = command(*arguments)
        assert (code, out) == (UsageError.exit_code, ""), arguments
        assert message in err
        assert err.count("\n") == 1


@pytest.mark.parametrize("suffix", [".onnx", ".tflite", ".mlpackage"])
def test_files_that_are_not_what_they_say(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(EdgewiseError) as caught:
        edgewise.run(path, {})
    assert caught.value.exit_code in (3, 5)
    assert "\n" not in str(caught.value)


def test_whole_numbers_must_fit(tmp_path: Path) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    sides = [helper.make_tensor_value_info(name, TensorProto.INT8, [2]) for name in "xy"]
    graph = helper.make_graph([node], "same", sides[:1], sides[1:])
    opset = helper.make_opsetid("", 17)
    path = tmp_path / "same.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), path)
    assert edgewise.run(path, {"x": np.array([-128, 127])})["y"].tolist() == [-128, 127]
    with pytest.raises(DataError, match="int8 is -128 to 127"):
        edgewise.run(path, {"x": np.array([0, 128])})


def test_arrays_keep_any_name_and_their_bytes(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {
        "file": np.arange(3),
        "a/b:0 é": np.zeros((2, 0), np.float16),
        "t": np.array("cat"),
    }
    one, two = tmp_path / "one.npz", tmp_path / "two.npz"
    write_arrays(one, arrays)
    write_arrays(two, arrays)
    assert one.read_bytes() == two.read_bytes()
    found = read_arrays(one)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
