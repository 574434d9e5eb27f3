"""MaxPool with its second output against ONNX Runtime: order, ties, padding, ranks, types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgewise.errors import UnsupportedOperator

CASES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "plain": ((2, 3, 7, 8), {"kernel_shape": [2, 3]}),
    "padded": ((2, 3, 7, 8), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 0, 1]}),
    "dilated": (
        (2, 3, 7, 8),
        {"kernel_shape": [3, 2], "strides": [2, 2], "dilations": [2, 3], "ceil_mode": 1},
    ),
    "volume": ((2, 3, 5, 7, 8), {"kernel_shape": [2, 3, 2], "strides": [2, 2, 1]}),
    "one axis": ((2, 3, 9), {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
    "single elements": ((2, 3, 9), {"kernel_shape": [1], "strides": [2]}),
    "columns": ((1, 2, 6, 5), {"kernel_shape": [2, 1], "strides": [2, 1]}),
}


def _model(kit: Any, x: Any, **attributes: Any) -> Any:
    pool = kit.node("MaxPool", ["x"], ["y", "i"], **attributes)
    return kit.model([pool], {"x": x}, {"y": x.dtype, "i": np.int64})


@pytest.mark.parametrize("storage_order", [0, 1])
@pytest.mark.parametrize("case", CASES)
def test_indices(execute: Any, kit: Any, rng: Any, case: str, storage_order: int) -> None:
    shape, window = CASES[case]
    x = rng.integers(-3, 3, shape).astype(np.float32)  # many elements are equal
    order = storage_order if len(shape) > 3 else 0
    run = execute(_model(kit, x, storage_order=order, **window), {"x": x})
    assert run.error == 0


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_indices_of_plain_integers(execute: Any, kit: Any, rng: Any, dtype: type) -> None:
    x = rng.integers(0, 100, (1, 3, 6, 6)).astype(dtype)
    assert execute(_model(kit, x, kernel_shape=[3, 3], pads=[1, 1, 0, 0]), {"x": x}).error == 0


@pytest.mark.parametrize("scale", [None, 1.0, 1e-6])
def test_indices_of_a_quantized_pool(execute: Any, kit: Any, rng: Any, scale: float | None) -> None:
    """The pool stays in integers, whose order is that of the numbers they stand for."""
    x = rng.standard_normal((1, 2, 6, 6), np.float32)
    parameters = kit.measured(x)
    if scale is not None:
        x, parameters = x * np.float32(scale / parameters[0]), (scale, parameters[1])
    pool = kit.node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2], strides=[2, 2])
    source = kit.int8_model(pool, {"x": x}, parameters, input_parameters={"x": parameters})
    source.graph.outputs.append(source.graph.node("n_y_f").outputs[1])
    run = execute(source, {"x": x}, "w8a8")
    assert np.array_equal(run.outputs["i"], run.expected["i"])
    assert np.array_equal(run.outputs["y"], run.expected["y"])
    assert "android/float-island" not in run.rules()


def test_windows_in_the_padding_are_refused(execute: Any, kit: Any) -> None:
    x = np.zeros((1, 1, 2), np.float32)
    source = _model(kit, x, kernel_shape=[2], dilations=[3], pads=[1, 1])
    with pytest.raises(UnsupportedOperator, match="in the padding only"):
        execute(source, {"x": x})
