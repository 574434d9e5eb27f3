"""Operations taken together give the bits that they give one by one, NaN and all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgewise.errors import ModelError
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple.interpreter import Interpreter
from edgewise.targets.apple.interpreter.fused import Segment, fuse
from edgewise.targets.apple.interpreter.onnx_forms import FORMS

Array = npt.NDArray[Any]
_RNG = np.random.default_rng(0)
_WEIGHT = _RNG.normal(size=(8, 4, 3, 3)).astype(np.float32)
_BIAS = _RNG.normal(size=8).astype(np.float32)
_DENSE = _RNG.normal(size=(5, 6)).astype(np.float32)
_SCALES = _RNG.uniform(0.01, 0.05, 4).astype(np.float32)


def _pair(x: Any, scale: Any, zero: Any, kind: str, **axis: Any) -> Any:
    q = mb.quantize(input=x, scale=scale, zero_point=zero, output_dtype=kind, **axis)
    return mb.dequantize(input=q, scale=scale, zero_point=zero, **axis)


#: operation -> a builder on x [2, 4, 5, 6]; each comes between two additions, so that it is fused
CASES: dict[str, list[Callable[[Any], Any]]] = {
    "add": [lambda x: mb.add(x=x, y=np.float32(0.3))],
    "clip": [lambda x: mb.clip(x=x, alpha=-0.5, beta=0.7)],
    "concat": [lambda x: mb.concat(values=[x, x], axis=-2)],
    "conv": [
        lambda x: mb.conv(x=x, weight=_WEIGHT, bias=_BIAS, strides=[2, 2], pad_type="same"),
        lambda x: mb.conv(x=x, weight=_WEIGHT, strides=[2, 1], pad_type="same_lower"),
        lambda x: mb.conv(x=x, weight=_WEIGHT, dilations=[2, 2], pad_type="same"),
        lambda x: mb.conv(x=x, weight=_WEIGHT, pad_type="custom", pad=[1, 0, 2, 1]),
        lambda x: mb.conv(x=x, weight=_WEIGHT[:, :2], groups=2),
    ],
    "dequantize": [lambda x: _pair(x, np.float32(0.03), np.int8(-7), "int8")],
    "expand_dims": [lambda x: mb.expand_dims(x=x, axes=[1])],
    "leaky_relu": [lambda x: mb.leaky_relu(x=x, alpha=0.3)],
    "linear": [
        lambda x: mb.linear(x=mb.reshape(x=x, shape=[-1, 6]), weight=_DENSE, bias=_BIAS[:5]),
        lambda x: mb.linear(x=mb.reshape(x=x, shape=[-1, 6]), weight=_DENSE),
    ],
    "matmul": [
        lambda x: mb.matmul(x=x, y=_DENSE, transpose_y=True),
        lambda x: mb.matmul(x=x, y=x, transpose_x=True),
        lambda x: mb.matmul(x=x, y=x, transpose_y=True),
    ],
    "maximum": [lambda x: mb.maximum(x=x, y=np.float32(0.1))],
    "minimum": [lambda x: mb.minimum(x=x, y=np.float32(0.1))],
    "mul": [lambda x: mb.mul(x=x, y=x)],
    "pad": [lambda x: mb.pad(x=x, pad=[1, 2, 0, 3], mode="constant", constant_val=0.5)],
    "quantize": [
        lambda x: _pair(x, np.float32(0.03), np.uint8(120), "uint8"),
        lambda x: _pair(x, _SCALES, np.arange(4, dtype=np.int8), "int8", axis=1),
    ],
    "real_div": [lambda x: mb.real_div(x=x, y=np.float32(0.3)), lambda x: mb.real_div(x=x, y=x)],
    "relu": [lambda x: mb.relu(x=x)],
    "relu6": [lambda x: mb.relu6(x=mb.mul(x=x, y=np.float32(9)))],
    "reshape": [lambda x: mb.reshape(x=x, shape=[0, -1, 3]), lambda x: mb.reshape(x=x, shape=[-1])],
    "squeeze": [lambda x: mb.squeeze(x=mb.reshape(x=x, shape=[1, 8, 1, 30]), axes=[0, 2])],
    "sub": [lambda x: mb.sub(x=np.float32(1), y=x)],
    "transpose": [lambda x: mb.transpose(x=x, perm=[0, -1, 1, 2])],
}  # fmt: skip

FIGURES = [(name, build) for name, builds in CASES.items() for build in builds]


def _finite() -> Array:
    return _RNG.normal(size=(2, 4, 5, 6)).astype(np.float32)


def _wild() -> Array:
    x = _finite()
    x.reshape(-1)[:8] = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-42, 3e38, 65520]
    return x


def test_every_form_is_tried() -> None:
    assert set(CASES) == set(FORMS)


@pytest.mark.parametrize(("name", "build"), FIGURES)
def test_the_same_bits(name: str, build: Any, save_mil: Any) -> None:
    def program(x: Any) -> Any:
        return mb.relu(x=build(mb.add(x=x, y=np.float32(0.25))))

    x = _finite()
    interpreter = Interpreter(save_mil(program, {"x": x}))
    assert name in _taken_together(interpreter)
    # what quantize makes of NaN is not defined
    for sample in [x] if name in ("quantize", "dequantize") else [x, _wild()]:
        _same(interpreter, sample)


@pytest.mark.parametrize("threads", [1, 2])
def test_half_precision_is_rounded_in_between(threads: int, save_mil: Any) -> None:
    half = np.float16

    def program(x: Any) -> Any:
        x = mb.conv(x=x, weight=_WEIGHT.astype(half), bias=_BIAS.astype(half), pad_type="same")
        x = mb.leaky_relu(x=mb.mul(x=x, y=half(3.1)), alpha=half(0.3))
        x = _pair(x, half(0.07), np.int8(3), "int8")
        x = mb.matmul(x=x, y=_DENSE.astype(half), transpose_y=True)
        return mb.real_div(x=x, y=half(0.7))

    x = _finite().astype(half)
    interpreter = Interpreter(save_mil(program, {"x": x}), threads=threads)
    assert len(_taken_together(interpreter)) == 7
    _same(interpreter, x)
    _same(interpreter, (x * half(3000)).astype(half))  # overflows on the way


def test_whole_numbers_stay_apart(save_mil: Any) -> None:
    def program(i: Any) -> Any:
        return mb.mul(x=mb.add(x=i, y=np.int32(1)), y=i)

    interpreter = Interpreter(save_mil(program, {"i": np.ones(3, np.int32)}))
    assert _taken_together(interpreter) == []
    assert next(iter(interpreter.run({"i": np.arange(3)}).values())).tolist() == [0, 2, 6]


def test_failures_name_the_operations(save_mil: Any) -> None:
    path = save_mil(
        lambda x: mb.relu(x=mb.add(x=x, y=np.ones(3, np.float32), name="first"), name="last"),
        {"x": np.ones((2, 3), np.float32)},
    )
    interpreter = Interpreter(path)
    (segment,) = fuse(interpreter._plan)
    values: dict[str, Any] = {**interpreter._plan.constants, "x": np.ones((2, 4), np.float32)}
    with pytest.raises(ModelError, match="'first' to 'last': the operations failed"):
        segment.run(values)


def _taken_together(interpreter: Interpreter) -> list[str]:
    segments = [step for step in fuse(interpreter._plan) if isinstance(step, Segment)]
    return [writer.step.op_type for segment in segments for writer in segment.writers]


def _same(interpreter: Interpreter, x: Array) -> None:
    together = interpreter.run({"x": x})
    one_by_one = interpreter.run({"x": x}, observe=lambda name, array: None)
    for name, array in one_by_one.items():
        np.testing.assert_array_equal(together[name], array)
        zero = array == 0
        assert np.array_equal(np.signbit(together[name][zero]), np.signbit(array[zero])), name
