"""TopK against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgewise.errors import UnsupportedOperator

INTEGERS = ["int32", "int64", "int8", "uint8"]


def _source(kit: Any, x: Any, count: int, **attributes: Any) -> Any:
    layer = kit.node("TopK", ["x", "k"], ["v", "i"], **attributes)
    outputs = {"v": x.dtype, "i": np.int64}
    return kit.model([layer], {"x": x}, outputs, {"k": np.array([count])})


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("shape", [(7,), (4, 5), (3, 4, 5), (1, 3, 4, 5)])
def test_values_and_places_along_every_axis(
    execute: Any, kit: Any, rng: Any, shape: Any, largest: int
) -> None:
    x = rng.integers(-3, 3, shape).astype(np.float32)  # with equal ones
    for axis in range(-len(shape), len(shape)):
        source = _source(kit, x, min(3, shape[axis]), axis=axis, largest=largest)
        assert execute(source, {"x": x}).error == 0


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_up_to_the_ends_of_their_type(
    execute: Any, kit: Any, rng: Any, dtype: str, largest: int
) -> None:
    limits = np.iinfo(dtype)
    x = np.array([[limits.min, 3, limits.max, 3, 0, limits.min]], dtype)
    run = execute(_source(kit, x, 6, largest=largest), {"x": x})
    for name, expected in run.expected.items():
        assert np.array_equal(run.outputs[name], expected)


@pytest.mark.parametrize("largest", [0, 1])
def test_int8_moves_at_one_scale(execute: Any, kit: Any, rng: Any, largest: int) -> None:
    x = rng.uniform(-1, 1, (3, 40)).astype(np.float32)
    layer = kit.node("TopK", ["x", "k"], ["y", "i"], largest=largest)
    parameters = {"x": (0.01, 5)}
    constants = {"k": np.array([40])}
    source = kit.int8_model(
        layer, {"x": x}, (0.01, 5), input_parameters=parameters, constants=constants
    )
    run = execute(source, {"x": x}, "w8a8")
    assert run.lsb == 0
    assert ("android/float-island" in run.rules()) == (not largest)


def test_more_than_there_are_is_refused(execute: Any, kit: Any, rng: Any) -> None:
    x = rng.standard_normal((3, 4), np.float32)
    with pytest.raises(UnsupportedOperator, match="5 of 4 elements"):
        execute(_source(kit, x, 5), {"x": x})
