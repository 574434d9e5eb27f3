"""Operators that move data against ONNX Runtime, and how many transposes they cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

PADS = np.array([0, 0, 1, 2, 0, 0, 2, 1])
#: operator, constant inputs, attributes; the input is (1, 4, 6, 5)
MOVES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "reshape": ("Reshape", {"s": np.array([1, 8, -1])}, {}),
    "reshape to scalar axis": ("Reshape", {"s": np.array([-1])}, {}),
    "flatten": ("Flatten", {}, {}),
    "flatten at 2": ("Flatten", {}, {"axis": 2}),
    "squeeze": ("Squeeze", {"a": np.array([0])}, {}),
    "unsqueeze": ("Unsqueeze", {"a": np.array([0, -1])}, {}),
    "transpose": ("Transpose", {}, {"perm": [0, 2, 3, 1]}),
    "transpose odd": ("Transpose", {}, {"perm": [3, 0, 2, 1]}),
    "expand": ("Expand", {"s": np.array([2, 4, 6, 5])}, {}),
    "tile": ("Tile", {"r": np.array([1, 2, 1, 3])}, {}),
    "slice": (
        "Slice",
        {"b": np.array([1, -3]), "e": np.array([3, 99]), "a": np.array([1, -1])},
        {},
    ),
    "slice with steps": (
        "Slice",
        {"b": np.array([0, 4]), "e": np.array([4, 0]), "a": np.array([1, 2]),
         "s": np.array([3, -2])},
        {},
    ),
    "pad": ("Pad", {"p": PADS}, {}),
    "pad with value": ("Pad", {"p": PADS, "v": np.float32(0.5)}, {}),
    "pad named axes": ("Pad", {"p": np.array([1, 2]), "v": np.float32(0), "a": np.array([-1])}, {}),
    "pad reflect": ("Pad", {"p": PADS}, {"mode": "reflect"}),
    "pad edge": ("Pad", {"p": PADS}, {"mode": "edge"}),
    "pad wrap": ("Pad", {"p": PADS}, {"mode": "wrap"}),
    "pad negative": ("Pad", {"p": -PADS}, {}),
    "gather": ("Gather", {"i": np.array([0, -1, 2])}, {"axis": 1}),
    "gather one": ("Gather", {"i": np.array(2)}, {"axis": 2}),
    "gather matrix": ("Gather", {"i": np.array([[0, 1], [2, -1]])}, {"axis": -1}),
    "gather nd": ("GatherND", {"i": np.array([[0, 1], [0, -1]])}, {}),
    "depth to space": ("DepthToSpace", {}, {"blocksize": 2}),
    "depth to space crd": ("DepthToSpace", {}, {"blocksize": 2, "mode": "CRD"}),
}  # fmt: skip


def _feed(rng: Any) -> Any:
    return rng.uniform(-1, 1, (1, 4, 6, 5)).astype(np.float32)


@pytest.mark.parametrize("case", MOVES)
def test_move(execute: Any, kit: Any, rng: Any, case: str) -> None:
    op_type, constants, attributes = MOVES[case]
    x = _feed(rng)
    layer = kit.node(op_type, ["x", *constants], ["y"], **attributes)
    run = execute(kit.model([layer], {"x": x}, {"y": np.float32}, constants), {"x": x})
    assert run.error == 0


@pytest.mark.parametrize("case", MOVES)
def test_move_int8_is_exact_at_one_scale(execute: Any, kit: Any, rng: Any, case: str) -> None:
    op_type, constants, attributes = MOVES[case]
    x = _feed(rng)
    layer = kit.node(op_type, ["x", *constants], ["y"], **attributes)
    source = kit.int8_model(
        layer, {"x": x}, (0.01, 4), input_parameters={"x": (0.01, 4)}, constants=constants
    )
    run = execute(source, {"x": x}, "w8a8")
    assert run.lsb == 0
    assert "android/float-island" not in run.rules()


@pytest.mark.parametrize("case", MOVES)
def test_move_int8_requantizes_where_a_foreign_model_differs(
    execute: Any, kit: Any, rng: Any, case: str
) -> None:
    op_type, constants, attributes = MOVES[case]
    x = _feed(rng)
    layer = kit.node(op_type, ["x", *constants], ["y"], **attributes)
    source = kit.int8_model(layer, {"x": x}, (0.02, -9), constants=constants)
    run = execute(source, {"x": x}, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert "android/requantize" in run.rules()


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_concat_and_split(execute: Any, kit: Any, rng: Any, axis: int) -> None:
    feeds = {name: rng.standard_normal((1, 4, 6, 6), np.float32) for name in "ab"}
    nodes = [
        kit.node("Concat", ["a", "k", "b"], ["c"], axis=axis),
        kit.node("Split", ["c"], ["y", "z"], axis=axis, num_outputs=2),
    ]
    constants = {"k": rng.standard_normal((1, 4, 6, 6), np.float32)}
    source = kit.model(nodes, feeds, {"y": np.float32, "z": np.float32}, constants)
    assert execute(source, feeds).error == 0


def test_concat_int8_requantizes_the_input_that_differs(execute: Any, kit: Any, rng: Any) -> None:
    feeds = {name: rng.uniform(-1, 1, (1, 4, 6, 5)).astype(np.float32) for name in "ab"}
    layer = kit.node("Concat", ["a", "b"], ["y"], axis=1)
    parameters = {"a": (0.01, 0), "b": (0.02, 5)}
    source = kit.int8_model(layer, feeds, (0.01, 0), input_parameters=parameters)
    run = execute(source, feeds, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert run.rules().count("android/requantize") == 1


def test_space_to_depth(execute: Any, kit: Any, rng: Any) -> None:
    x = rng.standard_normal((1, 3, 6, 4), np.float32)
    layer = kit.node("SpaceToDepth", ["x"], ["y"], blocksize=2)
    assert execute(kit.model([layer], {"x": x}, {"y": np.float32}), {"x": x}).error == 0


def test_casts_and_constants(execute: Any, kit: Any, rng: Any) -> None:
    x = rng.uniform(-5, 5, (2, 3)).astype(np.float32)
    nodes = [
        kit.node("Cast", ["x"], ["i"], to=6),
        kit.node("Cast", ["i"], ["f"], to=1),
        kit.node("ConstantOfShape", ["s"], ["zeros"]),
        kit.node("Add", ["f", "zeros"], ["y"]),
    ]
    source = kit.model(nodes, {"x": x}, {"y": np.float32, "i": np.int32}, {"s": np.array([2, 3])})
    assert execute(source, {"x": x}).error == 0


def _classifier(kit: Any, rng: Any, product: str) -> tuple[Any, Any]:
    x = rng.standard_normal((1, 3, 4, 6), np.float32)
    columns = 5 * 4 * 6
    nodes = [kit.node("Conv", ["x", "w"], ["t"]), kit.node("Flatten", ["t"], ["f"])]
    if product == "Gemm":
        nodes.append(kit.node("Gemm", ["f", "g", "b"], ["y"], transB=1))
    else:
        nodes.append(kit.node("MatMul", ["f", "h"], ["y"]))
    constants = {
        "w": rng.standard_normal((5, 3, 1, 1), np.float32),
        "g": rng.standard_normal((7, columns), np.float32) * 0.1,
        "h": rng.standard_normal((columns, 7), np.float32) * 0.1,
        "b": rng.standard_normal(7, np.float32),
    }
    used = {name for layer in nodes for name in layer.input}
    constants = {name: array for name, array in constants.items() if name in used}
    return kit.model(nodes, {"x": x}, {"y": np.float32}, constants), x


@pytest.mark.parametrize("product", ["Gemm", "MatMul"])
def test_flatten_before_a_classifier_permutes_weights_instead_of_activations(
    execute: Any, kit: Any, rng: Any, quantize: Any, product: str
) -> None:
    source, x = _classifier(kit, rng, product)
    assert kit.kinds(source) == ["CONV_2D", "RESHAPE", "FULLY_CONNECTED"]
    assert execute(source, {"x": x}).error <= kit.float_tolerance * 10
    run = execute(quantize(source, {"x": x}), {"x": x}, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert run.rules() == []


def test_flatten_that_something_else_reads_too_is_transposed(
    execute: Any, kit: Any, rng: Any
) -> None:
    x = rng.standard_normal((1, 3, 4, 6), np.float32)
    nodes = [
        kit.node("Flatten", ["x"], ["f"]),
        kit.node("Gemm", ["f", "g"], ["y"], transB=1),
        kit.node("Relu", ["f"], ["z"]),
    ]
    constants = {"g": rng.standard_normal((7, 72), np.float32)}
    source = kit.model(nodes, {"x": x}, {"y": np.float32, "z": np.float32}, constants)
    run = execute(source, {"x": x})
    assert run.error <= kit.float_tolerance * 10
    assert "android/layout-transpose" in run.rules()


def test_transposes_that_cancel_cost_nothing(execute: Any, kit: Any, rng: Any) -> None:
    """A model exported from NHWC: the input is transposed to NCHW and the output back."""
    x = rng.standard_normal((1, 5, 6, 3), np.float32)
    nodes = [
        kit.node("Transpose", ["x"], ["a"], perm=[0, 3, 1, 2]),
        kit.node("Conv", ["a", "w"], ["b"]),
        kit.node("Transpose", ["b"], ["y"], perm=[0, 2, 3, 1]),
    ]
    constants = {"w": rng.standard_normal((4, 3, 1, 1), np.float32)}
    source = kit.model(nodes, {"x": x}, {"y": np.float32}, constants)
    assert kit.kinds(source) == ["CONV_2D"]
    run = execute(source, {"x": x})
    assert run.error <= kit.float_tolerance
    ends = (run.artifact.manifest.inputs[0], run.artifact.manifest.outputs[0])
    assert [(end.layout, end.perm) for end in ends] == [("NHWC", (0, 1, 2, 3))] * 2


def test_an_input_that_is_an_output_gets_a_copy(execute: Any, kit: Any, rng: Any) -> None:
    x = rng.standard_normal((1, 3, 4, 5), np.float32)
    nodes = [
        kit.node("Transpose", ["x"], ["y"], perm=[0, 2, 3, 1]),
        kit.node("Transpose", ["x"], ["z"], perm=[0, 3, 1, 2]),
    ]
    source = kit.model(nodes, {"x": x}, {"y": np.float32, "z": np.float32})
    assert execute(source, {"x": x}).error == 0
