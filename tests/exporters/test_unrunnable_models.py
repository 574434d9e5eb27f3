"""ONNX models that the checker lets pass, and that nobody can run: an error in place of a warning,
with the node and the reason. What only ONNX Runtime cannot run stays a warning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewise.errors import ModelError
from edgewise.exporters import export

ROW, PICTURE = (1, 4), (1, 3, 8, 8)


def made(
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int | str] = ROW,
    *,
    opset: int = 21,
    outputs: Sequence[str] = ("y",),
    **constants: Any,
) -> onnx.ModelProto:
    """x -> `nodes` -> y, whose shape nobody declares."""
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    versions = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=versions, ir_version=10)


def node(operator: str, inputs: str, name: str = "layer", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), ["y"], name, **attributes)


ONES = np.ones((5, 4), np.float32)
CONTRADICTIONS = {
    "matrix product": (made([node("MatMul", "x w")], w=ONES), "Incompatible dimensions"),
    "linear layer": (made([node("Gemm", "x w")], w=ONES), "5 and 4"),
    "ranks": (made([node("Concat", "x w", axis=0)], w=ONES[None]), "same rank"),
    "axes": (made([node("Transpose", "x", perm=[0, 2, 1])]), "Invalid attribute perm"),
    "types": (made([node("MatMul", "x w")], w=np.ones((4, 4), np.int32)), "different types"),
    "type of an operator": (
        made([helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT8), node("Sin", "i")]),
        "int8",
    ),
    "weights of a convolution": (
        made([node("Conv", "x w")], PICTURE, w=np.ones((5, 4, 3, 3), np.float32)),
        "Input channels C is not equal",
    ),
    "size of a reshape": (made([node("Reshape", "x s")], s=np.int64([3, 2])), "{3,2}"),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_contradiction_is_refused_with_its_node(case):
    model, why = CONTRADICTIONS[case]
    with pytest.raises(ModelError, match="can never run: node 'layer'") as caught:
        export(model)
    assert why in str(caught.value)
    assert "onnxruntime_src" not in str(caught.value)


def test_the_path_and_the_operator_stand_beside_a_node_without_a_name(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(made([node("MatMul", "x w", name="")], w=ONES), path)
    with pytest.raises(ModelError, match=r"m\.onnx: .* a node without a name \(MatMul\)"):
        export(path)


def test_an_operator_without_a_kernel_is_a_warning():
    """ONNX has convolutions of float64, and ONNX Runtime does not."""
    wide = helper.make_node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE)
    conv = helper.make_node("Conv", ["d", "w"], ["c"])
    narrow = node("Cast", "c", to=TensorProto.FLOAT)
    result = export(made([wide, conv, narrow], PICTURE, w=np.ones((5, 3, 3, 3))))
    assert "Could not find an implementation" in str(result.parity.reason)
    told = [(f.rule, f.severity) for f in result.findings]
    assert told == [("export/float32", "info"), ("export/parity", "warning")]


def test_a_failure_that_depends_on_the_values_is_a_warning():
    """Rows that are counted by the data: random ones may be out of range."""
    index = helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64)
    far = helper.make_node("Add", ["i", "far"], ["j"])
    result = export(made([index, far, node("Gather", "w j")], w=ONES, far=np.int64([100])))
    assert [(f.rule, f.severity) for f in result.findings] == [("export/parity", "warning")]


def test_an_opset_that_nobody_knows_yet():
    with pytest.raises(ModelError, match=r"opset 99 is too new: .* up to opset \d+") as caught:
        export(made([node("Relu", "x")], opset=99))
    assert "guarantee" not in str(caught.value)


def test_a_model_without_outputs(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(made([node("Relu", "x")], outputs=()), path)
    with pytest.raises(ModelError, match=r"m\.onnx: the model has no outputs"):
        export(path)


@pytest.mark.parametrize(
    ("operator", "inputs", "why"),
    [("Relu", "gone", "input 'gone' of node: name: layer"), ("Relux", "x", "Name: layer")],
)
def test_what_the_checker_says_ends_with_the_node(operator, inputs, why):
    with pytest.raises(ModelError, match=f"not a valid ONNX model.*{why}"):
        export(made([node(operator, inputs)]))


def test_names_that_are_no_text():
    data = made([node("Relu", "x")]).SerializeToString().replace(b"layer", b"\xff\xfe\xff\xfe\xff")
    with pytest.raises(ModelError, match="UTF-8"):
        export(onnx.load_from_string(data))
