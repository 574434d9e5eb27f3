"""DeformConv in simpler operators, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "padded": {"pads": [1, 0, 1, 2], "strides": [2, 1]},
    "dilated": {"dilations": [2, 1], "pads": [1] * 4},
    "offset groups": {"offset_group": 2},
    "groups": {"group": 2, "offset_group": 4, "pads": [1] * 4},
}


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_deform_conv(
    runtime_error: Any, rng: Any, case: str, with_bias: bool, with_mask: bool
) -> None:
    attributes = CASES[case]
    x = rng.standard_normal((2, 4, 5, 6)).astype(np.float32)
    weights = rng.standard_normal((4, 4 // attributes.get("group", 1), 2, 3)).astype(np.float32)
    pads, strides = attributes.get("pads", [0] * 4), attributes.get("strides", [1, 1])
    dilations, groups = attributes.get("dilations", [1, 1]), attributes.get("offset_group", 1)
    output = [
        (size + pads[axis] + pads[axis + 2] - (kernel - 1) * dilations[axis] - 1) // strides[axis]
        + 1
        for axis, (size, kernel) in enumerate(((5, 2), (6, 3)))
    ]
    offset = rng.uniform(-2, 2, (2, groups * 12, *output)).astype(np.float32)
    bias = rng.standard_normal(4).astype(np.float32) if with_bias else None
    mask = rng.uniform(0, 1, (2, groups * 6, *output)).astype(np.float32) if with_mask else None
    error = runtime_error(
        "DeformConv", [x, weights, offset, bias, mask],
        constants=(1, 3) if with_bias else (1,), **attributes,
    )  # fmt: skip
    assert error <= 1e-4
