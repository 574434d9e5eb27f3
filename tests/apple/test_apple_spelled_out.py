"""GELU and normalizations that a model spells out are one operation of Core ML."""

from __future__ import annotations

from math import pi, sqrt

import numpy as np
import pytest
from onnx import helper

from edgewise.targets.apple import TARGET
from edgewise.targets.apple.package import read_package

NUMBERS = {
    "half": 0.5, "one": 1.0, "two": 2.0, "three": 3.0, "root": sqrt(2), "cubic": 0.044715,
    "outer": sqrt(2 / pi), "eps": 1e-5,
}  # fmt: skip
ERF = ["Div x root a", "Erf a b", "Add b one c", "Mul x c d", "Mul d half y"]
TANH = [
    "Pow x three a", "Mul a cubic b", "Add x b c", "Mul c outer d", "Tanh d e", "Add e one f",
    "Mul x half g", "Mul g f y",
]  # fmt: skip
LAYER = [
    "ReduceMean x last m", "Sub x m d", "Pow d two s", "ReduceMean s last v", "Add v eps w",
    "Sqrt w r", "Div d r q", "Mul q scale p", "Add p shift y",
]  # fmt: skip
ROOT_MEAN_SQUARE = [
    "Mul x x s", "ReduceMean s last v", "Add v eps w", "Sqrt w r", "Div x r q", "Mul q scale y",
]  # fmt: skip


def _model(make, text, size=1.0):
    nodes = []
    for line in text:
        kind, *names = line.split()
        nodes.append(helper.make_node(kind, names[:-1], names[-1:], name=f"{kind}_{names[-1]}"))
    constants = {name: np.array(number, np.float32) for name, number in NUMBERS.items()}
    constants |= {"scale": make.random(8, seed=1), "shift": make.random(8, seed=2)}
    x = size * make.random(2, 3, 8)
    constants["last"] = np.array([-1])
    return make.build_model(nodes, {"x": x}, ["y"], constants, opset=18), {"x": x}


def _kinds(tmp_path):
    operations = read_package(tmp_path / "out/model.mlpackage").operations
    return [o.kind for o in operations if o.kind not in ("cast", "const", "identity")]


@pytest.mark.parametrize(("text", "kind"), [(ERF, "gelu"), (TANH, "gelu"), (LAYER, "layer_norm")])
def test_one_operation(make, matches_ort, tmp_path, text, kind):
    model, feeds = _model(make, text)
    matches_ort(model, feeds)
    assert _kinds(tmp_path) == [kind]


@pytest.mark.parametrize("text", [LAYER, ROOT_MEAN_SQUARE])
def test_squares_that_half_precision_has_not(make, tmp_path, text):
    """Of numbers in the hundreds, whose squares spelled out would be infinite in fp16."""
    model, feeds = _model(make, text, size=200)
    assert np.abs(feeds["x"]).max() ** 2 > np.finfo(np.float16).max
    exact = TARGET.open(TARGET.emit(model, tmp_path / "fp32", "fp32")).run(feeds)["y"]
    found = TARGET.open(TARGET.emit(model, tmp_path / "fp16", "fp16")).run(feeds)["y"]
    np.testing.assert_allclose(found, exact, atol=0.02)


def test_what_only_looks_like_gelu_stays(make, matches_ort, tmp_path):
    model, feeds = _model(make, [line.replace("root", "two") for line in ERF])
    matches_ort(model, feeds)
    assert "erf" in _kinds(tmp_path)
