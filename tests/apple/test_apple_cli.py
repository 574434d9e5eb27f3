"""The apple target on the command line: every option reaches it, and what cannot be is one line
with its exit code, told before any work is done for it and with nothing left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewise.cli import app
from edgewise.cli_run import run_app

Nodes = list[onnx.NodeProto]
Shape = list[int | str]


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    def call(*arguments: object) -> Outcome:
        code = run_app(app, [str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


def save(
    path: Path,
    nodes: Nodes,
    inputs: dict[str, Shape],
    outputs: dict[str, Shape],
    constants: dict[str, np.ndarray] | None = None,
) -> Path:
    def infos(shapes: dict[str, Shape]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]

    held = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(nodes, "made", infos(inputs), infos(outputs), held)
    opsets = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """A model of free length."""
    free: Shape = ["batch", "tokens", 8]
    relu = helper.make_node("Relu", ["x"], ["y"], "relu")
    return save(tmp_path / "tokens.onnx", [relu], {"x": free}, {"y": free})


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    weight = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["s"], "product"),
        helper.make_node("Softmax", ["s"], ["probs"], "softmax"),
    ]
    return save(tmp_path / "s.onnx", nodes, {"x": [1, 64]}, {"probs": [1, 3]}, {"w": weight})


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A state that follows its input, and a sum over it."""
    nodes = [
        helper.make_node("Add", ["k", "n"], ["k2"], "write"),
        helper.make_node("ReduceSum", ["k2"], ["y"], "read", keepdims=0),
    ]
    return save(
        tmp_path / "cache.onnx", nodes, {"k": [1, 4, 8], "n": [1, 4, 8]}, {"k2": [1, 4, 8], "y": []}
    )


def manifest(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "manifest.json").read_text())
    return found


@pytest.mark.parametrize("sizes", ["1,4,8; 1,8,8", "1,4..16,8"])
def test_a_model_of_free_length_is_built_with_shapes(
    run: Callable[..., Outcome], tokens: Path, tmp_path: Path, sizes: str
) -> None:
    out = tmp_path / "out"
    option = ("--set", f'targets.apple.shapes={{x = "{sizes}"}}')
    build = ("build", tokens, "--target", "apple", "--precision", "fp16", "--out", out)
    assert run(*build, *option).code == 0
    assert manifest(out / "apple")["options"]["shapes"] == {"x": sizes}  # type: ignore[index]

    listed = run("run", out / "apple")
    assert listed.code == 0 and f"(sizes {sizes})" in listed.out

    np.savez(tmp_path / "8.npz", x=np.ones((1, 8, 8), np.float32))
    assert run("run", out / "apple", "-i", tmp_path / "8.npz").code == 0
    np.savez(tmp_path / "17.npz", x=np.ones((1, 17, 8), np.float32))
    refused = run("run", out / "apple", "-i", tmp_path / "17.npz")
    assert refused.code == 4
    assert refused.err == (
        f"error: input 'x': float32 [1, 17, 8] does not fit: it takes float32 {sizes}\n"
    )


def test_a_stage_takes_shapes_as_a_build_does(
    run: Callable[..., Outcome], tokens: Path, tmp_path: Path
) -> None:
    option = ("--set", 'targets.apple.shapes={x = "1,4..16,8"}')
    emit = ("emit", tokens, "--target", "apple", "--out", tmp_path / "out")
    assert run(*emit, *option).code == 0
    without = run(*emit[:-1], tmp_path / "without")
    assert without.code == 3 and "its shape is [1, tokens, 8]" in without.err


def test_labels_of_a_file(run: Callable[..., Outcome], scores: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\nbird\n\n")
    out = tmp_path / "out"
    emit = ("emit", scores, "--target", "apple", "--set", "targets.apple.classifier=true")
    assert run(*emit, "--labels", labels, "--out", out).code == 0
    assert manifest(out)["labels"] == ["cat", "dog", "bird"]
    build = ("build", scores, "--target", "apple", "--precision", "fp16", "--labels", labels)
    assert run(*build, "--out", tmp_path / "dist").code == 0
    assert manifest(tmp_path / "dist" / "apple")["labels"] == ["cat", "dog", "bird"]


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        (None, 2, "[targets.apple] classifier: there are no labels. Give --labels FILE"),
        ("a\nb\n", 2, "there are 2 labels, and no output has as many values"),
        ("a\n\nb\n", 4, "cannot read the labels: line 2 is empty"),
        ("", 4, "cannot read the labels: the file is empty"),
        ("a\nb\na\n", 2, "label 'a' occurs twice"),
    ],
)
def test_labels_that_are_none(
    run: Callable[..., Outcome],
    scores: Path,
    tmp_path: Path,
    text: str | None,
    code: int,
    told: str,
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text(text or "")
    given = () if text is None else ("--labels", labels)
    option = ("--set", "targets.apple.classifier=true")
    outcome = run("emit", scores, "--target", "apple", "--out", tmp_path / "out", *option, *given)
    assert outcome.code == code and told in outcome.err and outcome.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "code", "told"),
    [
        (['targets.apple.states={k = "z"}'], 2, "the model has no output 'z'"),
        (['targets.apple.states={k = "y"}'], 3, "'k' and 'y' cannot be a state"),
        (
            ['targets.apple.states={k = "k2"}', "targets.apple.deployment_target=iOS17"],
            3,
            "a state needs iOS18: deployment_target is iOS17",
        ),
        (["targets.apple.deployment_target=iOS16"], 3, "w8a8 needs iOS17"),
        (["targets.apple.deployment_target=iOS9"], 2, "unknown deployment target 'iOS9'"),
        (["targets.apple.fold_preprocessing=true"], 2, "needs to know the preprocessing"),
        (["targets.apple.block_size=32"], 2, "option 'block_size' has no meaning"),
        (['targets.apple.shapes={z = "1,4"}'], 2, "the model has no input 'z'"),
        (["targets.apple.speed=9"], 2, "unknown option 'speed'"),
    ],
)
def test_what_cannot_be_is_told_before_calibration(
    run: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
    cache: Path,
    tmp_path: Path,
    settings: list[str],
    code: int,
    told: str,
) -> None:
    def calibrate(*_: object, **__: object) -> None:
        raise AssertionError("calibrated in vain")

    monkeypatch.setattr("edgewise.pipeline.collect_statistics", calibrate)
    data, values = tmp_path / "data.npz", np.zeros((8, 4, 8), np.float32)
    np.savez(data, k=values, n=values)
    flags = [part for setting in settings for part in ("--set", setting)]
    build = ("build", cache, "--target", "apple", "--calibration", data, "--out", tmp_path / "out")
    outcome = run(*build, *flags)
    assert outcome.code == code, outcome.err
    assert told in outcome.err and outcome.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_operator_that_needs_a_newer_system_is_told_before_calibration(
    run: Callable[..., Outcome], tmp_path: Path
) -> None:
    image: Shape = [1, 3, 8, 8]
    resize = helper.make_node(
        "Resize", ["x", "", "s"], ["y"], "grow", mode="linear",
        coordinate_transformation_mode="half_pixel",
    )  # fmt: skip
    scales = {"s": np.array([1, 1, 1.5, 1.5], np.float32)}
    model = save(tmp_path / "m.onnx", [resize], {"x": image}, {"y": [1, 3, 12, 12]}, scales)
    wanted = ("--set", 'targets.apple.shapes={x = "1,3,8..16,8..16"}')
    demanded = ("--set", "targets.apple.deployment_target=iOS15")
    emit = ("emit", model, "--target", "apple", "--out", tmp_path / "out")
    outcome = run(*emit, *wanted, *demanded)
    assert outcome.code == 3 and "needs iOS16: deployment_target is iOS15" in outcome.err


def test_a_refused_operator_is_told_once(run: Callable[..., Outcome], tmp_path: Path) -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["i"], "found"),
        helper.make_node("Cast", ["i"], ["c"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Relu", ["c"], ["y"], "relu"),
    ]
    model = save(tmp_path / "m.onnx", nodes, {"x": [3, 4]}, {"y": [2, "n"]})
    outcome = run("emit", model, "--target", "apple", "--out", tmp_path / "out")
    assert outcome.code == 3
    assert outcome.err.startswith(
        "error: node 'found' (NonZero): apple cannot take this operator: "
    )
    assert outcome.err.count("cannot take this operator") == 1


@pytest.mark.parametrize(
    ("precision", "told"),
    [
        ("fp16", "precision fp16 has nothing to quantize"),
        ("w8a8", "statistics are missing: precision w8a8"),
        ("w8a16", "the apple target does not offer 'w8a16'. Choose one of fp16, w8a8, w8, w4"),
    ],
)
def test_quantizing_without_what_it_takes(
    run: Callable[..., Outcome], scores: Path, tmp_path: Path, precision: str, told: str
) -> None:
    out = tmp_path / "q.onnx"
    arguments = ("quantize", scores, "--target", "apple", "--precision", precision, "-o", out)
    outcome = run(*arguments)
    assert outcome.code in (2, 3) and told in outcome.err and not out.exists()


def test_missing_data_names_every_precision_that_needs_none(
    run: Callable[..., Outcome], scores: Path, tmp_path: Path
) -> None:
    outcome = run("build", scores, "--target", "apple", "--out", tmp_path / "out")
    assert outcome.code == 2
    assert "needs none: fp16, w8, w4, palette8, palette6, palette4, fp32" in outcome.err
    both = run("build", scores, "--out", tmp_path / "out")
    assert "needs none: w8, w4, fp16, fp32." in both.err  # what all three offer


def test_a_palette_of_nothing_is_refused(
    run: Callable[..., Outcome], scores: Path, tmp_path: Path
) -> None:
    emit = ("emit", scores, "--target", "apple", "--precision", "palette4")
    outcome = run(*emit, "--out", tmp_path / "out")
    assert outcome.code == 3 and "no weight has 2048 values or more" in outcome.err
    assert not (tmp_path / "out").exists()


def test_layers_of_several_sizes_are_compared(run: Callable[..., Outcome], tmp_path: Path) -> None:
    weight = np.random.default_rng(1).normal(size=(8, 4, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["y"], "pool"),
    ]
    inputs: dict[str, Shape] = {"x": ["n", 4, "h", "w"]}
    model = save(tmp_path / "m.onnx", nodes, inputs, {"y": ["n", 8, 1, 1]}, {"w": weight})
    data = tmp_path / "data.npz"
    values = np.random.default_rng(2).normal(size=(6, 4, 16, 16)).astype(np.float32)
    np.savez(data, x=values)
    outcome = run(
        "build", model, "--target", "apple", "--calibration", data, "--evaluation", data,
        "--metric", "none", "--set", 'targets.apple.shapes={x = "1,4,8,8; 1,4,16,16"}',
        "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    layers = json.loads(outcome.out)["targets"]["apple"]["equivalence"]["layers"]
    assert layers["reason"] is None and layers["layers"] == 3 and layers["beyond"] == 0


def test_states_and_labels_are_listed(
    run: Callable[..., Outcome], cache: Path, scores: Path, tmp_path: Path
) -> None:
    out = tmp_path / "cache"
    option = ("--set", 'targets.apple.states={k = "k2"}')
    assert run("emit", cache, "--target", "apple", "--out", out, *option).code == 0
    rows = [line.split() for line in run("run", out).out.splitlines()]
    assert ["state", "k", "1", "x", "4", "x", "8", "float16"] in rows
    assert [row[:2] for row in rows[1:]] == [["input", "n"], ["state", "k"], ["output", "y"]]

    labels, named = tmp_path / "labels.txt", tmp_path / "named"
    labels.write_text("cat\ndog\nbird\n")
    emit = ("emit", scores, "--target", "apple", "--labels", labels, "--out", named)
    assert run(*emit, "--set", "targets.apple.classifier=true").code == 0
    assert "classLabel        scalar  label, or values by label" in run("run", named).out
