"""Scalars, constants and what the model computes from nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

from edgewise.errors import ModelError, UnsupportedOperator
from edgewise.targets import EmitOptions
from edgewise.targets.apple import TARGET

X = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)


def parsed(text: str, opset: int = 21) -> ir.Model:
    header = f'<ir_version: 10, opset_import: ["" : {opset}]>\n'
    return ir.from_proto(onnx.parser.parse_model(header + text))


@pytest.mark.parametrize("dtype", ["float32", "int64", "int32", "bool"])
def test_scalars_come_in_and_go_out(
    matches_ort: Callable[..., Any], tmp_path: Path, dtype: str
) -> None:
    name = "float" if dtype == "float32" else dtype
    source = parsed(
        f"g ({name} s, float[2,3] x) => ({name} t, float[2,3] y)"
        " { t = Identity(s) f = Cast<to = 1>(s) y = Mul(x, f) }"
    )
    matches_ort(source, {"s": np.array(1, dtype), "x": X})
    session = TARGET.open(next((tmp_path / "out").glob("*.mlpackage")))
    with pytest.raises(ModelError, match=r"shape \(1,\) does not fit"):
        session.run({"s": np.array([1], dtype), "x": X})


def test_constants_as_outputs(matches_ort: Callable[..., Any]) -> None:
    source = parsed(
        """g (float[2,3] x) => (int64[2] s, int64 n, float[3] k, float[2,2] z, float[2,3] y)
        <float[3] k = {1.0, 2.0, 3.0}, int64[2] d = {2, 2}> {
          s = Shape(x) n = Size(x) z = ConstantOfShape<value = float[1] {0.5}>(d) y = Neg(x)
        }"""
    )
    matches_ort(source, {"x": X})


def test_a_model_without_inputs_needs_a_system_that_runs_it(tmp_path: Path) -> None:
    source = parsed("g () => (float[2] y) { y = Constant<value_floats = [1.5, 2.5]>() }")
    artifact = TARGET.emit(source, tmp_path / "free")
    assert TARGET.open(artifact.path).run({})["y"].tolist() == [1.5, 2.5]
    assert artifact.manifest.options["minimum_deployment_target"] == "iOS18"
    options = EmitOptions(options={"deployment_target": "iOS17"})
    with pytest.raises(ModelError, match="a model without inputs needs iOS18"):
        TARGET.emit(source, tmp_path / "old", options=options)


def test_a_filled_tensor_is_computed_with(matches_ort: Callable[..., Any]) -> None:
    source = parsed(
        """g (float[2,3] x) => (float[2,3] y) {
          s = Shape(x) f = ConstantOfShape<value = float[1] {2.0}>(s) y = Mul(x, f)
        }"""
    )
    matches_ort(source, {"x": X})


@pytest.mark.parametrize("delta", [2, 3, -2])
def test_a_range_that_begins_anywhere(matches_ort: Callable[..., Any], delta: int) -> None:
    """Its limit is a constant away from its start, so that others may read it."""
    source = parsed(
        f"""g (int64 b) => (int64[n] y) <int64 span = {{{4 * delta - 1}}}, int64 d = {{{delta}}}> {{
          e = Add(span, b) r = Range(b, e, d) y = Mul(r, d)
        }}"""
    )
    for start in (0, -3, 7):
        matches_ort(source, {"b": np.array(start)})


def test_a_length_that_data_decide_at_the_end(matches_ort: Callable[..., Any]) -> None:
    source = parsed(
        """g (float b, float e, int64[2] s) => (float[n] y, int64[p,q] z) <float d = {0.5}> {
          y = Range(b, e, d) z = ConstantOfShape<value = int64[1] {7}>(s)
        }"""
    )
    feeds = {"b": np.float32(1), "e": np.float32(3.2), "s": np.array([2, 3])}
    matches_ort(source, {name: np.asarray(value) for name, value in feeds.items()})


@pytest.mark.parametrize(
    "text",
    [
        "g (int64 b, int64 e) => (int64[n] y) <int64 d = {1}> { r = Range(b, e, d) y = Neg(r) }",
        "g (int64[2] s) => (float[n,m] y) { r = ConstantOfShape(s) y = Neg(r) }",
    ],
)
def test_a_length_that_data_decide_in_between_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnsupportedOperator, match="once the model runs"):
        TARGET.emit(parsed(text), tmp_path)


def test_dropout_hands_on_and_masks_nothing(matches_ort: Callable[..., Any]) -> None:
    source = parsed("g (float[2,3] x) => (float[2,3] y, bool[2,3] m) { y, m = Dropout(x) }")
    matches_ort(source, {"x": X})


def test_dropout_in_training_is_refused(tmp_path: Path) -> None:
    source = parsed(
        "g (float[2,3] x) => (float[2,3] y) <float r = {0.5}, bool t = {1}>"
        " { y = Dropout(x, r, t) }"
    )
    with pytest.raises(UnsupportedOperator, match="at random"):
        TARGET.emit(source, tmp_path)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("g (float[0,3] e, float[2,3] x) => (float[2,3] y) { y = Neg(x) }", "input 'e'"),
        (
            "g (float[2,3] x) => (float[0,3] y, float[2,3] z) <int64[1] b = {5}, int64[1] e = {9}>"
            " { y = Slice(x, b, e) z = Neg(x) }",
            "output 'y'",
        ),
    ],
)
def test_tensors_without_elements_are_refused(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(ModelError, match="no tensors without elements") as caught:
        TARGET.emit(parsed(text), tmp_path)
    assert where in str(caught.value)
    assert not list(tmp_path.iterdir())
