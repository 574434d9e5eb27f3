"""`edgewise inspect` and `edgewise.inspect`: what is told, in which form; bad input in a line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import flatbuffers
import jsonschema
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

import edgewise
from edgewise.cli import app
from edgewise.cli_run import run_app
from edgewise.errors import ModelError, UsageError
from edgewise.graph import save
from edgewise.inspection.document import inspection_schema


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = run_app(app, ["inspect", *map(str, arguments)])
    out, err = capfd.readouterr()
    return code, out, err


def test_one_screen(capfd: pytest.CaptureFixture[str], cnn_file: Path) -> None:
    code, out, err = run(capfd, cnn_file, "--no-targets")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert all(len(line) <= 100 for line in lines if str(cnn_file) not in line)
    assert "inputs       image  batch x 3 x 8 x 8  float32" in lines
    assert "parameters   132 float32 (528 bytes)" in lines
    assert "MACs         6.93 k: Conv 6.91 k, Gemm 20; for batch = 1 (--input-shape)" in lines
    assert "activations  1.8 kB alive at once at 'conv'" in lines
    assert "precision    fp32 in 2 layers (6.93 k)" in lines
    assert lines[0].endswith(", ONNX, opset 21, ir 10")


def test_each_layer(capfd: pytest.CaptureFixture[str], cnn_file: Path) -> None:
    code, out, _ = run(
        capfd, cnn_file, "--no-targets", "--layers", "--input-shape", "image=2,3,8,8"
    )
    assert code == 0
    head, conv, *_ = out.partition("\n\n")[2].splitlines()
    assert head.split() == ["layer", "operator", "output", "params", "MACs", "precision", "live",
                            "bytes"]  # fmt: skip
    macs, live = 2 * 64 * 4 * 27, 2 * 64 * (3 + 4) * 4
    assert conv.split() == [
        "conv", "Conv", "2", "x", "4", "x", "8", "x", "8", "112", f"{macs:,}", "fp32", f"{live:,}",
    ]  # fmt: skip


def test_targets_are_told_with_their_reasons(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, make_graph: Any
) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "fine"),
        helper.make_node("NonZero", ["r"], ["s"], "places"),
    ]
    model = make_graph(nodes, {"x": [1, 4]}, ["r", "s"], dtypes={"s": onnx.TensorProto.INT64})
    save(model, tmp_path / "model.onnx")
    code, out, _ = run(capfd, tmp_path / "model.onnx", "--target", "android", "--target", "arm")
    assert code == 0  # that a target refuses is what was asked, and no error
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    assert set(rows["android"]) == {"no"}
    assert set(rows["arm"]) == {"yes"}
    assert "apple" not in rows
    assert "android: 'places' (NonZero): the size of its output 's' depends on its data." in out


def test_the_document_keeps_its_schema(
    capfd: pytest.CaptureFixture[str], cnn_file: Path, tmp_path: Path
) -> None:
    code, out, _ = run(capfd, cnn_file, "--json", "--target", "arm")
    assert code == 0
    document = json.loads(out)
    jsonschema.validate(document, inspection_schema())
    assert document["format"] == "edgewise-inspection-1"
    assert document["macs"]["total"] == 64 * 4 * 27 + 20
    assert {row["target"] for row in document["targets"]} == {"arm"}
    assert all(row["takes"] for row in document["targets"])
    assert document == edgewise.inspect(cnn_file, targets=["arm"]).as_dict()


def test_a_model_in_memory_is_left_as_it_is(make_graph: Any) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], "conv")
    model: ir.Model = make_graph(
        [node], {"x": ["batch", 3, 4, 4]}, ["y"], {"w": np.ones((2, 3, 1, 1), np.float32)}
    )
    facts = edgewise.inspect(model, targets=())
    assert facts.kind == "onnx-model"
    assert facts.macs.total == 16 * 6
    assert facts.size_bytes is None
    assert facts.inputs[0].shape == ("batch", 3, 4, 4)
    (value,) = model.graph.inputs
    assert str(value.shape) == "[batch,3,4,4]"


def test_what_is_computed_from_is_said_of_other_sources(tmp_path: Path, cnn_file: Path) -> None:
    source = tmp_path / "made.py"
    source.write_text(f"import onnx\ndef make():\n    return onnx.load({str(cnn_file)!r})\n")
    facts = edgewise.inspect(f"{source}:make", targets=())
    assert facts.macs.total == 64 * 4 * 27 + 20
    assert "hub model" in facts.remarks[0]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["absent.onnx"], 2, "no such file"),
        (["absent.mlpackage"], 2, "no such"),
        (["absent.tflite"], 2, "no such file"),
        (["cut.onnx"], 3, "truncated"),
        (["cut.tflite"], 3, "cannot read the model"),
        (["cut.ort"], 3, "cannot read the model"),
        (["notes.txt"], 3, "cannot read files of type '.txt'"),
        (["folder"], 3, "cannot read this folder"),
        (["folder"], 3, ".mlpackage, or the folder of a target"),
        (["dist"], 2, "holds 3. Inspect one of them: dist/android, dist/apple, dist/stages.onnx."),
        (["empty.mlpackage"], 3, "Manifest.json"),
        (["cnn.onnx", "--input-shape", "picture=1,3,8,8"], 2, "no input 'picture'"),
        (["cnn.onnx", "--input-shape", "image=1,3"], 2, "rank"),
        (["cnn.onnx", "--target", "mars"], 2, "unknown target 'mars'"),
        (["cnn.onnx", "--exporter", "best"], 2, "allowed: auto"),
    ],
)
def test_bad_input_is_one_line(
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    cnn_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cnn.onnx").write_bytes(cnn_file.read_bytes())
    (tmp_path / "cut.onnx").write_bytes(cnn_file.read_bytes()[:300])
    (tmp_path / "cut.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(10))
    (tmp_path / "cut.ort").write_bytes(b"\x1c\x00\x00\x00ORTM" + bytes(3))
    (tmp_path / "notes.txt").write_text("no model")
    for folder in ("folder", "empty.mlpackage", "dist/android", "dist/apple", "dist/notes"):
        (tmp_path / folder).mkdir(parents=True)
    for file in (
        "android/manifest.json",
        "apple/manifest.json",
        "notes/report.json",
        "stages.onnx",
    ):
        (tmp_path / "dist" / file).write_text("{}")
    found, out, err = run(capfd, *arguments)
    assert found == code, err
    assert out == ""
    if "mlpackage" not in arguments[0]:  # libraries that coremltools imports here may chatter
        assert err.count("\n") == 1
    (line,) = (line for line in err.splitlines() if line.startswith("error: "))
    assert words in line
    assert "Traceback" not in err


@pytest.mark.parametrize("kind", [".onnx", ".ort", ".tflite"])
def test_damaged_files_never_break_it(tmp_path: Path, cnn_file: Path, kind: str) -> None:
    """Whatever bytes are changed to, the answer is facts or one of our errors."""
    whole = _artifact(tmp_path, cnn_file, kind).read_bytes()
    random = np.random.default_rng(0)
    for _ in range(40):
        content = bytearray(whole[: random.integers(len(whole) // 2, len(whole) + 1)])
        content[random.integers(8, len(content))] ^= 0xFF
        damaged = tmp_path / f"damaged{kind}"
        damaged.write_bytes(bytes(content))
        try:
            edgewise.inspect(damaged, targets=())
        except (ModelError, UsageError) as error:
            assert "\n" not in str(error)


def _artifact(folder: Path, model: Path, kind: str) -> Path:
    name = "android" if kind == ".tflite" else "arm"
    options = edgewise.targets.EmitOptions(options={"ort_format": True} if kind == ".ort" else {})
    made = edgewise.targets.get(name).emit(_fixed(model), folder / name, "fp32", options=options)
    assert made.path.suffix == kind
    return made.path


def test_sizes_that_no_machine_has_are_not_tried(tmp_path: Path, cnn_file: Path) -> None:
    """LiteRT takes any size of a file at its word, and would fill the memory."""
    from ai_edge_litert import schema_py_generated as schema

    path = _artifact(tmp_path, cnn_file, ".tflite")
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    (graph,) = model.subgraphs
    computed = next(t for t in graph.tensors if not t.buffer and t.shape.size == 4)
    computed.shape = np.array([1, 40_000, 40_000, 8], np.int32)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    damaged = tmp_path / "huge.tflite"
    damaged.write_bytes(bytes(builder.Output()))
    memory = edgewise.inspect(damaged, targets=()).memory
    assert memory.arena_bytes is None
    assert memory.peak_bytes is not None and memory.peak_bytes > 40_000**2 * 32


def test_names_that_are_no_text_make_a_model_invalid(tmp_path: Path, cnn_file: Path) -> None:
    damaged = tmp_path / "names.onnx"
    damaged.write_bytes(cnn_file.read_bytes().replace(b"twice", b"tw\xffce"))
    with pytest.raises(ModelError, match="is not a valid ONNX model"):
        edgewise.inspect(damaged, targets=())


def _fixed(path: Path) -> ir.Model:
    return edgewise.export(path, input_shapes={"image": [1, 3, 8, 8]}).model


def test_a_look_at_a_file_imports_no_framework(cnn_file: Path) -> None:
    code = (
        "import sys; from edgewise.inspection import read; read(sys.argv[1]); "
        "print(*sorted({'torch', 'tensorflow', 'coremltools', 'onnxscript', 'pydantic', 'rich'}"
        " & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(cnn_file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
