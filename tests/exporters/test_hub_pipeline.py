"""The driver of the passes: verification between them, and the search for a wrong one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest

from edgewise.errors import InternalError
from edgewise.exporters.passes import Declined, Pass, PassOutcome
from edgewise.exporters.pipeline import canonicalize, wrong_pass
from edgewise.graph import add_initializer, prepare

BODY = "g (float[2, 3] x) => (float[2, 3] y) { a = Relu (x)\n y = Add (a, one) }"
FEEDS = {"x": np.arange(6, dtype=np.float32).reshape(2, 3) - 2}


@pytest.fixture
def model(parse) -> ir.Model:
    return prepare(parse(BODY, one=np.float32(1)))


def nothing(model: ir.Model) -> PassOutcome:
    return PassOutcome(model, False)


def sevenfold(model: ir.Model) -> PassOutcome:
    """Changes the constant: a graph as valid as before, of another function. Once only."""
    add = next(node for node in model.graph if node.op_type == "Add")
    if add.inputs[1].name == "seven":
        return PassOutcome(model, False)
    add.replace_input_with(1, add_initializer(model.graph, "seven", np.float32([7])))
    return PassOutcome(model, True)


def misshapen(model: ir.Model) -> PassOutcome:
    next(iter(model.graph)).outputs[0].shape = ir.Shape([2, 4])
    return PassOutcome(model, True)


def mistyped(model: ir.Model) -> PassOutcome:
    next(iter(model.graph)).outputs[0].type = ir.TensorType(ir.DataType.INT32)
    return PassOutcome(model, True)


def renamed(model: ir.Model) -> PassOutcome:
    model.graph.outputs[0].name = "z"
    return PassOutcome(model, True)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (misshapen, "carries the shape"),
        (mistyped, "INT32"),
        (renamed, "inputs and outputs changed"),
    ],
)
def test_a_broken_graph_names_the_pass(model, wrong: Pass, problem: str) -> None:
    with pytest.raises(InternalError) as error:
        canonicalize(model, {"good": nothing, "bad": wrong})
    assert "broken after bad" in str(error.value)
    assert problem in str(error.value)


def test_a_wrong_pass_is_found_by_running_the_model(model) -> None:
    passes: Mapping[str, Pass] = {"good": nothing, "bad": sevenfold, "late": nothing}
    with pytest.raises(InternalError) as error:
        canonicalize(ir.from_proto(ir.to_proto(model)), passes, feeds=FEEDS)
    assert "the pass bad changed what the model computes" in str(error.value)
    assert "output 'y'" in str(error.value)
    assert wrong_pass(model, FEEDS, passes=passes) == "bad"
    assert [node.op_type for node in model.graph] == ["Relu", "Add"]
    assert wrong_pass(model, FEEDS) is None


def test_passes_run_again_until_none_of_them_finds_more(model) -> None:
    rounds: list[str] = []

    def counting(model: ir.Model) -> PassOutcome:
        rounds.append("round")
        declined = Declined("a", f"it is round {len(rounds)}")
        return PassOutcome(model, len(rounds) < 3, (declined,))

    findings = canonicalize(model, {"count": counting})
    assert len(rounds) == 3
    # of the last round alone: what an earlier one declined may have been possible after all
    assert [str(finding.message) for finding in findings] == ["not applied: it is round 3"]
    assert findings[0].rule == "export/count"
