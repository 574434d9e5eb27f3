"""OptionalHasElement and OptionalGetElement of plain tensors."""

from __future__ import annotations

import numpy as np


def test_a_tensor_is_always_there(rewritten, rng):
    x = rng.standard_normal((2, 3), np.float32)
    found = rewritten("OptionalHasElement", [x], result="bool")
    assert set(found.ops) <= {"Identity"} and found.outputs[0].item() is True


def test_the_element_is_the_tensor(rewritten, rng):
    x = rng.standard_normal((2, 3), np.float32)
    found = rewritten("OptionalGetElement", [x])
    assert set(found.ops) <= {"Identity"} and np.array_equal(found.outputs[0], x)
