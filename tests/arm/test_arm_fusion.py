"""The scheme's lists against the installed ONNX Runtime: each entry really runs in integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from arm_recipes import I64, RECIPES, WEIGHTED

from edgewise.errors import ModelError, UnsupportedOperator
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE
from edgewise.targets.arm import TARGET
from edgewise.targets.arm.fusion import float_islands, island_findings, optimize_as_on_arm
from edgewise.targets.arm.global_pool import mean_to_global_pool
from edgewise.targets.arm.integer_pad import pad_in_integers
from edgewise.targets.arm.schemes import FOLDED_OPS, KERNEL_OPS, REWRITTEN_OPS, SHARED_SCALE_OPS


def types(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def test_recipes_cover_the_scheme() -> None:
    covered = set(RECIPES) | {op for op, _ in WEIGHTED}
    assert covered == SHARED_SCALE_OPS | KERNEL_OPS | REWRITTEN_OPS
    assert TARGET.scheme("w8a8").quantized_ops == covered | FOLDED_OPS


@pytest.mark.parametrize("op_type", sorted(RECIPES))
def test_operator_runs_in_integers(op_type: str, qdq_model: Any) -> None:
    model = qdq_model(op_type, **RECIPES[op_type])
    mean_to_global_pool(model)
    pad_in_integers(model)
    assert float_islands(model) == []
    inputs, outputs = (RECIPES[op_type].get(key, 1) for key in ("inputs", "outputs"))
    kept = types(optimize_as_on_arm(model))
    assert kept.count(QUANTIZE) == inputs
    assert kept.count(DEQUANTIZE) == outputs


def test_mean_without_kept_axes_runs_in_integers(qdq_model: Any) -> None:
    model = qdq_model("ReduceMean", attributes={"keepdims": 0}, constants=[np.array([2, 3], I64)])
    assert mean_to_global_pool(model)
    assert types(optimize_as_on_arm(model)) == [
        QUANTIZE, "QLinearGlobalAveragePool", "Squeeze", DEQUANTIZE,
    ]  # fmt: skip


@pytest.mark.parametrize(("op_type", "attributes"), WEIGHTED)
def test_weights_stay_integers(op_type: str, attributes: Any, weighted_model: Any) -> None:
    optimized = types(optimize_as_on_arm(weighted_model(op_type, attributes=attributes)))
    kernel = {"Conv": "QLinearConv", "Gemm": "QGemm", "MatMul": "QLinearMatMul"}[op_type]
    assert optimized == [QUANTIZE, kernel, DEQUANTIZE]


@pytest.mark.parametrize("op_type", ["MaxPool", "Transpose", "Reshape", "Split", "Pad"])
def test_differing_scales_are_an_island(op_type: str, qdq_model: Any) -> None:
    model = qdq_model(op_type, **RECIPES[op_type], out_scale=0.06)
    pad_in_integers(model)
    (finding,) = island_findings(model)
    assert finding.rule == "arm/float-island"
    assert finding.node == "middle"
    assert "scales differ" in finding.message


@pytest.mark.parametrize("op_type", ["Tanh", "HardSwish", "Exp"])
def test_operator_without_kernel_is_an_island(op_type: str, qdq_model: Any) -> None:
    (finding,) = TARGET.check(qdq_model(op_type))
    assert finding.severity == "warning"
    assert finding.node == "middle"
    assert f"no int8 kernel for {op_type}" in finding.message


def test_unknown_operator_is_named() -> None:
    x = ir.val("x", ir.DataType.FLOAT, [1])
    node = ir.node("Mystery", [x], domain="my.ops", name="odd")
    model = ir.Model(
        ir.Graph([x], node.outputs, nodes=[node], opset_imports={"": 21, "my.ops": 1}),
        ir_version=10,
    )
    with pytest.raises(UnsupportedOperator, match=r"'odd' \(my\.ops::Mystery\)"):
        optimize_as_on_arm(model)


def test_refused_model_keeps_the_runtime_reason(qdq_model: Any) -> None:
    model = qdq_model("Transpose", attributes={"perm": [0, 2, 3, 1]})
    model.graph.node(2).attributes["perm"] = ir.AttrInt64s("perm", [0, 0, 0, 0])
    with pytest.raises(ModelError, match=r"ONNX Runtime cannot load the model: .+perm"):
        optimize_as_on_arm(model)
