"""A tiny CNN with its data, and the command line in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgewise.cli import app
from edgewise.cli_run import run_app

CLASSES = 3


def tiny_model(middle: list[onnx.NodeProto] | None = None) -> onnx.ModelProto:
    """image (1, 3, 8, 8) -> Conv -> Relu -> `middle` (hidden to out) or pooling and Gemm."""
    generator = np.random.default_rng(7)
    weights = {
        "w1": generator.standard_normal((4, 3, 3, 3)).astype(np.float32) * 0.3,
        "b1": np.zeros(4, np.float32),
        "w2": generator.standard_normal((CLASSES, 4)).astype(np.float32),
        "b2": np.zeros(CLASSES, np.float32),
    }
    ending = middle or [
        helper.make_node("GlobalAveragePool", ["hidden"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "w2", "b2"], ["scores"], "classify", transB=1),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["raw"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["raw"], ["hidden"], "relu"),
        *ending,
    ]
    shape = [1, CLASSES] if middle is None else None
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., onnx.ModelProto]:
    return tiny_model


@dataclass(frozen=True)
class Tiny:
    """Files of the tiny project, all in one folder."""

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "model.onnx"

    @property
    def calibration(self) -> Path:
        return self.folder / "calibration.npz"

    @property
    def evaluation(self) -> Path:
        return self.folder / "evaluation.npz"

    @property
    def project(self) -> Path:
        return self.folder / "edgewise.toml"

    def build_flags(self, out: Path) -> list[str]:
        return [
            "build", str(self.model), "--calibration", str(self.calibration),
            "--evaluation", str(self.evaluation), "--target", "arm", "--out", str(out),
        ]  # fmt: skip


def write_tiny(folder: Path) -> Tiny:
    tiny = Tiny(folder)
    onnx.save(tiny_model(), tiny.model)
    generator = np.random.default_rng(3)
    images = generator.standard_normal((24, 3, 8, 8)).astype(np.float32)
    np.savez(tiny.calibration, image=images[:8])
    np.savez(tiny.evaluation, image=images[8:], label=np.arange(16) % CLASSES)
    tiny.project.write_text(
        '[model]\nsource = "model.onnx"\nname = "tiny"\n'
        '[data]\ncalibration = "calibration.npz"\nevaluation = "evaluation.npz"\n'
        "[targets.arm]\n"
    )
    return tiny


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    return write_tiny(tmp_path)


@pytest.fixture(scope="session")
def shared_tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """For tests that change nothing in it."""
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six good pictures in three class folders."""
    generator = np.random.default_rng(5)
    folder = tmp_path / "pictures"
    for index in range(6):
        path = folder / f"class{index % CLASSES}" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    return folder


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line of an error; nothing else may be on either stream."""
        assert not self.out, self.out
        (line,) = self.err.splitlines()
        return line


Run = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line, as `edgewise ARGUMENTS`, in this process."""

    def call(*arguments: str | Path) -> Outcome:
        code = run_app(app, [str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call
