"""Elementwise operations and reductions against the value inference of coremltools itself.

Every operation that coremltools defines in these modules, in the op set of each system, must have a
kernel here and give what coremltools computes when it folds the same operation on constants.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Function, ct, quiet
from edgewise.targets.apple.interpreter.kernels import KERNELS

with quiet():
    from coremltools.converters.mil.mil import Operation
Array = npt.NDArray[Any]
SYSTEMS = ["iOS15", "iOS16", "iOS17", "iOS18"]
_DEFINITIONS = "coremltools.converters.mil.mil.ops.defs.iOS15"


def operations(module_name: str) -> list[str]:
    """The names of the operations that a module of coremltools registers."""
    module = importlib.import_module(f"{_DEFINITIONS}.{module_name}")
    return sorted(
        name
        for name, found in vars(module).items()
        if inspect.isclass(found)
        and issubclass(found, Operation)
        and found.__module__ == module.__name__
        and hasattr(mb, name)
    )


UNARY = [name for name in operations("elementwise_unary") if name != "cast"]
BINARY = operations("elementwise_binary")
REDUCTIONS = operations("reduction")
#: functions that are not defined everywhere
DOMAINS = {
    "acos": (-1, 1),
    "asin": (-1, 1),
    "atanh": (-0.95, 0.95),
    "inverse": (0.2, 3),
    "log": (0.01, 9),
    "rsqrt": (0.1, 9),
    "sqrt": (0, 9),
    "tan": (-1.4, 1.4),
}
LOGICAL = {"logical_and", "logical_or", "logical_xor", "logical_not"}
PARAMETERS: dict[str, dict[str, Any]] = {
    "clip": {"alpha": np.float32(-0.5), "beta": np.float32(1.5)},
    "threshold": {"alpha": np.float32(0.5)},
}


def folded(system: str, name: str, **arguments: Any) -> Array:
    """What coremltools computes."""
    with quiet(), Function({}, opset_version=getattr(ct.target, system)):
        value = getattr(mb, name)(**arguments).val
    assert value is not None
    return np.asarray(value)


def numbers(name: str) -> Array:
    if name in LOGICAL:
        return np.array([[True, False, True], [False, False, True]])
    low, high = DOMAINS.get(name, (-3, 3))
    return np.random.default_rng(0).uniform(low, high, (2, 3)).astype(np.float32)


def assert_same(found: Any, wanted: Array, name: str) -> None:
    if wanted.dtype.kind == "f":
        np.testing.assert_allclose(found, wanted, rtol=3e-6, atol=1e-6, err_msg=name)
    else:
        np.testing.assert_array_equal(found, wanted, err_msg=name)


def test_every_operation_of_these_modules_has_a_kernel() -> None:
    assert len(UNARY) > 25
    assert len(BINARY) > 15
    assert len(REDUCTIONS) > 10
    assert not {*UNARY, *BINARY, *REDUCTIONS, "cast"} - set(KERNELS)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("name", UNARY)
def test_unary(apply_kernel: Any, system: str, name: str) -> None:
    arguments = {"x": numbers(name), **PARAMETERS.get(name, {})}
    assert_same(apply_kernel(name, **arguments), folded(system, name, **arguments), name)


@pytest.mark.parametrize("name", ["abs", "exp2", "sign", "square"])
def test_unary_of_integers(apply_kernel: Any, name: str) -> None:
    x = np.array([-3, 0, 7, 20], np.int32) if name != "exp2" else np.arange(12, dtype=np.int32)
    assert_same(np.asarray(apply_kernel(name, x=x)), folded("iOS17", name, x=x), name)


@pytest.mark.parametrize("name", ["inverse", "log", "rsqrt"])
def test_epsilon(apply_kernel: Any, name: str) -> None:
    arguments = {"x": numbers(name), "epsilon": np.float32(0.25)}
    assert_same(apply_kernel(name, **arguments), folded("iOS17", name, **arguments), name)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@pytest.mark.parametrize("name", BINARY)
def test_binary(apply_kernel: Any, name: str, dtype: Any) -> None:
    if name in LOGICAL:
        x, y = numbers(name), numbers(name)[:, ::-1]
    else:
        x = np.array([[-7, 4, 9], [3, -2, 0]]).astype(dtype)
        y = np.array([[2], [3]]).astype(dtype)
    found, wanted = apply_kernel(name, x=x, y=y), folded("iOS17", name, x=x, y=y)
    if name == "real_div" and dtype is np.int32:
        wanted = np.trunc(wanted)  # its type is int32, which value inference forgets
    assert_same(found, wanted, name)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction(apply_kernel: Any, name: str, keep: bool, dtype: Any) -> None:
    x = np.random.default_rng(1).uniform(1, 9, (2, 3, 4)).astype(dtype)
    chosen: dict[str, Any] = {"axis": 1} if "arg" in name else {"axes": np.array([0, 2], np.int32)}
    found = np.asarray(apply_kernel(name, x=x, keep_dims=keep, **chosen))
    wanted = folded("iOS17", name, x=x, keep_dims=keep, **chosen)
    # the plan gives a result the type that the program declares, as coremltools does here
    assert_same(found.astype(wanted.dtype), wanted, name)


@pytest.mark.parametrize("dtype", ["int32", "fp32", "bool", "int8", "uint8", "int16", "uint16"])
@pytest.mark.parametrize("given", [np.float32, np.int32, np.bool_])
def test_casts_within_the_range(apply_kernel: Any, given: Any, dtype: str) -> None:
    x = np.array([0, 1.75, 2.25, 100]).astype(given)
    assert_same(
        apply_kernel("cast", x=x, dtype=dtype), folded("iOS17", "cast", x=x, dtype=dtype), dtype
    )
