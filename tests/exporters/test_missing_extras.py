"""Models of a library whose extra is not installed: one line with the command that installs it."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest

from edgewise.errors import UsageError
from edgewise.exporters import export

FLOATS = np.zeros((4, 2))


def estimator() -> object:
    linear = pytest.importorskip("sklearn.linear_model")
    return linear.LinearRegression().fit(FLOATS, FLOATS[:, 0])


def function() -> object:
    jax = pytest.importorskip("jax")
    return jax.jit(lambda x: x + 1)


@pytest.mark.parametrize(
    ("make", "missing", "line"),
    [
        (
            estimator,
            "skl2onnx",
            "scikit-learn models need skl2onnx. Run: pip install 'edgewise[sklearn]'",
        ),
        (function, "jax2onnx", "JAX models need jax2onnx. Run: pip install 'edgewise[jax]'"),
    ],
)
def test_a_converter_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], object], missing: str, line: str
) -> None:
    model = make()
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError) as told:
        export(model, input_shapes={})
    assert str(told.value) == line
    assert told.value.exit_code == 2
