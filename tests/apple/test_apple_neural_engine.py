"""What is told of the Neural Engine: rules on finished programs, with the user's node names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgewise.findings import Finding
from edgewise.targets import EmitOptions
from edgewise.targets.apple import TARGET
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import Function, ct, types
from edgewise.targets.apple.neural_engine import lint
from edgewise.targets.apple.neural_engine.measures import MEASURES, PROGRAM_MEASURES
from edgewise.targets.apple.neural_engine.rules import PROGRAM_RULES, RULES


def _emitted(model: Any, folder: Any, precision: str = "fp16", **options: Any) -> list[Finding]:
    artifact = TARGET.emit(model, folder, precision, options=EmitOptions(options=options))
    return list(artifact.findings)


def _rules(findings: list[Finding], node: str = "node") -> set[str]:
    return {finding.rule for finding in findings if finding.node == node}


SPOKEN = {
    "no path": ("Tan", [(2, 3)], {}, {"apple/ane-no-path"}),
    "gather": ("Gather", [(3, 4), np.array([0, 2])], {}, {"apple/ane-gather"}),
    "large kernel": ("Conv", [(1, 1, 20, 20), (1, 1, 15, 15)], {}, {"apple/ane-kernel"}),
    "3-D": ("Conv", [(1, 1, 4, 4, 4), (1, 1, 3, 3, 3)], {}, {"apple/ane-rank"}),
    "long axis": ("Relu", [(1, 20000)], {}, {"apple/ane-dimension"}),
    "large window": (
        "MaxPool", [(1, 1, 40, 40)], {"kernel_shape": [31, 31]}, {"apple/ane-window"},
    ),
    "dilated": (
        "Conv", [(1, 1, 9, 9), (1, 1, 3, 3)], {"dilations": [2, 2]}, {"apple/ane-dilation"},
    ),
    "mirrored": (
        "Pad", [(1, 1, 5, 5), np.array([0, 0, 1, 1, 0, 0, 1, 1])], {"mode": "reflect"},
        {"apple/ane-reflect"},
    ),
    "since A15": ("Sin", [(2, 3)], {}, {"apple/ane-a15"}),
    "none": ("Relu", [(1, 20)], {}, set()),
}  # fmt: skip


@pytest.mark.parametrize("case", SPOKEN)
def test_rules_on_one_node(make: Any, tmp_path: Any, case: str) -> None:
    op_type, operands, attributes, expected = SPOKEN[case]
    model = make.node(op_type, operands, attributes).model()
    assert _rules(_emitted(model, tmp_path)) == expected
    assert _rules(TARGET.check(model)) == expected


def test_a_finding_says_how_large_where_and_who_said_so(make: Any, tmp_path: Any) -> None:
    model = make.node("Conv", [(1, 1, 20, 20), (1, 1, 15, 15)], {}).model()
    (found,) = [f for f in _emitted(model, tmp_path) if f.rule == "apple/ane-kernel"]
    assert found.node == "node" and found.severity == "warning" and found.remedy
    assert "here it is 15" in found.message and found.message.endswith("[F]")


def test_a_fused_operation_belongs_to_the_node_whose_output_it_gives(
    make: Any, tmp_path: Any
) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="layer", dilations=[3, 3]),
        helper.make_node("Add", ["a", "b"], ["y"], name="shift"),
    ]
    constants = {"w": make.random(4, 2, 3, 3), "b": make.random(1, 4, 1, 1)}
    model = make.build_model(nodes, {"x": make.random(1, 2, 12, 12)}, ["y"], constants)
    (found,) = [f for f in _emitted(model, tmp_path) if f.rule == "apple/ane-dilation"]
    assert found.node == "shift"


def test_the_forecast_counts_what_leaves_and_in_how_many_places(make: Any, tmp_path: Any) -> None:
    kinds = ["Relu", "Tan", "Sinh", "Relu", "Acos", "Relu"]
    nodes = [
        helper.make_node(kind, [f"v{k}"], [f"v{k + 1}"], name=f"n{k}")
        for k, kind in enumerate(kinds)
    ]
    model = make.build_model(nodes, {"v0": make.random(1, 8)}, ["v6"])
    findings = _emitted(model, tmp_path)
    (told,) = [f.message for f in findings if f.rule == "apple/ane-forecast"]
    assert "3 leave it, in 2 places" in told and "not measured" in told
    assert {"n1", "n2", "n4"} == {f.node for f in findings if f.rule == "apple/ane-no-path"}


def test_fp32_is_told_once_and_of_no_float_model_before_it_is_narrowed(
    make: Any, tmp_path: Any
) -> None:
    model = make.node("Conv", [(1, 3, 8, 8), (4, 3, 3, 3)], {}).model()
    rules = [f.rule for f in _emitted(model, tmp_path, "fp32")]
    assert rules.count("apple/ane-fp32-package") == 1
    assert "apple/ane-fp32" not in rules and "apple/ane-forecast" not in rules
    assert "apple/ane-fp32-package" not in {f.rule for f in TARGET.check(model)}


def test_int8_says_which_chips_it_serves(make: Any, tmp_path: Any) -> None:
    rules = {f.rule for f in _emitted(make.quantized_cnn(), tmp_path, "w8a8")}
    assert "apple/ane-int8-chips" in rules and "apple/activation-asymmetric" not in rules
    asymmetric = _emitted(make.quantized_cnn(zero=-9), tmp_path / "a", "w8a8")
    assert "apple/activation-asymmetric" in {f.rule for f in asymmetric}


def _program(**inputs: tuple[int, ...]) -> Any:
    placeholders = {k: mb.placeholder(shape=v, dtype=types.fp16) for k, v in inputs.items()}
    return Function(placeholders, opset_version=ct.target.iOS18)


def test_padding_of_the_last_axis() -> None:
    """(64, 64, 8) fp16: lines of 16 bytes in lines of 64."""
    with _program(x=(1, 64, 64, 8)) as function:
        function.set_outputs([mb.relu(x=function.inputs["x"])])
    (told,) = [f for f in lint(function).findings if f.rule == "apple/ane-padding"]
    assert "4.0 times" in told.message
    with _program(x=(1, 8, 64, 64)) as function:
        function.set_outputs([mb.relu(x=function.inputs["x"])])
    assert "apple/ane-padding" not in {f.rule for f in lint(function).findings}


def test_an_fp32_operation_among_fp16_ones_leaves() -> None:
    with _program(x=(1, 8)) as function:
        wide = mb.cast(x=mb.relu(x=function.inputs["x"]), dtype="fp32")
        squared = mb.mul(x=wide, y=wide, name="squared")
        function.set_outputs([mb.cast(x=squared, dtype="fp16")])
    found = lint(function)
    assert {f.node for f in found.findings if f.rule == "apple/ane-fp32"} == {"squared"}
    (forecast,) = [f for f in found.forecasts if f.output == "squared"]
    assert not forecast.on_neural_engine and forecast.rules == ("apple/ane-fp32",)


def test_block_scales_ranges_and_bodies_of_branches() -> None:
    rows = mb.placeholder(shape=(ct.converters.mil.mil.get_new_symbol(), 8), dtype=types.fp16)
    with Function({"x": rows}, opset_version=ct.target.iOS18) as function:
        weight = mb.constexpr_blockwise_shift_scale(
            data=np.ones((4, 8), np.int8), scale=np.ones((4, 2), np.float16), name="stored"
        )
        y = mb.linear(x=function.inputs["x"], weight=weight)
        function.set_outputs([mb.relu(x=y)])
    rules = {f.rule for f in lint(function).findings}
    assert {"apple/ane-dynamic-shape", "apple/ane-block-weights"} <= rules
    with _program(x=(1, 8)) as function:
        x = function.inputs["x"]
        large = mb.greater(x=mb.reduce_sum(x=x, axes=[0, 1]), y=np.float16(0))
        y = mb.cond(pred=large, _true_fn=lambda: mb.tan(x=x), _false_fn=lambda: mb.relu(x=x))
        function.set_outputs([y])
    leaving = {f.op_type for f in lint(function).forecasts if not f.on_neural_engine}
    assert {"cond", "tan"} <= leaving


def test_the_tables_are_whole() -> None:
    assert {rule.measure for rule in RULES} - {""} == set(MEASURES)
    assert {rule.measure for rule in PROGRAM_RULES} == set(PROGRAM_MEASURES)
    names = [rule.rule for rule in (*RULES, *PROGRAM_RULES)]
    assert len(names) == len(set(names))
    assert all(rule.message and rule.source for rule in (*RULES, *PROGRAM_RULES))


def test_operations_in_the_rules_exist() -> None:
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    assert {o for rule in RULES for o in rule.operations} <= set(SSAOpRegistry.core_ops)
