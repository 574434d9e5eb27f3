"""LSTM, GRU and RNN: emitted, run in the interpreter, compared with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from edgewise.targets.apple import TARGET
from edgewise.targets.apple.interpreter.kernels import KERNELS
from edgewise.targets.apple.interpreter.program import load_program

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_LENGTH, _INPUTS, _HIDDEN = 5, 3, 4


def _layer(make: Any, kind: str, batch: int, *given: str, **attributes: Any) -> Any:
    """A model of one layer and its feeds; `given` names the optional inputs that it has."""
    count = 2 if attributes.get("direction") == "bidirectional" else 1
    rows = _GATES[kind] * _HIDDEN
    constants = {
        "w": make.random(count, rows, _INPUTS, seed=1, low=-0.7, high=0.7),
        "r": make.random(count, rows, _HIDDEN, seed=2, low=-0.7, high=0.7),
    }
    shape = (count, batch, _HIDDEN)
    axes = (1, 0, 2) if attributes.get("layout") else (0, 1, 2)
    feeds = {"x": make.random(_LENGTH, batch, _INPUTS).transpose(axes)}
    if "b" in given:
        constants["b"] = make.random(count, 2 * rows, seed=3, low=-1, high=1)
    if "p" in given:
        constants["p"] = make.random(count, 3 * _HIDDEN, seed=4, low=-1, high=1)
    if "lengths" in given:
        constants["lengths"] = np.full(batch, _LENGTH, np.int32)
    for name, seed in (("h", 5), ("c", 6)):
        if name in given:
            feeds[name] = make.random(*shape, seed=seed).transpose(axes)
    known = {*constants, *feeds}
    names = ["x", "w", "r", *(n if n in known else "" for n in ("b", "lengths", "h", "c", "p"))]
    while not names[-1]:
        names.pop()
    outputs = ["y", "y_h", "y_c"] if kind == "LSTM" else ["y", "y_h"]
    node = helper.make_node(kind, names, outputs, "layer", hidden_size=_HIDDEN, **attributes)
    return make.build_model([node], feeds, outputs, constants, 22), feeds


def _operations(folder: Path) -> list[str]:
    function = load_program(folder / "model.mlpackage", KERNELS).function
    return [operation.op_type for operation in function.operations]


_LAYERS: list[tuple[str, int, tuple[str, ...], Mapping[str, Any]]] = [
    ("LSTM", 2, (), {}),
    ("LSTM", 2, ("b", "h", "c", "p", "lengths"), {}),
    ("LSTM", 2, ("b", "h", "c", "p"), {"direction": "reverse"}),
    ("LSTM", 2, ("b", "h", "c", "p"), {"direction": "bidirectional"}),
    ("LSTM", 1, ("b",), {"activations": ["HardSigmoid", "Relu", "Sigmoid"]}),
    ("GRU", 1, (), {}),
    ("GRU", 1, ("b", "h", "lengths"), {"direction": "reverse"}),
    ("GRU", 1, ("b", "h"), {"direction": "bidirectional"}),
    ("GRU", 1, ("b",), {"activations": ["Tanh", "Sigmoid"]}),
    ("RNN", 2, ("b", "h"), {"direction": "reverse", "activations": ["Relu"]}),
    ("RNN", 2, ("b", "h"), {"direction": "bidirectional", "activations": ["Tanh", "Sigmoid"]}),
]


@pytest.mark.parametrize(("kind", "batch", "given", "attributes"), _LAYERS)
def test_one_operation_of_core_ml(
    make: Any,
    matches_ort: Any,
    tmp_path: Path,
    kind: str,
    batch: int,
    given: tuple[str, ...],
    attributes: dict[str, Any],
) -> None:
    model, feeds = _layer(make, kind, batch, *given, **attributes)
    matches_ort(model, feeds)
    split = kind != "LSTM" and attributes.get("direction") == "bidirectional"
    assert _operations(tmp_path / "out").count(kind.lower()) == (2 if split else 1)


_EXPANDED: list[tuple[str, int, tuple[str, ...], Mapping[str, Any]]] = [
    ("LSTM", 2, ("b",), {"clip": 0.3}),
    ("LSTM", 1, ("b",), {"input_forget": 1}),
    ("LSTM", 1, ("b",), {"activations": ["Sigmoid", "Softsign", "Tanh"]}),
    ("GRU", 1, ("b", "h"), {"linear_before_reset": 1, "direction": "bidirectional"}),
    ("GRU", 2, ("b", "h"), {}),  # Core ML computes the first sample only
    ("RNN", 1, ("b",), {"activations": ["LeakyRelu"], "activation_alpha": [0.1]}),
]


@pytest.mark.parametrize(("kind", "batch", "given", "attributes"), _EXPANDED)
def test_steps_where_core_ml_computes_something_else(
    make: Any,
    matches_ort: Any,
    tmp_path: Path,
    kind: str,
    batch: int,
    given: tuple[str, ...],
    attributes: dict[str, Any],
) -> None:
    model, feeds = _layer(make, kind, batch, *given, **attributes)
    matches_ort(model, feeds)
    assert kind.lower() not in _operations(tmp_path / "out")


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_batch_first(make: Any, tmp_path: Path, kind: str, direction: str) -> None:
    """ONNX Runtime has no `layout` 1: the same layer with its inputs and outputs transposed."""
    given = ("b", "h", "c") if kind == "LSTM" else ("b", "h")
    found = []
    for layout in (0, 1):
        model, feeds = _layer(make, kind, 1, *given, direction=direction, layout=layout)
        found.append(TARGET.open(TARGET.emit(model, tmp_path / str(layout)).path).run(feeds))
    plain, batch_first = found
    for name, array in plain.items():
        perm = (2, 0, 1, 3) if name == "y" else (1, 0, 2)
        np.testing.assert_allclose(batch_first[name], array.transpose(perm), atol=1e-6)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_sequences_of_several_lengths(
    make: Any, matches_ort: Any, tmp_path: Path, kind: str
) -> None:
    model, feeds = _layer(make, kind, 2, "b", "h", "lengths", direction="bidirectional")
    lengths = model.graph.initializers["lengths"]
    lengths.const_value = ir.tensor(np.array([_LENGTH, 2], np.int32), name="lengths")
    matches_ort(model, feeds)
    assert kind.lower() not in _operations(tmp_path / "out")


@pytest.mark.parametrize("output", ["y", "y_h"])
def test_a_single_output(make: Any, matches_ort: Any, output: str) -> None:
    constants = {"w": make.random(1, 16, 3, seed=1), "r": make.random(1, 16, 4, seed=2)}
    names = [name if name == output else "" for name in ("y", "y_h")]
    node = helper.make_node("LSTM", ["x", "w", "r"], names, hidden_size=4, direction="reverse")
    x = make.random(6, 1, 3)
    matches_ort(make.build_model([node], {"x": x}, [output], constants, 21), {"x": x})


def test_half_precision(make: Any, matches_ort: Any, tmp_path: Path) -> None:
    model, feeds = _layer(make, "LSTM", 1, "b", direction="bidirectional")
    matches_ort(model, feeds, precision="fp16", atol=3e-3)
    assert "lstm" in _operations(tmp_path / "out")
