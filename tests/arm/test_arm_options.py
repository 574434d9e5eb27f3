"""[targets.arm]: sizes, what they may hold, and that `check` raises what `emit` would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgewise.errors import ModelError, UnsupportedPrecision, UsageError
from edgewise.graph import load, prepare
from edgewise.targets import EmitOptions
from edgewise.targets.arm import TARGET
from edgewise.targets.arm.assembly import _check_size
from edgewise.targets.arm.options import KNOWN_OPTIONS, ArmOptions

Cnn = tuple[Path, Path]
Options = dict[str, Any]


def flexible() -> ir.Model:
    """Two inputs that share a dimension, and a free size each."""
    graph = helper.make_graph(
        [helper.make_node("Concat", ["x", "y"], ["z"], axis=1)],
        "flexible",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "left", 2]),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "right", 2]),
        ],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def emit(model: ir.Model, folder: Path, options: Options) -> Any:
    return TARGET.emit(model, folder, options=EmitOptions(options=options))


@pytest.mark.parametrize(
    ("shapes", "wanted"),
    [
        ({"x": "1,3,2"}, [(1, 3, 2), ("batch", "right", 2)]),
        ({"x": "1, 3, 2", "y": "1,5,2"}, [(1, 3, 2), (1, 5, 2)]),
        ({"batch": "4", "left": "3", "right": "5"}, [(4, 3, 2), (4, 5, 2)]),
        ({"x": "1,3,2", "batch": "1", "right": "5"}, [(1, 3, 2), (1, 5, 2)]),
    ],
)
def test_shapes(shapes: dict[str, str], wanted: list[Any], tmp_path: Path) -> None:
    artifact = emit(flexible(), tmp_path, {"shapes": shapes})
    assert [signature.shape for signature in artifact.manifest.inputs] == wanted
    assert artifact.manifest.options["shapes"] == {k: v.replace(" ", "") for k, v in shapes.items()}
    sizes = [tuple(d if isinstance(d, int) else 1 for d in shape) for shape in wanted]
    feeds = {name: np.ones(size, np.float32) for name, size in zip("xy", sizes, strict=True)}
    if sizes[0][0] == sizes[1][0]:
        found = TARGET.open(artifact).run(feeds)["z"]
        assert found.shape == (sizes[0][0], sizes[0][1] + sizes[1][1], 2)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"q": "1,3,2"}, r"no input or free dimension 'q': it has inputs x, y and free dimensions"),
        ({"x": "1,3"}, r"\[1, 3\] is no shape of input 'x'"),
        ({"x": "1,3,9"}, r"the model has \(batch, left, 2\)"),
        ({"batch": "1,2"}, "dimension 'batch' of input 'x' needs one number"),
        ({"batch": "1"}, "dimension 'left' of input 'x' stays free"),
        ({"x": "1,0,2"}, "whole numbers of at least 1"),
        ({"x": "1,3..9,2"}, "whole numbers of at least 1"),
        ("1,3,2", "a table of texts"),
    ],
)
def test_shapes_that_do_not_fit(shapes: Any, message: str, tmp_path: Path) -> None:
    options = EmitOptions(options={"shapes": shapes})
    for run in (
        lambda: TARGET.emit(flexible(), tmp_path / "out", options=options),
        lambda: TARGET.check(flexible(), "fp32", options=options),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            run()
        assert caught.value.where == "[targets.arm]"
    assert not (tmp_path / "out").exists()


WRONG: list[tuple[str, Options]] = [
    ("fp32", {"precision": "w8"}), ("fp32", {"batch": 0}), ("fp32", {"batch": True}),
    ("fp32", {"ort_format": 1}), ("fp32", {"format": "s8s8"}), ("w8a8", {"format": "s16s8"}),
    ("w4", {"block_size": 8}), ("w4", {"block_size": True}), ("w8", {"accuracy_level": 5}),
    ("fp16", {"compute": "bf16"}), ("fp16", {"ort_format": True}), ("w8a8", {"compute": "fp16"}),
]  # fmt: skip


@pytest.mark.parametrize(("precision", "options"), WRONG)
def test_check_raises_what_emit_would(
    precision: str, options: Options, cnn: Cnn, tmp_path: Path
) -> None:
    given = EmitOptions(options=options)
    errors = []
    for run in (
        lambda: TARGET.emit(cnn[0], tmp_path / "out", precision, options=given),
        lambda: TARGET.check(prepare(cnn[0]), precision, options=given),
        lambda: TARGET.check_options(options, precision),
    ):
        with pytest.raises(UsageError) as caught:
            run()
        errors.append(str(caught.value))
    assert len(set(errors)) == 1, errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("precision", ["w8a16", "bf16", "palette4"])
def test_precisions_that_are_not_offered(precision: str, cnn: Cnn, tmp_path: Path) -> None:
    for run in (
        lambda: TARGET.emit(cnn[0], tmp_path / "out", precision),
        lambda: TARGET.check(prepare(cnn[0]), precision, options=EmitOptions()),
    ):
        with pytest.raises(UnsupportedPrecision, match="w8a8, w8, w4, fp16, fp32"):
            run()


def test_check_takes_the_float_model_that_will_be_quantized(cnn: Cnn) -> None:
    given = EmitOptions(options={"format": "u8s8", "ort_format": True})
    assert TARGET.check(prepare(cnn[0]), "w8a8", options=given) == []


def test_told_options_are_taken_again(cnn: Cnn, tmp_path: Path) -> None:
    """So that the fp32 file to compare with is made for the same sizes."""
    options: Options = {"batch": 2, "shapes": {"image": "2,3,16,16"}, "ort_format": True}
    artifact = TARGET.emit(cnn[0], tmp_path, options=EmitOptions(options=options))
    told = {k: v for k, v in artifact.manifest.options.items() if k in KNOWN_OPTIONS}
    assert told == options
    assert ArmOptions.of(told, TARGET.scheme("fp32")).as_dict() == options


def test_inputs_that_are_no_arrays(tmp_path: Path) -> None:
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [2]))
    graph = helper.make_graph(
        [helper.make_node("SequenceConstruct", ["x", "x"], ["y"])],
        "sequence",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_value_info("y", kind)],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    model = ir.from_proto(proto)
    with pytest.raises(ModelError, match="'y': inputs and outputs must be tensors, not a sequence"):
        TARGET.emit(model, tmp_path / "out")
    (finding,) = TARGET.check(model)
    assert finding.severity == "error"
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_too_large(cnn: Cnn, tmp_path: Path) -> None:
    model = load(cnn[0])
    weight = model.graph.initializers["w3"]
    lazy = ir.LazyTensor(
        lambda: ir.tensor(np.zeros(1, np.float32)),
        dtype=ir.DataType.FLOAT,
        shape=ir.Shape([1 << 20, 1 << 10]),
        name="w3",
    )
    weight.const_value = lazy
    with pytest.raises(ModelError, match=r"too large for one ONNX file: .+4\.00 GiB of at most 2"):
        _check_size(model)
