"""DepthToSpace and SpaceToDepth in both orders and of all types, through the saved package, against
the ONNX project's reference (ONNX Runtime has neither all types nor SpaceToDepth's CRD)."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from edgewise.targets.apple import TARGET


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8])
@pytest.mark.parametrize("block", [1, 2, 3])
def test_there_and_back(make, tmp_path, mode, dtype, block):
    large = 100_000_001 if dtype == np.int64 else 1  # beyond what floats hold
    x = (np.arange(2 * 2 * block**2 * 12).reshape(2, 2 * block**2, 3, 4) % 19 * large).astype(dtype)
    check(make, tmp_path, "DepthToSpace", x, {"blocksize": block, "mode": mode})
    y = x.reshape(2, 2, 3 * block, 4 * block)
    if mode == "DCR":  # the other order is an attribute from opset 27 on
        check(make, tmp_path, "SpaceToDepth", y, {"blocksize": block})


def check(make, folder, op_type, x, attributes):
    nodes = [helper.make_node(op_type, ["x"], ["y"], **attributes)]
    model = make.build_model(nodes, {"x": x}, ["y"])
    artifact = TARGET.emit(model, folder / "out")
    (expected,) = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    result = TARGET.open(artifact.path).run({"x": x})["y"]
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)
