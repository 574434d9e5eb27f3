"""Where with more elements in its condition than in its choices, whose shape coremltools loses."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from edgewise.targets.apple import TARGET

CONDITION = np.array([[True, False, True], [False, False, True]])


@pytest.mark.parametrize("constant", [True, False], ids=["constants", "computed"])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.bool_], ids=lambda kind: kind.__name__)
def test_choices_are_brought_to_the_shape_of_the_condition(make, tmp_path, constant, shape, dtype):
    """ONNX Runtime has no Where of booleans, so NumPy tells what is right."""
    numbers = np.arange(int(np.prod(shape))).reshape(shape)
    choices = {"a": np.asarray(numbers % 2, dtype), "b": np.asarray(1 - numbers % 2, dtype)}
    feeds = {"c": CONDITION} if constant else {"c": CONDITION, **choices}
    nodes = [helper.make_node("Where", ["c", "a", "b"], ["y"], name="where")]
    model = make.build_model(nodes, feeds, ["y"], choices if constant else {})
    result = TARGET.open(TARGET.emit(model, tmp_path, "fp32").path).run(feeds)["y"]
    expected = np.where(CONDITION, choices["a"], choices["b"])
    assert result.dtype == expected.dtype and np.array_equal(result, expected)
