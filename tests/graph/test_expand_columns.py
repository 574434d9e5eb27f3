"""Col2Im as a transposed convolution, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

CASES: dict[str, tuple[list[int], list[int], dict[str, Any]]] = {
    "plain": ([5, 5], [1, 5], {}),
    "overlapping": ([6, 7], [3, 2], {}),
    "strides": ([5, 5], [3, 3], {"strides": [2, 2]}),
    "rows that no block reaches": ([6, 8], [3, 3], {"strides": [2, 3]}),
    "pads": ([5, 5], [1, 5], {"pads": [0, 1, 0, 1]}),
    "dilations": ([6, 6], [2, 2], {"dilations": [1, 5]}),
    "three axes": ([4, 4, 5], [1, 2, 3], {}),
}


@pytest.mark.parametrize("case", CASES)
def test_col2im(rewritten: Any, rng: Any, case: str) -> None:
    image, block, attributes = CASES[case]
    rank = len(image)
    pads = attributes.get("pads", [0] * 2 * rank)
    places = [
        (
            image[axis] + pads[axis] + pads[rank + axis]
            - (block[axis] - 1) * attributes.get("dilations", [1] * rank)[axis] - 1
        ) // attributes.get("strides", [1] * rank)[axis] + 1
        for axis in range(rank)
    ]  # fmt: skip
    x = rng.standard_normal((2, 3 * int(np.prod(block)), int(np.prod(places)))).astype(np.float32)
    done = rewritten(
        "Col2Im", [x, np.array(image), np.array(block)], constants=(1, 2), **attributes
    )
    assert done.error <= 1e-5
    assert "ConvTranspose" in done.ops
