"""Window functions of a known size."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgewise.graph.expand import CannotExpand
from edgewise.graph.expand.expansion import Expansion
from edgewise.graph.expand.window import expand_window


@pytest.mark.parametrize("op_type", ["HannWindow", "HammingWindow", "BlackmanWindow"])
@pytest.mark.parametrize(("size", "periodic"), [(10, 0), (10, 1), (1, 1), (7, 0)])
def test_is_what_the_reference_gives(single, op_type, size, periodic):
    from onnx.reference import ReferenceEvaluator

    model = single(op_type, [np.array(size)], periodic=periodic)
    (expected,) = ReferenceEvaluator(model).run(None, {"x0": np.array(size)})
    known = single(op_type, [np.array(size)], constants=[0], periodic=periodic)
    (window,) = expand_window(Expansion(ir.from_proto(known).graph[0], 21))
    np.testing.assert_allclose(window.const_value.numpy(), expected, atol=1e-6)


def test_a_symmetric_window_of_one_element_is_declined(single):
    model = ir.from_proto(single("HannWindow", [np.array(1)], constants=[0], periodic=0))
    with pytest.raises(CannotExpand, match="not defined"):
        expand_window(Expansion(model.graph[0], 21))


def test_a_computed_size_is_declined(single):
    model = ir.from_proto(single("HannWindow", [np.array(8)]))
    with pytest.raises(CannotExpand, match="size must be constant"):
        expand_window(Expansion(model.graph[0], 21))
