"""Models that TFLite cannot take: one line with node, reason and remedy, and nothing written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewise.errors import ModelError, UnsupportedOperator
from edgewise.targets.android import TARGET
from edgewise.targets.android.admission import check_size

X = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
WEIGHTS = np.ones((4, 3, 3, 3), np.float32)


def _node(op_type: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    return helper.make_node(op_type, inputs, [output], name=f"the_{output}", **attributes)


def _model(
    nodes: list[Any],
    constants: dict[str, Any] | None = None,
    source: Any = X,
    result: Any = Y,
    domain: str = "",
) -> ir.Model:
    initializers = [numpy_helper.from_array(np.asarray(a), k) for k, a in (constants or {}).items()]
    graph = helper.make_graph(nodes, "g", [source], [result], initializers)
    opsets = [helper.make_opsetid("", 21)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=10))


def _typed(name: str, dtype: int) -> Any:
    return helper.make_tensor_value_info(name, dtype, ["N", 3, 8, 8])


def _cast_to(dtype: int) -> ir.Model:
    nodes = [
        _node("Cast", ["x"], "d", to=dtype),
        _node("Neg", ["d"], "e"),
        _node("Cast", ["e"], "y", to=TensorProto.FLOAT),
    ]
    return _model(nodes)


def _whole(dtype: int) -> ir.Model:
    weights = WEIGHTS.astype(helper.tensor_dtype_to_np_dtype(dtype))
    return _model(
        [_node("Conv", ["x", "w"], "y")], {"w": weights}, _typed("x", dtype), _typed("y", dtype)
    )


def _weights(number: float) -> ir.Model:
    weights = WEIGHTS.copy()
    weights[1, 2, 0, 1] = number
    return _model([_node("Conv", ["x", "w"], "y")], {"w": weights})


FLOAT32 = r"Export the model in float32"
CASES: dict[str, tuple[ir.Model, str]] = {
    "unsupported operator": (
        _model([_node("RandomNormalLike", ["x"], "r"), _node("Add", ["x", "r"], "y")]),
        r"node 'the_r' \(RandomNormalLike\).*no TFLite form.*Replace it",
    ),
    "custom domain": (
        _model([_node("Frob", ["x"], "y", domain="com.acme")], domain="com.acme"),
        r"node 'the_y' \(Frob\).*domain 'com\.acme'.*operators of the ONNX standard",
    ),
    "custom domain in the middle": (
        _model(
            [_node("Frob", ["x"], "f", domain="com.acme"), _node("Relu", ["f"], "y")],
            domain="com.acme",
        ),
        r"node 'the_f' \(Frob\).*domain 'com\.acme'",
    ),
    "size that depends on data": (
        _model([_node("NonZero", ["x"], "i"), _node("Cast", ["i"], "y", to=TensorProto.FLOAT)]),
        r"node 'the_i' \(NonZero\).*size of its output 'i' depends on its data.*application",
    ),
    "float64": (_whole(TensorProto.DOUBLE), rf"node 'the_y' \(Conv\).*'x' is float64.*{FLOAT32}"),
    "float64 inside": (
        _cast_to(TensorProto.DOUBLE),
        rf"node 'the_d' \(Cast\).*output 'd' is float64.*{FLOAT32}",
    ),
    "float16": (_whole(TensorProto.FLOAT16), rf"node 'the_y' \(Conv\).*'x' is float16.*{FLOAT32}"),
    "float16 inside": (_cast_to(TensorProto.FLOAT16), rf"'the_d'.*'d' is float16.*{FLOAT32}"),
    "bfloat16 inside": (_cast_to(TensorProto.BFLOAT16), rf"'the_d'.*'d' is bfloat16.*{FLOAT32}"),
    "uint64 inside": (_cast_to(TensorProto.UINT64), r"'the_d'.*'d' is uint64.*Keep to float32"),
    "strings": (
        _model(
            [_node("Identity", ["x"], "y")],
            None,
            _typed("x", TensorProto.STRING),
            _typed("y", TensorProto.STRING),
        ),
        r"node 'the_y' \(Identity\).*'x' is string",
    ),
    "NaN in weights": (_weights(np.nan), r"node 'the_y' \(Conv\).*'w' hold NaN.*diverge"),
    "infinity in weights": (_weights(-np.inf), r"node 'the_y' \(Conv\).*'w' hold NaN or infinity"),
}


@pytest.mark.parametrize("name", list(CASES))
def test_one_line_names_node_reason_and_remedy(name: str, tmp_path: Path) -> None:
    source, pattern = CASES[name]
    with pytest.raises(UnsupportedOperator, match=pattern) as caught:
        TARGET.emit(source, tmp_path / "out")
    assert "\n" not in str(caught.value) and caught.value.remedy
    assert caught.value.exit_code == 3
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["custom domain in the middle", "float64 inside", "NaN in weights"]
)
def test_check_foretells_them(name: str) -> None:
    source, _ = CASES[name]
    errors = [finding for finding in TARGET.check(source) if finding.severity == "error"]
    assert errors and errors[0].node and errors[0].remedy


def test_free_dimensions_are_named_with_the_flag_that_fixes_them(tmp_path: Path) -> None:
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "height", None])
    model = _model([_node("Relu", ["x"], "y")], None, source)
    wanted = (
        r"input 'x': the shape must be static: dimensions 2 \('height'\), 3 have no size\. "
        r"Give numbers: --input-shape x=1,3,HEIGHT,SIZE of build and export, or \[model\]"
    )
    with pytest.raises(ModelError, match=wanted):
        TARGET.emit(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_infinite_masks_are_no_weights(kit: Any, execute: Any, rng: Any) -> None:
    mask = np.triu(np.full((4, 4), -np.inf, np.float32), 1)
    x = {"x": rng.standard_normal((2, 4, 4)).astype(np.float32)}
    nodes = [kit.node("Add", ["x", "mask"], ["a"]), kit.node("Softmax", ["a"], ["y"])]
    source = kit.model(nodes, x, {"y": np.float32}, {"mask": mask})
    assert execute(source, x).error < kit.float_tolerance


def _large(gibibytes: float, dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Model:
    """A model whose weights know their shape, and may not be looked at."""

    def unread() -> ir.Tensor:
        raise AssertionError("the weights were read")

    source = _model([_node("MatMul", ["x", "w"], "y")], {"w": np.ones((8, 8), np.float32)})
    columns = int(gibibytes * 2**30 / dtype.itemsize / 8)
    weights = ir.LazyTensor(unread, dtype=dtype, shape=ir.Shape([8, columns]), name="w")
    source.graph.initializers["w"].const_value = weights
    return source


def test_models_beyond_two_gibibytes_are_refused_unread(tmp_path: Path) -> None:
    wanted = r"too large for a TFLite file.*2\.50 GiB of at most 2 as fp32.*precision .*w8a8"
    with pytest.raises(ModelError, match=wanted):
        TARGET.emit(_large(2.5), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_models_that_no_precision_makes_small_enough_are_to_be_split(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"as fp32\. Split the model\."):
        TARGET.emit(_large(40), tmp_path / "out")


def test_constants_that_nothing_reads_do_not_count() -> None:
    source = _large(2.5)
    source.graph[0].replace_input_with(1, source.graph[0].inputs[0])
    check_size(source, TARGET.scheme("fp32"), TARGET.precisions)


def test_integers_count_with_their_own_width() -> None:
    for gibibytes, fits in ((1.9, True), (2.1, False)):
        source = _large(gibibytes, ir.DataType.INT8)
        if fits:
            check_size(source, TARGET.scheme("w8a8"), TARGET.precisions)
            continue
        with pytest.raises(ModelError, match=r"2\.10 GiB of at most 2 as w8a8"):
            check_size(source, TARGET.scheme("w8a8"), TARGET.precisions)


DILATED: dict[str, Any] = {"dilations": [2, 2], "auto_pad": "SAME_UPPER"}


def test_what_follows_a_refused_node_of_unknown_shape_does_not_hide_it() -> None:
    pooled = _node("MaxPool", ["x"], "p", kernel_shape=[2, 2], **DILATED)
    rows = _node("Reshape", ["p", "rows"], "r")
    weights = {"w": np.ones((1, 4, 8), np.float32), "r_w": np.ones((1, 4, 4), np.float32)}
    layer = _node("RNN", ["r", "w", "r_w"], "y", hidden_size=4)
    model = _model([pooled, rows, layer], weights | {"rows": np.array([3, -1, 8])})
    with pytest.raises(UnsupportedOperator, match="auto_pad SAME with dilations"):
        TARGET.emit(model, "nowhere")


def test_a_refused_node_of_a_quantized_model_is_the_only_one_that_is_told(kit: Any) -> None:
    x = np.ones((1, 1, 4, 4), np.float32)
    layer = kit.node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[1, 1], **DILATED)
    source = kit.int8_model(layer, {"x": x}, (0.1, 0), input_parameters={"x": (0.1, 0)})
    found = [finding for finding in TARGET.check(source) if finding.severity == "error"]
    assert len(found) == 1 and "auto_pad SAME with dilations" in found[0].message
    with pytest.raises(UnsupportedOperator, match="auto_pad SAME with dilations"):
        TARGET.emit(source, "nowhere", "w8a8")
