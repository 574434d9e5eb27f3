"""Scales that kernels cannot compute with: refused, or left to float, before the runtime aborts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgewise.errors import UnsupportedOperator
from edgewise.targets.android import TARGET
from edgewise.targets.base import EmitOptions


@pytest.mark.parametrize("op_type", ["Add", "Sub"])
def test_a_mask_without_end_is_added_in_float(
    execute: Any, kit: Any, rng: Any, op_type: str
) -> None:
    x = rng.standard_normal((2, 6), np.float32)
    mask = np.where(rng.random((2, 6)) < 0.5, 0, -3e38).astype(np.float32)
    source = kit.int8_model(kit.node(op_type, ["x", "m"], ["y"]), {"x": x, "m": mask}, (2e36, 0))
    run = execute(source, {"x": x, "m": mask}, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert "ADD" not in kit.kinds(source) or "DEQUANTIZE" in kit.kinds(source)


def test_a_subnormal_scale_is_refused(kit: Any, tmp_path: Any) -> None:
    x = np.ones((2, 6), np.float32)
    source = kit.int8_model(
        kit.node("Relu", ["x"], ["y"]), {"x": x}, (1e-39, 0), input_parameters={"x": (1e-39, 0)}
    )
    with pytest.raises(UnsupportedOperator, match="less than a normal float32"):
        TARGET.emit(source, tmp_path, "w8a8")
    assert not list(tmp_path.iterdir())


def test_hard_swish_of_a_wide_input_for_an_npu(execute: Any, kit: Any, rng: Any) -> None:
    """The int8 kernel takes no ratio of 128 or more."""
    x = rng.uniform(-500, -1, (2, 6)).astype(np.float32)
    source = kit.int8_model(kit.node("HardSwish", ["x"], ["y"]), {"x": x}, (0.002, 127))
    options = EmitOptions(options={"delegates": ["qualcomm"]})
    assert execute(source, {"x": x}, "w8a8", options=options).lsb <= kit.int8_tolerance


@pytest.mark.parametrize("op_type", ["Add", "Sub"])
def test_powers_of_two_in_16_bits(execute: Any, kit: Any, rng: Any, op_type: str) -> None:
    """TFLite has a kernel of its own for them, which takes few ratios, and must not be chosen."""
    feeds = {name: rng.uniform(-3, 3, (2, 6)).astype(np.float32) for name in "ab"}
    source = kit.int8_model(
        kit.node(op_type, ["a", "b"], ["y"]),
        feeds,
        (2.0**-12, 0),
        input_parameters={"a": (2.0**-13, 0), "b": (2.0**-13, 0)},
        storage=np.int16,
    )
    assert execute(source, feeds, "w8a16").lsb <= kit.int8_tolerance


def test_a_hard_sigmoid_of_few_values_is_not_rounded_twice(execute: Any, kit: Any) -> None:
    x = np.linspace(-1.6, 0, 300, dtype=np.float32)[None]
    source = kit.int8_model(kit.node("HardSigmoid", ["x"], ["y"]), {"x": x}, (0.0007, -128))
    assert execute(source, {"x": x}, "w8a8").lsb <= kit.int8_tolerance
