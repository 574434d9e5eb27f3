"""LpPool, GlobalLpPool and MaxUnpool in simpler operators, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

from edgewise.graph import OrtSession, attribute

WINDOWS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "one axis": ((2, 3, 9), {"kernel_shape": [3], "strides": [2]}),
    "two axes": ((1, 3, 7, 8), {"kernel_shape": [2, 3], "pads": [1, 0, 0, 2]}),
    "dilated": ((1, 3, 7, 8), {"kernel_shape": [2, 3], "dilations": [2, 1], "pads": [1] * 4}),
    "same": ((1, 3, 7, 8), {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    "ceil": ((1, 3, 7, 8), {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    "three axes": ((1, 2, 4, 5, 6), {"kernel_shape": [2, 2, 3]}),
}


@pytest.mark.parametrize("power", [1, 2, 3])
@pytest.mark.parametrize("case", WINDOWS)
def test_lp_pool(runtime_error: Any, rng: Any, case: str, power: int) -> None:
    """The reference divides by fewer elements at the border; ONNX Runtime adds up, as it should."""
    shape, window = WINDOWS[case]
    x = rng.standard_normal(shape).astype(np.float32)
    assert runtime_error("LpPool", [x], p=power, **window) <= 1e-5


def test_lp_pools_that_are_counted_differently_are_declined(declined: Any) -> None:
    x = np.zeros((1, 1, 6, 9), np.float32)
    same = declined("LpPool", [x], kernel_shape=[2, 2], dilations=[2, 2], auto_pad="SAME_UPPER")
    assert "another shape in each runtime" in same
    ceil = declined("LpPool", [x], kernel_shape=[1, 2], strides=[2, 4], ceil_mode=1)
    assert "in the padding only" in ceil


@pytest.mark.parametrize("power", [1, 2, 3])
@pytest.mark.parametrize("shape", [(2, 3, 9), (1, 3, 4, 5), (1, 2, 3, 4, 5)])
def test_global_lp_pool(runtime_error: Any, rng: Any, shape: tuple[int, ...], power: int) -> None:
    x = rng.standard_normal(shape).astype(np.float32)
    assert runtime_error("GlobalLpPool", [x], p=power) <= 1e-4


@pytest.mark.parametrize("strides", [[2, 2], [1, 1]])
def test_max_unpool(rewritten: Any, rng: Any, strides: list[int]) -> None:
    x = rng.standard_normal((1, 2, 4, 4)).astype(np.float32)
    source = ir.from_proto(_pool(strides, x.shape))
    pooled = OrtSession(source).run({"x": x})
    done = rewritten("MaxUnpool", [pooled["y"], pooled["i"]], kernel_shape=[2, 2], strides=strides)
    assert done.error == 0
    assert "MaxUnpool" not in done.ops
    scatter = next(node for node in done.model.graph if node.op_type == "ScatterND")
    assert attribute(scatter, "reduction") == ("add" if strides == [2, 2] else "none")


def _pool(strides: list[int], shape: tuple[int, ...]) -> onnx.ModelProto:
    return onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["": 21]>
    g (float{list(shape)} x) => (float[a, b, c, d] y, int64[a, b, c, d] i)
    {{ y, i = MaxPool <kernel_shape = [2, 2], strides = {strides}> (x) }}
    """)


def test_max_unpool_to_the_implied_shape(rewritten: Any) -> None:
    x = np.array([[[[5, 6], [7, 8]]]], np.float32)
    indices = np.array([[[[5, 7], [13, 15]]]])
    done = rewritten(
        "MaxUnpool", [x, indices, np.array([1, 1, 4, 4])], constants=(2,), kernel_shape=[2, 2],
        strides=[2, 2],
    )  # fmt: skip
    assert done.error == 0


def test_max_unpool_to_another_shape_is_declined(declined: Any) -> None:
    x = np.array([[[[5, 6], [7, 8]]]], np.float32)
    indices = np.array([[[[5, 7], [13, 15]]]])
    why = declined(
        "MaxUnpool", [x, indices, np.array([1, 1, 5, 5])], constants=(2,), kernel_shape=[2, 2],
        strides=[2, 2],
    )  # fmt: skip
    assert "read differently" in why
