"""ONNX models through the exporter."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewise.data import input_specs, open_source
from edgewise.errors import InternalError, ModelError, UsageError
from edgewise.exporters import export
from edgewise.exporters.passes import PassOutcome
from edgewise.exporters.pipeline import canonicalize
from edgewise.graph import HUB_OPSET, OrtSession, load, prepare, save, to_bytes

rng = np.random.default_rng(0)


def ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def old_model(opset: int) -> onnx.ModelProto:
    """Conv, BatchNormalization, Clip, Dropout, Upsample or Resize, in the forms of that opset."""
    weights = {
        "w": rng.normal(size=(4, 3, 3, 3)),
        **{name: rng.uniform(0.5, 2, 4) for name in ("g", "b", "m", "v")},
    }
    initializers = [
        numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "g", "b", "m", "v"], ["n"]),
    ]
    if opset < 11:
        nodes.append(helper.make_node("Clip", ["n"], ["r"], min=0.0, max=6.0))
    else:
        initializers += [
            numpy_helper.from_array(np.float32(0), "lo"),
            numpy_helper.from_array(np.float32(6), "hi"),
        ]
        nodes.append(helper.make_node("Clip", ["n", "lo", "hi"], ["r"]))
    nodes += [
        helper.make_node("Dropout", ["r"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])]
    if opset < 9:  # initializers were inputs too
        inputs += [
            helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in initializers
        ]
    graph = helper.make_graph(
        nodes,
        "old",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        initializers,
    )
    versions = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=versions, ir_version=3 if opset < 9 else 8)


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 15, 17, 20, 21, 22])
def test_any_opset_becomes_canonical(tmp_path, opset):
    proto = old_model(opset)
    onnx.save(proto, tmp_path / "old.onnx")
    result = export(tmp_path / "old.onnx")
    assert result.source_kind == "onnx"
    assert result.model.opset_imports[""] >= HUB_OPSET
    assert ops(result.model) == ["Conv", "Clip", "GlobalAveragePool", "Flatten"]
    assert result.parity.samples == 2 and result.parity.max_rel_error < 1e-5
    (spec,) = input_specs(result.model)
    assert (spec.name, spec.shape[1:]) == ("x", (3, 8, 8))
    assert isinstance(spec.shape[0], str)  # a symbolic batch stays symbolic
    assert [value.name for value in result.model.graph.outputs] == ["y"]
    feeds = {"x": rng.normal(size=(3, 3, 8, 8)).astype(np.float32)}
    expected = OrtSession(proto.SerializeToString()).run(feeds)["y"]
    np.testing.assert_allclose(OrtSession(result.model).run(feeds)["y"], expected, atol=1e-5)


def test_too_old_an_opset(tmp_path):
    onnx.save(old_model(6), tmp_path / "old.onnx")
    with pytest.raises(ModelError, match="opset 6"):
        export(tmp_path / "old.onnx")


def test_digits_with_real_inputs(digits):
    def opener(specs, told=None):
        return open_source(digits / "calibration.npz", inputs=specs)

    result = export(digits / "digits.onnx", example=opener)
    assert (result.parity.inputs, result.parity.samples) == ("real", 32)
    assert result.parity.max_rel_error < 1e-5
    assert result.findings == ()
    given = export(digits / "digits.onnx", example=opener(input_specs(result.model)))
    assert given.parity == result.parity


def test_same_bytes_twice_and_the_source_untouched(digits):
    source = load(digits / "digits.onnx")
    before = to_bytes(source)
    first, second = export(source), export(source)
    assert first.source_kind == "onnx-model"
    assert to_bytes(first.model) == to_bytes(second.model)
    assert to_bytes(source) == before
    assert to_bytes(export(first.model).model) == to_bytes(first.model)  # canonical stays canonical


def test_model_proto_and_saved_hub_model(digits, tmp_path):
    proto = onnx.load(digits / "digits.onnx")
    result = export(proto)
    save(result.model, tmp_path / "hub.onnx")
    assert to_bytes(export(tmp_path / "hub.onnx").model) == to_bytes(result.model)


def test_fixed_input_shapes(digits):
    result = export(digits / "digits.onnx", input_shapes={"image": (1, 1, 32, 32)})
    assert input_specs(result.model)[0].shape == (1, 1, 32, 32)
    with pytest.raises(UsageError, match=r"no input 'picture'.*image"):
        export(digits / "digits.onnx", input_shapes={"picture": (1, 1, 32, 32)})


def test_external_data(digits, tmp_path):
    onnx.save_model(
        onnx.load(digits / "digits.onnx"),
        tmp_path / "d.onnx",
        save_as_external_data=True,
        location="d.bin",
        size_threshold=0,
    )
    assert to_bytes(export(tmp_path / "d.onnx").model) == to_bytes(
        export(digits / "digits.onnx").model
    )


def test_functions_are_inlined(parse):
    proto = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 21, "local": 1]>
        g (float[n, 3] x) => (float[n, 3] y) { y = local.twice (x) }
        <domain: "local", opset_import: ["": 21]>
        twice (a) => (b) { b = Add (a, a) }"""
    )
    assert ops(export(proto).model) == ["Add"]


def test_quantized_model_arrives_as_a_float_model_with_its_weights(parse):
    model = parse(
        """g (float[1, 1, 4, 4] x) => (float[1, 2, 4, 4] y) {
          q = QuantizeLinear (x, s, z)
          d = DequantizeLinear (q, s, z)
          wd = DequantizeLinear <axis: int = 0> (w, ws, wz)
          c = Conv (d, wd)
          cq = QuantizeLinear (c, s, z)
          cd = DequantizeLinear (cq, s, z)
          r = Relu (cd)
          rq = QuantizeLinear (r, s, z)
          y = DequantizeLinear (rq, s, z) }""",
        s=np.float32(0.1),
        z=np.int8(3),
        w=np.array([[[[5]]], [[[-7]]]], np.int8),
        ws=np.array([0.1, 0.2], np.float32),
        wz=np.array([0, 0], np.int8),
    )
    result = export(model)
    assert ops(result.model) == ["Conv", "Relu"]
    assert result.parity.max_abs_error == 0.0
    weights = result.model.graph.initializers["w"].const_value
    np.testing.assert_array_equal(
        weights.numpy().ravel(), np.float32([0.1, 0.2]) * np.float32([5, -7])
    )


def test_no_path_or_comment_of_the_exporting_machine_stays(digits):
    proto = onnx.load(digits / "digits.onnx")
    secret = "/home/somebody/project/model.py"
    for node in proto.graph.node:
        node.doc_string = secret
        node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=secret)
    proto.graph.doc_string = secret
    proto.graph.metadata_props.add(key="trace", value=secret)
    proto.graph.input[0].doc_string = secret
    for value in proto.graph.value_info:
        value.metadata_props.add(key="trace", value=secret)
    for tensor in proto.graph.initializer:
        tensor.doc_string = secret
        tensor.metadata_props.add(key="trace", value=secret)
    proto.metadata_props.add(key="author", value="kept")
    result = export(proto)
    assert secret.encode() not in to_bytes(result.model)
    assert result.model.metadata_props == {"author": "kept"}


def test_declined_rewrites_are_findings(parse):
    model = parse(
        "g (float[9] x) => (float[9] y, float[9] r) { r = Relu (x)\n y = Min (r, six) }",
        six=np.float32(6),
    )
    (finding,) = export(model).findings
    assert (finding.rule, finding.severity) == ("export/merge-clips", "info")
    assert "used elsewhere" in finding.message


def test_a_source_that_cannot_run_is_reported_not_hidden(parse):
    model = parse(
        "g (float[n, 3] x, int64[1] i) => (float[n, 1] y) { y = Gather <axis: int = 1> (x, i) }"
    )
    assert export(model).parity.samples == 2
    wide = parse("g (float[n, 3, 5] x, int64[2] s) => (float y) { y = Reshape (x, s) }")
    wide.graph.outputs[0].shape = None
    result = export(wide)
    assert result.parity.max_abs_error is None
    assert "random inputs" in result.parity.reason
    assert "export/parity" in [finding.rule for finding in result.findings]


def test_a_wrong_export_is_refused(parse, monkeypatch):
    from edgewise.exporters import export as export_function

    def spoil(model):
        node = next(iter(model.graph))
        node.op_type = "Cos"
        return PassOutcome(model, True)

    monkeypatch.setitem(
        export_function.__globals__, "canonicalize", lambda hub: canonicalize(hub, {"spoil": spoil})
    )
    with pytest.raises(
        InternalError, match=r"output 'y'.*differs.*canonical form.*layer 'y' \(Cos\)"
    ):
        export(parse("g (float[3] x) => (float[3] y) { y = Sin (x) }"))


def rename_output(model):
    model.graph.outputs[0].name = "other"


def undefined_value(model):
    next(iter(model.graph)).replace_input_with(0, ir.Value(name="ghost"))


def unknown_operator(model):
    next(iter(model.graph)).op_type = "NoSuchOperator"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (rename_output, "inputs and outputs changed"),
        (undefined_value, "reads 'ghost' before it is made"),
        (unknown_operator, "NoSuchOperator"),
    ],
)
def test_a_pass_that_breaks_the_graph_is_named(parse, damage, message):
    def bad(model):
        damage(model)
        return PassOutcome(model, True)

    def good(model):
        return PassOutcome(model, False)

    hub = prepare(parse("g (float[3] x) => (float[3] y) { s = Sin (x)\n y = Cos (s) }"))
    with pytest.raises(InternalError, match=rf"after bad.*{message}.*passes so far: good, bad"):
        canonicalize(hub, {"good": good, "bad": bad})


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("absent.onnx", None, UsageError, "no such file"),
        ("text.onnx", b"this is no model", ModelError, "not an ONNX file"),
        ("m.txt", b"x", ModelError, r"'\.txt'"),
    ],
)
def test_unreadable_sources(tmp_path, name, content, error, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        export(name, base=tmp_path)


def test_truncated_and_invalid_models(digits, tmp_path, parse):
    whole = (digits / "digits.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="truncated"):
        export(tmp_path / "cut.onnx")
    model = parse("g (float[3] x) => (float[3] y) { y = Sin (x) }")
    next(iter(model.graph)).op_type = "NoSuchOperator"
    with pytest.raises(ModelError, match=r"not a valid ONNX model.*NoSuchOperator"):
        export(model)
