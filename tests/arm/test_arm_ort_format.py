"""ORT format: what builds without optimizers load, made on any machine for ARM64."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import edgewise
from edgewise.calibration import quantize_weights
from edgewise.errors import InternalError, ModelError, UsageError
from edgewise.graph import prepare
from edgewise.targets import EmitOptions
from edgewise.targets.arm import TARGET
from edgewise.targets.arm.ort_format import convert
from edgewise.targets.arm.ort_format.canonical import canonical, read, write
from edgewise.targets.arm.ort_format.verify import verify_ort
from edgewise.targets.manifest import load_artifact

Cnn = tuple[Path, Path]
ORT = EmitOptions(name="cnn", options={"ort_format": True})
CONFIG = "cnn.required_operators_and_types.config"
INTEGER = {
    "QuantizeLinear": 1, "QLinearConv": 2, "QLinearAdd": 1, "QLinearGlobalAveragePool": 1,
    "Reshape": 1, "QGemm": 1, "DequantizeLinear": 1,
}  # fmt: skip


def pictures() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(7)
    return {"image": generator.standard_normal((4, 3, 16, 16)).astype(np.float32)}


def operators(content: bytes) -> Counter[str]:
    return Counter(node[5] for node in read(content)[1][7][2])


@pytest.mark.parametrize(("precision", "model"), [("w8a8", 1), ("fp32", 0)])
def test_files(precision: str, model: int, cnn: Cnn, tmp_path: Path) -> None:
    artifact = TARGET.emit(cnn[model], tmp_path, precision, options=ORT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cnn.ort", CONFIG, "manifest.json"]
    document = json.loads((tmp_path / "manifest.json").read_bytes())
    assert set(document["files"]) == {"cnn.ort", CONFIG}
    assert document["options"]["beside"] == [CONFIG]
    session = document["options"]["session"]
    assert session["config"] == {"session.load_model_format": "ORT"}
    call = 'AddSessionConfigEntry(options, "session.load_model_format", "ORT")'
    assert session["in_c"][-1] == call
    assert session["in_java"][-1] == 'addConfigEntry("session.load_model_format", "ORT")'
    assert artifact.size_bytes == artifact.path.stat().st_size
    assert load_artifact(tmp_path).path == load_artifact(tmp_path / "cnn.ort").path == artifact.path


def test_integers_stay_integers_wherever_it_is_made(cnn: Cnn, tmp_path: Path) -> None:
    content = TARGET.emit(cnn[1], tmp_path, "w8a8", options=ORT).path.read_bytes()
    found = operators(content)
    assert {kind: found[kind] for kind in INTEGER} == INTEGER
    assert set(found) - set(INTEGER) <= {"Transpose"}


def test_list_of_operators(cnn: Cnn, tmp_path: Path) -> None:
    TARGET.emit(cnn[1], tmp_path, "w8a8", options=ORT)
    lines = (tmp_path / CONFIG).read_text().splitlines()
    assert lines[:2] == ["# Generated from model/s:", "# - cnn.ort"]
    assert str(tmp_path) not in "".join(lines)
    (ours,) = (line for line in lines if line.startswith("com.microsoft;1;"))
    assert 'QLinearConv{"inputs": {"0": ["int8_t"]}}' in ours


@pytest.mark.parametrize(("precision", "model"), [("w8a8", 1), ("fp32", 0)])
def test_same_bits_as_the_onnx_file(precision: str, model: int, cnn: Cnn, tmp_path: Path) -> None:
    onnx_file = TARGET.emit(cnn[model], tmp_path / "onnx", precision)
    ort_file = TARGET.emit(cnn[model], tmp_path / "ort", precision, options=ORT)
    found, expected = (TARGET.open(a).run(pictures())["logits"] for a in (ort_file, onnx_file))
    if precision == "fp32":  # this machine's own layout of blocks sums in another order
        np.testing.assert_allclose(found, expected, atol=1e-5)
    else:
        np.testing.assert_array_equal(found, expected)


def test_same_bytes_in_another_process(cnn: Cnn, tmp_path: Path) -> None:
    """ONNX Runtime writes its hash tables in an order that changes with each process."""
    here = TARGET.emit(cnn[1], tmp_path / "here", "w8a8", options=ORT)
    script = (
        "import sys\n"
        "from edgewise.targets import EmitOptions\n"
        "from edgewise.targets.arm import TARGET\n"
        "options = EmitOptions(name='cnn', options={'ort_format': True})\n"
        "TARGET.emit(sys.argv[1], sys.argv[2], 'w8a8', options=options)\n"
    )
    there = tmp_path / "there"
    subprocess.run([sys.executable, "-c", script, str(cnn[1]), str(there)], check=True)
    for name in ("cnn.ort", CONFIG, "manifest.json"):
        assert (there / name).read_bytes() == (here.path.parent / name).read_bytes(), name


def test_canonical_form_is_a_fixed_point(cnn: Cnn, tmp_path: Path) -> None:
    content = TARGET.emit(cnn[0], tmp_path, options=ORT).path.read_bytes()
    assert canonical(content) == content
    assert write(read(content)) == content


def test_unknown_fields_are_refused(cnn: Cnn, tmp_path: Path) -> None:
    content = TARGET.emit(cnn[0], tmp_path, options=ORT).path.read_bytes()
    with pytest.raises(InternalError, match="wrote no ORT file"):
        read(b"\0" * 4 + b"TFL3" + content[8:])
    place = int.from_bytes(content[:4], "little")  # of the root table
    back = int.from_bytes(content[place : place + 4], "little", signed=True)
    longer = bytearray(content)
    longer[place - back : place - back + 2] = (14).to_bytes(2, "little")  # one field more
    with pytest.raises(InternalError, match="fields that are not known"):
        read(bytes(longer))


def test_changed_weights_are_noticed(cnn: Cnn) -> None:
    model = onnx.load(cnn[1])
    content = convert(model.SerializeToString(), "cnn.ort").content
    verify_ort(content, model.SerializeToString())
    weight = next(t for t in model.graph.initializer if t.name == "w1_quantized")
    changed = numpy_helper.to_array(weight).copy()
    changed.flat[0] ^= 1
    weight.CopyFrom(numpy_helper.from_array(changed, weight.name))
    with pytest.raises(InternalError, match=r"constant 'w1_quantized': .+ it is another one"):
        verify_ort(content, model.SerializeToString())


def test_logging_is_left_as_it_was(cnn: Cnn) -> None:
    before = list(logging.getLogger().handlers)
    convert(cnn[0].read_bytes(), "cnn.ort")
    assert logging.getLogger().handlers == before


def test_what_the_runtime_refuses() -> None:
    with pytest.raises(ModelError, match=r"in its own format: .+Leave out ort_format"):
        convert(b"no model", "x.ort")


@pytest.mark.parametrize("name", [CONFIG, "cnn.ort"])
def test_a_missing_file_is_noticed(name: str, cnn: Cnn, tmp_path: Path) -> None:
    TARGET.emit(cnn[1], tmp_path, "w8a8", options=ORT)
    (tmp_path / name).unlink()
    with pytest.raises(ModelError, match="is missing"):
        load_artifact(tmp_path)


def test_weights_alone(cnn: Cnn, tmp_path: Path) -> None:
    scheme = replace(TARGET.scheme("w8"), smallest_weight=16)
    qdq = quantize_weights(prepare(cnn[0]), scheme).model
    artifact = TARGET.emit(qdq, tmp_path, "w8", options=ORT)
    assert operators(artifact.path.read_bytes())["DynamicQuantizeMatMul"] == 1


def test_emulated_core_gives_the_bits_of_the_onnx_file(
    cnn: Cnn, tmp_path: Path, cores: tuple[str, str]
) -> None:
    """It finds every kernel there, and gives what the file gives that is optimized there."""
    for precision, model in (("w8a8", cnn[1]), ("fp32", cnn[0])):
        outputs = []
        for options in (EmitOptions(name="cnn"), ORT):
            folder = tmp_path / f"{precision}{len(outputs)}"
            session = TARGET.open(TARGET.emit(model, folder, precision, options=options), cores[0])
            outputs.append(session.run(pictures())["logits"])
            session.close()
        np.testing.assert_array_equal(outputs[1], outputs[0], err_msg=precision)


def test_run_takes_it_with_its_manifest(cnn: Cnn, tmp_path: Path) -> None:
    artifact = TARGET.emit(cnn[1], tmp_path / "out", "w8a8", options=ORT)
    found = edgewise.run(artifact.path, pictures())["logits"]
    np.testing.assert_array_equal(found, TARGET.open(artifact).run(pictures())["logits"])
    alone = tmp_path / "alone.ort"
    alone.write_bytes(artifact.path.read_bytes())
    with pytest.raises(UsageError, match=r"needs its manifest\. Keep manifest\.json"):
        edgewise.run(alone, pictures())


def test_opening_it_says_nothing(
    cnn: Cnn, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime warns of an option that is given twice."""
    artifact = TARGET.emit(cnn[1], tmp_path, "w8a8", options=ORT)
    TARGET.open(artifact).run(pictures())
    assert capfd.readouterr() == ("", "")
