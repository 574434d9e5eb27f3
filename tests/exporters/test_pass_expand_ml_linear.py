"""Linear operators of ai.onnx.ml as standard ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

COEFFICIENTS = [0.5, -1.0, 2.0, 1.5, 0.25, -0.75]


def model(op_type: str, outputs: dict[str, int], width: int = 3, **attributes: Any) -> ir.Model:
    node = helper.make_node(
        op_type, ["x"], list(outputs), name="n", domain="ai.onnx.ml", **attributes
    )
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)]
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=10))


def classifier(**attributes: Any) -> ir.Model:
    given = {"coefficients": COEFFICIENTS, "intercepts": [0.1, -0.2], **attributes}
    given.setdefault("classlabels_ints", [0, 1])
    outputs = {"label": TensorProto.INT64, "scores": TensorProto.FLOAT}
    if "classlabels_strings" in given:
        del given["classlabels_ints"]
        outputs["label"] = TensorProto.STRING
    return model("LinearClassifier", outputs, **given)


@pytest.mark.parametrize(
    ("transform", "ops"),
    [("NONE", []), ("SOFTMAX", ["Softmax"]), ("LOGISTIC", ["Sigmoid"])],
)
@pytest.mark.parametrize("classes", [[0, 1], [7, 3]])
def test_classifier(rewrite: Any, transform: str, ops: list[str], classes: list[int]) -> None:
    result = rewrite(
        classifier(post_transform=transform, classlabels_ints=classes), "expand-ml-linear"
    )
    gather = ["Gather"] if classes == [7, 3] else []
    assert sorted(result.ops) == sorted(["ArgMax", "Gemm", *gather, *ops])


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"classlabels_strings": ["a", "b"]}, "its labels are texts"),
        ({"post_transform": "PROBIT"}, "post_transform PROBIT"),
        ({"coefficients": COEFFICIENTS[:3], "intercepts": [0.1]}, "2 classes and 1 scores"),
    ],
)
def test_classifiers_that_are_left_alone(
    rewrite: Any, attributes: dict[str, Any], reason: str
) -> None:
    result = rewrite(classifier(**attributes), "expand-ml-linear")
    assert not result.modified
    assert [one.reason for one in result.declined if reason in one.reason]


def test_regressor_of_two_values(rewrite: Any) -> None:
    regressor = model(
        "LinearRegressor",
        {"y": TensorProto.FLOAT},
        coefficients=COEFFICIENTS,
        intercepts=[1.0, 2.0],
        targets=2,
    )
    assert rewrite(regressor, "expand-ml-linear").ops == {"Gemm": 1}


@pytest.mark.parametrize(("offset", "scale"), [([1.0, 2.0, 3.0], [0.5, 2.0, 4.0]), ([1.0], [2.0])])
def test_scaler(rewrite: Any, offset: list[float], scale: list[float]) -> None:
    scaler = model("Scaler", {"y": TensorProto.FLOAT}, offset=offset, scale=scale)
    assert rewrite(scaler, "expand-ml-linear").ops == {"Sub": 1, "Mul": 1}


@pytest.mark.parametrize("norm", ["L1", "L2"])
def test_normalizer(rewrite: Any, norm: str) -> None:
    normalizer = model("Normalizer", {"y": TensorProto.FLOAT}, norm=norm)
    assert rewrite(normalizer, "expand-ml-linear").ops == {f"Reduce{norm}": 1, "Max": 1, "Div": 1}


def test_rows_of_zeros_stay(rewrite: Any) -> None:
    from edgewise.graph import OrtSession

    normalizer = rewrite(
        model("Normalizer", {"y": TensorProto.FLOAT}, norm="L2"), "expand-ml-linear"
    )
    rows = np.float32([[0, 0, 0], [3, 0, 4]])
    (found,) = OrtSession(normalizer.model).run({"x": rows}).values()
    np.testing.assert_allclose(found, [[0, 0, 0], [0.6, 0, 0.8]], rtol=1e-6)


def test_largest_value_is_left_alone(rewrite: Any) -> None:
    result = rewrite(model("Normalizer", {"y": TensorProto.FLOAT}, norm="MAX"), "expand-ml-linear")
    assert [one.reason for one in result.declined] == ["norm MAX"]
