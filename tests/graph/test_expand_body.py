"""Operators written as the function body that the ONNX standard gives them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgewise.graph import prepare
from edgewise.graph.expand import expand


def floats(rng, *shapes):
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize(
    ("op_type", "shapes", "opset", "options"),
    [
        ("Mish", [(2, 3)], 21, {}),
        ("Mish", [(2, 3)], 24, {}),
        ("Softplus", [(2, 3)], 22, {}),
        ("ThresholdedRelu", [(2, 3)], 22, {"alpha": 0.3}),
        ("ThresholdedRelu", [(2, 3)], 22, {}),
        ("CastLike", [(2, 3), (1,)], 25, {}),
        ("PRelu", [(2, 3), (3,)], 21, {}),
        ("Celu", [(2, 3)], 21, {}),
        ("LayerNormalization", [(2, 3, 4), (4,), (4,)], 21, {}),
        ("LayerNormalization", [(2, 3, 4), (3, 4)], 26, {"axis": 1, "epsilon": 0.1}),
        ("ReduceLogSumExp", [(2, 3)], 21, {}),
    ],
)
def test_computes_the_same(rewritten, rng, op_type, shapes, opset, options):
    source = floats(rng, *shapes)
    result = rewritten_by_body(rewritten, op_type, source, opset, options)
    assert op_type not in result.ops
    assert result.error < 1e-5


def rewritten_by_body(rewritten, op_type, inputs, opset, options):
    from edgewise.graph.expand.table import EXPANSIONS

    assert op_type not in EXPANSIONS  # it would not be tested here
    return rewritten(op_type, inputs, opset=opset, **options)


def test_optional_inputs_may_be_absent_in_the_middle(rewritten, rng):
    x, weight, state = floats(rng, (1, 4, 6), (4, 1, 3), (1, 4, 2))
    result = rewritten("CausalConvWithState", [x, weight, None, state], outputs=2, opset=27)
    assert "CausalConvWithState" not in result.ops
    assert result.error < 1e-5


def test_names_come_from_the_node_and_outputs_keep_theirs(rewritten, rng):
    result = rewritten("Mish", floats(rng, (2, 3)))
    assert [node.name for node in result.model.graph] == ["n/Softplus_0", "n/Tanh_1", "n/Mul_2"]
    assert [value.name for value in result.model.graph.outputs] == ["y0"]


def test_an_operator_without_body_stays(rewritten, rng):
    assert rewritten("Sin", floats(rng, (2, 3))).ops == ["Sin"]


def test_bodies_can_be_left_out(single, rng):
    model = prepare(ir.from_proto(single("Mish", floats(rng, (2, 3)))))
    expand(model, lambda node: True, by_body=False)
    assert [node.op_type for node in model.graph] == ["Mish"]


def test_a_node_inside_a_branch_is_replaced(rng):
    import onnx.parser

    from edgewise.graph import OrtSession

    text = """
    <ir_version: 10, opset_import: ["": 21]>
    g (bool c, float[2, 3] x) => (float[2, 3] y) {
      y = If (c) <
        then_branch = t () => (float[2, 3] a) { a = Mish (x) },
        else_branch = f () => (float[2, 3] b) { b = Neg (x) }
      >
    }
    """
    source = ir.from_proto(onnx.parser.parse_model(text))
    model = prepare(source)
    expand(model, lambda node: node.op_type == "Mish")
    assert "Mish" not in [node.op_type for node in model.graph.all_nodes()]
    (x,) = floats(rng, (2, 3))
    for c in (True, False):
        feeds = {"c": np.array(c), "x": x}
        np.testing.assert_allclose(
            OrtSession(model).run(feeds)["y"], OrtSession(source).run(feeds)["y"], atol=1e-6
        )
