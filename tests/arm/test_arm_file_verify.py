"""The bytes of a file against the QDQ model: each way in which they could differ is noticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgewise.calibration import quantize_weights
from edgewise.errors import InternalError
from edgewise.graph import prepare
from edgewise.targets.arm import TARGET
from edgewise.targets.arm.verify_file import Promises, promises_of, verify_file

Cnn = tuple[Path, Path]
Change = Callable[[onnx.ModelProto], None]


@pytest.fixture
def written(cnn: Cnn, tmp_path: Path) -> tuple[onnx.ModelProto, Promises]:
    """The file of the QDQ model, and what that model promises."""
    path = TARGET.emit(cnn[1], tmp_path, "w8a8").path
    return onnx.load(path), promises_of(prepare(cnn[1]))


def change(model: onnx.ModelProto, name: str, edit: Callable[[np.ndarray], np.ndarray]) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(edit(numpy_helper.to_array(tensor).copy()), name))


def node(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(n for n in model.graph.node if n.name == name)


def constant_of(model: onnx.ModelProto, reader: str, index: int, part: int) -> str:
    """Name of the integers, scales or zero points behind an input."""
    dequantized = node(model, reader).input[index]
    maker = next(n for n in model.graph.node if dequantized in n.output)
    return str(maker.input[part])


def activation_scale(model: onnx.ModelProto) -> str:
    return str(next(n for n in model.graph.node if n.op_type == "QuantizeLinear").input[1])


def swap_inputs_of_add_and_conv(model: onnx.ModelProto) -> None:
    """conv2 reads what the classifier should."""
    first, last = node(model, "conv2"), node(model, "classifier")
    first.input[0], last.input[0] = last.input[0], first.input[0]


CHANGES: dict[str, tuple[Change, str]] = {
    "a bit of a weight": (
        lambda m: change(m, constant_of(m, "conv1", 1, 0), lambda a: a ^ 1),
        "node 'conv1'.+another weight as input 1",
    ),
    "a scale of one channel": (
        lambda m: change(m, constant_of(m, "conv2", 1, 1), lambda a: a * np.float32(1.01)),
        "node 'conv2'.+another weight as input 1",
    ),
    "a bias": (
        lambda m: change(m, constant_of(m, "classifier", 2, 0), lambda a: a + 1),
        "node 'classifier'.+another weight as input 2",
    ),
    "a scale of an activation": (
        lambda m: change(m, activation_scale(m), lambda a: a * np.float32(1.01)),
        "tensor 'image'.+another scale or zero point",
    ),
    "a tensor": (swap_inputs_of_add_and_conv, "tensor '.+' where '.+' belongs"),
}


def test_the_file_keeps_its_promises(written: tuple[onnx.ModelProto, Promises]) -> None:
    model, promises = written
    assert len(promises.weights) == 6  # three operators with weight and bias
    assert len(promises.results) == 3
    verify_file(model.SerializeToString(), promises)


@pytest.mark.parametrize("name", CHANGES)
def test_changes_are_noticed(name: str, written: tuple[onnx.ModelProto, Promises]) -> None:
    model, promises = written
    edit, message = CHANGES[name]
    edit(model)
    with pytest.raises(InternalError, match=message):
        verify_file(model.SerializeToString(), promises)


def test_the_same_weight_in_other_words(written: tuple[onnx.ModelProto, Promises]) -> None:
    """(q - 0) * s = ((q - 1) - (-1)) * s"""
    model, promises = written
    integers = numpy_helper.to_array(
        next(t for t in model.graph.initializer if t.name == constant_of(model, "conv1", 1, 0))
    )
    if integers.min() == -128:
        pytest.skip("the weights are written so already")
    change(model, constant_of(model, "conv1", 1, 0), lambda a: a - 1)
    change(model, constant_of(model, "conv1", 1, 2), lambda a: a - 1)
    verify_file(model.SerializeToString(), promises)


@pytest.mark.parametrize("precision", ["w8", "w4"])
def test_packed_weights(precision: str, cnn: Cnn, tmp_path: Path) -> None:
    scheme = replace(TARGET.scheme(precision, {}), smallest_weight=16)
    qdq = quantize_weights(prepare(cnn[0]), scheme).model
    promises = promises_of(qdq)
    assert set(promises.weights) == {("classifier", 1)}
    model = onnx.load(TARGET.emit(qdq, tmp_path, precision).path)
    verify_file(model.SerializeToString(), promises)
    packed = node(model, "classifier").input[1]
    change(model, packed, lambda a: a ^ 1)
    with pytest.raises(InternalError, match=r"node 'classifier'.+another weight"):
        verify_file(model.SerializeToString(), promises)
