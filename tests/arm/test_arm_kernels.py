"""What ONNX Runtime lacks, or computes otherwise than ONNX says, and how it says so.

That the detours compute what ONNX wants is shown by the conformance tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewise.errors import ModelError, UnsupportedOperator
from edgewise.graph import load
from edgewise.targets.arm import TARGET
from edgewise.targets.arm.refusals import refusal_of

F, I64 = TensorProto.FLOAT, TensorProto.INT64


def model(
    op_type: str,
    inputs: dict[str, tuple[int, list[Any]]],
    constants: dict[str, np.ndarray] | None = None,
    order: list[str] | None = None,
    opset: int = 21,
    **attributes: Any,
) -> ir.Model:
    """One node named "odd", with the output y."""
    constants = constants or {}
    names = order or [*inputs, *constants]
    graph = helper.make_graph(
        [helper.make_node(op_type, names, ["y"], name="odd", **attributes)],
        "one",
        [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info("y", F, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def test_an_operator_without_kernel_is_written_in_others(tmp_path: Path) -> None:
    artifact = TARGET.emit(model("Swish", {"x": (F, [2, 3])}, opset=24), tmp_path)
    assert [node.op_type for node in load(artifact.path).graph] == ["Sigmoid", "Mul"]
    x = np.array([[-2, 0, 1], [3, 0.5, -0.5]], np.float32)
    found = TARGET.open(artifact).run({"x": x})["y"]
    np.testing.assert_allclose(found, x / (1 + np.exp(-x)), rtol=1e-6)


def test_what_has_a_kernel_stays(tmp_path: Path) -> None:
    source = model("ConvInteger", {"x": (TensorProto.UINT8, [1, 1, 4, 4])}, {
        "w": np.ones((1, 1, 2, 2), np.uint8)
    })  # fmt: skip
    source.graph.outputs[0].dtype = ir.DataType.INT32
    artifact = TARGET.emit(source, tmp_path)
    assert [node.op_type for node in load(artifact.path).graph] == ["ConvInteger"]


@pytest.mark.parametrize(
    ("scale", "mode", "refused"),
    [(0.6, "linear", True), (0.5, "linear", False), (0.6, "nearest", False)],
)
def test_corners_between_pixels(scale: float, mode: str, refused: bool, tmp_path: Path) -> None:
    source = model(
        "Resize",
        {"x": (F, [1, 1, 4, 4])},
        {"scales": np.array([1, 1, scale, scale], np.float32)},
        order=["x", "", "scales"],
        mode=mode,
        coordinate_transformation_mode="align_corners",
    )
    if not refused:
        TARGET.emit(source, tmp_path / "out")
        return
    with pytest.raises(UnsupportedOperator, match=r"node 'odd' \(Resize\): .+whole pixels"):
        TARGET.emit(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (finding,) = TARGET.check(source)
    assert (finding.severity, finding.node) == ("error", "odd")


def test_a_detour_that_does_not_fit(tmp_path: Path) -> None:
    source = model(
        "MaxUnpool",
        {"x": (F, [1, 1, 2, 2]), "i": (I64, [1, 1, 2, 2])},
        {"size": np.array([1, 1, 5, 5])},
        kernel_shape=[2, 2],
        strides=[2, 2],
    )
    with pytest.raises(UnsupportedOperator, match=r"MaxUnpool.+indices are then read differently"):
        TARGET.emit(source, tmp_path / "out")


SAID = {
    "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an implementation for Max(13) node "
    "with name 'odd'": r"node 'odd' \(Max\): .+no CPU kernel for it as of opset 13",
    "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Failed to find kernel for Max(13) (node:'odd' "
    "ep:'CPUExecutionProvider'). Kernel not found": r"node 'odd' \(Max\)",
    "[ONNXRuntimeError] : 1 : FAIL : Exception during initialization: /src/onnxruntime/core/x.h:56 "
    "onnxruntime::X::X(const Y&) layout_ == 0 was false.": r"load the model: layout_ == 0 was",
}


@pytest.mark.parametrize("said", SAID, ids=["lacks", "finds none", "place"])
def test_the_runtime_in_terms_of_the_model(said: str) -> None:
    error = refusal_of(model("Neg", {"x": (F, [1])}), RuntimeError(said))
    assert isinstance(error, ModelError)
    with pytest.raises(ModelError, match=SAID[said]):
        raise error


def test_types_without_kernel(tmp_path: Path) -> None:
    inputs = {"a": (TensorProto.INT16, [2]), "b": (TensorProto.INT16, [2])}
    source = model("Max", inputs)
    source.graph.outputs[0].dtype = ir.DataType.INT16
    with pytest.raises(UnsupportedOperator, match=r"node 'odd' \(Max\).+no CPU kernel"):
        TARGET.emit(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_strings_are_arrays(tmp_path: Path) -> None:
    inputs = {"a": (TensorProto.STRING, [2]), "b": (TensorProto.STRING, [2])}
    source = model("StringConcat", inputs)
    source.graph.outputs[0].dtype = ir.DataType.STRING
    artifact = TARGET.emit(source, tmp_path)
    feeds = {"a": np.array(["x", "é"], object), "b": np.array(["1", "2"], object)}
    assert TARGET.open(artifact).run(feeds)["y"].tolist() == ["x1", "é2"]
