"""Sources that cannot be exported, as a new user gives them: one clear line, the right exit code,
no hub model left behind."""

from __future__ import annotations

import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from edgewise.exporters.opened import SourceOptions
from edgewise.exporters.source import FILES, FOLDERS, OBJECTS, TAKEN
from edgewise.exporters.taken_options import FLAGS

Run = Callable[..., Any]


@pytest.fixture
def fails(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`edgewise export ARGUMENTS` in `tmp_path` ends with the code and one line that holds all of
    what is expected; gives the line."""
    monkeypatch.chdir(tmp_path)

    def check(arguments: str, code: int, *said: str) -> str:
        before = {path.name for path in tmp_path.rglob("*") if path.suffix != ".pyc"}
        outcome = run("export", *arguments.split())
        line: str = outcome.line
        assert outcome.code == code, line
        assert line.startswith("error: ") and "Traceback" not in line
        for part in said:
            assert part in line, line
        after = {path.name for path in tmp_path.rglob("*") if path.suffix != ".pyc"}
        assert after - before <= {"__pycache__"}
        return line

    return check


@pytest.fixture
def tiny_onnx(tiny: Any, tmp_path: Path) -> Path:
    return tiny.model.rename(tmp_path / "tiny.onnx")


@pytest.mark.parametrize("name", ["notes.txt", "model.zip", "model", "model.json"])
def test_files_of_other_kinds(fails, tmp_path, name):
    (tmp_path / name).write_text("hello")
    if name.endswith(".zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("model.onnx", b"")
    fails(name, 3, f"{name}: cannot read", "as a model", "A model is")


def test_an_output_that_cannot_be_written_is_told_before_the_work(fails, tmp_path):
    (tmp_path / "cut.onnx").write_bytes(b"x")  # that it is damaged would be told otherwise
    (tmp_path / "folder").mkdir()
    fails("cut.onnx --out folder", 2, "folder: is a folder, not a file", "--out")
    fails("cut.onnx --out cut.onnx/a/hub.onnx", 2, "cannot write here")
    fails("cut.onnx --out new/a/hub.onnx", 3, "truncated")


def test_folders_of_other_kinds(fails, tmp_path):
    (tmp_path / "empty").mkdir()
    fails("empty", 3, "empty: cannot read this folder as a model", "A model is")
    (tmp_path / "m.mlpackage").mkdir()
    (tmp_path / "m.mlpackage" / "Manifest.json").write_text("{}")
    fails("m.mlpackage", 3, "m.mlpackage: cannot read", "A model is")


def test_nothing_there(fails):
    fails("gone.onnx", 2, "gone.onnx: no such file")
    fails("gone.py:Net", 2, "gone.py:Net: no such file")
    fails("gone_module:Net", 2, "there is no module 'gone_module'")


EXTRAS = [
    ("m.keras", "tensorflow"),
    ("m.h5", "tensorflow"),
    ("m.tflite", "tensorflow"),
    ("m.pt2", "torch"),
    ("m.pt", "torch"),
    ("m.safetensors", "torch"),
]


@pytest.mark.parametrize(("name", "extra"), EXTRAS)
def test_missing_extras(fails, tmp_path, monkeypatch, name, extra):
    (tmp_path / name).write_bytes(b"PK\x03\x04" + b"\0" * 100)
    missing = ("torch", "tensorflow", "keras", "tf_keras", "tf2onnx", "safetensors")
    for module in (*missing, "safetensors.torch"):  # what was imported before would be found
        monkeypatch.setitem(sys.modules, module, None)
    fails(name, 2, "need ", f"Run: pip install 'edgewise[{extra}]'")


def test_missing_extra_of_a_folder(fails, tmp_path, monkeypatch):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"x")
    for module in ("tensorflow", "keras", "tf2onnx"):
        monkeypatch.setitem(sys.modules, module, None)
    fails("saved", 2, "need ", "Run: pip install 'edgewise[tensorflow]'")


@pytest.mark.parametrize("flag", ["--weights=w.pth", "--signature=s", "--task=t", "--allow-code"])
def test_options_that_are_not_for_onnx(fails, tiny_onnx, flag):
    name = flag.partition("=")[0]
    fails(
        f"tiny.onnx {flag.replace('=', ' ')}", 2, f"{name} ([model] ", "is not for ONNX models",
        "Leave it away",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("source", "flags", "refused"),
    [
        ("m.keras", "--signature serve", "--signature"),
        ("m.h5", "--exporter dynamo", "--exporter"),
        ("m.tflite", "--weights w", "--weights"),
        ("m.pt2", "--task image-classification", "--task"),
        ("net.py:Net", "--task image-classification", "--task"),
        ("net.py:Net", "--signature serve", "--signature"),
    ],
)
def test_options_of_other_kinds(fails, tmp_path, source, flags, refused):
    if source.startswith("net.py"):
        pytest.importorskip("torch")
        (tmp_path / "net.py").write_text("import torch\nNet = torch.nn.Identity\n")
    else:
        (tmp_path / source).write_bytes(b"x")
    fails(f"{source} {flags}", 2, f"{source}: {refused} ([model] {refused[2:]}) is not for")


def test_every_opener_says_what_it_takes():
    openers = {*FILES.values(), *FOLDERS.values(), *OBJECTS.values()}
    assert openers <= set(TAKEN)
    assert set(FLAGS) == set(SourceOptions.__slots__) - {"input_shapes", "example", "base"}
    for taken in TAKEN.values():
        assert set(taken.options) <= set(FLAGS)


def write_net(folder: Path, forward: str, extra: str = "") -> str:
    """A PyTorch module with that forward; how to name it."""
    (folder / "net.py").write_text(
        "import torch\n\n"
        "class Net(torch.nn.Module):\n"
        f"    {extra or 'pass'}\n"
        "    def forward(self, x):\n"
        f"        {forward}\n"
    )
    return "net.py:Net"


@pytest.mark.parametrize("forward", ["return x * 2"])
def test_pytorch_without_shapes(fails, tmp_path, forward):
    pytest.importorskip("torch")
    source = write_net(tmp_path, forward)
    fails(source, 2, "net.py:Net: the shapes of the inputs are not known", "forward takes x")


def test_pytorch_with_control_flow_that_data_decide(fails, tmp_path):
    pytest.importorskip("torch")
    source = write_net(tmp_path, "return x * 2 if x.sum() > 0 else x - 1")
    line = fails(f"{source} --exporter dynamo --input-shape x=1,3", 3, "net.py")
    assert len(line) < 700


def test_pytorch_that_raises(fails, tmp_path):
    pytest.importorskip("torch")
    source = write_net(tmp_path, "raise RuntimeError('broken on purpose')")
    fails(f"{source} --input-shape x=1,3", 3, "net.py:Net", "broken on purpose")


def test_a_factory_that_gives_no_model(fails, tmp_path):
    (tmp_path / "thing.py").write_text("def make():\n    return 42\n")
    fails("thing.py:make", 3, "thing.py:make: is no model", "found int")
    (tmp_path / "needs.py").write_text("def make(width):\n    return width\n")
    fails("needs.py:make", 2, "takes arguments", "width")


def test_code_that_ends_the_program(fails, run, tmp_path):
    """Scripts do that: they parse a command line, or train when they are imported."""
    (tmp_path / "quits.py").write_text("import sys\ndef make():\n    sys.exit(7)\n")
    fails(
        "quits.py:make", 3, "quits.py:make: the factory failed", "SystemExit: 7 (quits.py, line 3)"
    )
    (tmp_path / "script.py").write_text("raise SystemExit('usage: script.py DATA')\n")
    fails("script.py:make", 3, "failed while it was imported", "usage: script.py DATA")
    (tmp_path / "stopped.py").write_text("def make():\n    raise KeyboardInterrupt\n")
    assert run("export", "stopped.py:make").code == 130


def test_operators_of_other_domains(fails, tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Secret", ["x"], ["y"], "secret", domain="my.company")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my.company", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "c.onnx")
    fails("c.onnx", 3, "Secret", "my.company")


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return (open, ("trapped", "w"))


@pytest.mark.parametrize("name", ["m.pt", "m.pth", "m.bin", "m.ckpt"])
def test_checkpoints_with_code(fails, tmp_path, name):
    torch = pytest.importorskip("torch")
    torch.save({"weight": Trap()}, tmp_path / name)
    fails(name, 3, name, "--allow-code")
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("name", ["m.pkl", "m.joblib", "m.pt", "m.bin"])
def test_plain_pickles_with_code(fails, tmp_path, name):
    pytest.importorskip("torch")
    (tmp_path / name).write_bytes(pickle.dumps(Trap()))
    fails(name, 3, name)
    assert not (tmp_path / "trapped").exists()


TRUNCATED = {
    "m.onnx": 3,
    "m.pt2": 3,
    "m.pt": 3,
    "m.safetensors": 3,
    "m.tflite": 3,
}


@pytest.mark.parametrize(("name", "code"), TRUNCATED.items())
@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"PK\x03\x04" + b"\0" * 60])
def test_files_that_are_cut_or_something_else(fails, tmp_path, name, code, content):
    if not name.endswith(".onnx"):
        pytest.importorskip("torch")
    (tmp_path / name).write_bytes(content)
    fails(name, code, name)


@pytest.mark.slow  # TensorFlow takes seconds to import
@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n" + b"\0" * 64, b"PK\x03\x04"])
def test_keras_files_that_are_cut(fails, tmp_path, name, content):
    pytest.importorskip("tensorflow")
    (tmp_path / name).write_bytes(content)
    fails(name, 3, name)


@pytest.mark.slow  # TensorFlow takes seconds to import
def test_a_cut_saved_model(fails, tmp_path):
    pytest.importorskip("tensorflow")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"\xff" * 40)
    fails("saved", 3, "saved")
