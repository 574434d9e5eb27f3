"""The finished bytes against the QDQ model: whole programs pass, damaged ones are named."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgewise.errors import InternalError
from edgewise.targets import EmitOptions
from edgewise.targets.apple import TARGET
from edgewise.targets.apple import package as package_module
from edgewise.targets.apple._coremltools import PassPipeline, PassPipelineManager, ct
from edgewise.targets.apple.deployment import System
from edgewise.targets.apple.legalize import legalize
from edgewise.targets.apple.lower import lower
from edgewise.targets.apple.package import Conversion
from edgewise.targets.apple.program_view import origins_of, read_program
from edgewise.targets.apple.promises import promises_of
from edgewise.targets.apple.quantized_form import examine
from edgewise.targets.apple.table import is_known
from edgewise.targets.apple.verify_program import problems, verify_program


class Finished:
    """A converted program whose bytes can be damaged before they are read again."""

    def __init__(self, model: Any, compute: str = "fp16", system: System = "iOS17") -> None:
        legal = legalize(model, is_known)
        self.promises = promises_of(legal.model)
        with Conversion(lower(legal, system), compute) as conversion:
            weights = conversion._weights()
            self.weights = bytearray(b"" if weights is None else weights.read_bytes())
            self.specification = conversion._specification
            self.origins = origins_of(conversion.main)

    @property
    def block(self) -> Any:
        function = self.specification.mlProgram.functions["main"]
        return function.block_specializations[function.opset]

    def operations(self, kind: str) -> list[Any]:
        return [operation for operation in self.block.operations if operation.type == kind]

    def constant(self, name: str) -> Any:
        """The value of a constant that an operation names."""
        writer = next(o for o in self.block.operations if o.outputs and o.outputs[0].name == name)
        return writer.attributes["val"]

    def parameter(self, operation: Any, name: str) -> Any:
        return self.constant(operation.inputs[name].arguments[0].name)

    def flip(self, value: Any) -> None:
        """Change the lowest bit of a constant, wherever it is kept."""
        if value.WhichOneof("value") == "immediateValue":
            kept = bytearray(value.immediateValue.tensor.bytes.values)
            kept[0] ^= 1
            value.immediateValue.tensor.bytes.values = bytes(kept)
        else:
            offset = value.blobFileValue.offset
            self.weights[struct.unpack_from("<IIQQ", self.weights, offset)[3]] ^= 1

    def view(self) -> Any:
        return read_program(
            self.specification.SerializeToString(), bytes(self.weights), self.origins
        )

    def found(self) -> list[tuple[str, str]]:
        return list(problems(self.view(), self.promises))


@pytest.fixture
def finished(make) -> Finished:
    return Finished(make.quantized_cnn(zero=-9))


@pytest.mark.parametrize("compute", ["fp16", "fp32"])
@pytest.mark.parametrize("system", ["iOS17", "iOS18"])
def test_a_whole_program_keeps_its_promises(make, compute, system):
    finished = Finished(make.quantized_cnn(zero=5), compute, system)
    assert len(finished.promises.pairs) == 16 and len(finished.promises.layers) == 3
    verify_program(finished.view(), finished.promises)
    form = examine(finished.view(), finished.promises.operators)
    assert (form.in_form, form.total, form.in_float) == (3, 3, ())


def test_a_changed_scale(finished):
    operation = finished.operations("quantize")[1]
    value = finished.parameter(operation, "scale").immediateValue.tensor
    value.bytes.values = np.array(0.5, np.float16).tobytes()
    [(node, text)] = finished.found()
    assert node == finished.origins[operation.outputs[0].name]
    assert "its scale is 0.5, that of the QDQ model 0.0309" in text
    with pytest.raises(InternalError, match=f"node '{node}'"):
        verify_program(finished.view(), finished.promises)


def test_a_changed_zero_point(finished):
    operation = finished.operations("dequantize")[2]
    value = finished.parameter(operation, "zero_point").immediateValue.tensor
    value.bytes.values = np.array(-8, np.int8).tobytes()
    wanted = "its zero point is -8, that of the QDQ model -9"
    assert any(wanted in text for _, text in finished.found())


def test_another_integer_type(finished):
    operation = finished.operations("quantize")[0]
    value = finished.parameter(operation, "output_dtype").immediateValue.tensor
    value.strings.values[0] = "uint8"
    assert any("it gives uint8, not int8" in text for _, text in finished.found())


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("quantized_data", "other integers"),
        ("scale", "the scale of its weights at (0, 0, 0, 0)"),
        ("zero_point", "the zero points of its weights"),
    ],
)
def test_a_changed_weight(finished, part, text):
    finished.flip(finished.operations("constexpr_affine_dequantize")[0].attributes[part])
    [(node, found)] = finished.found()
    assert node == "conv1" and text in found


def test_a_missing_pair(finished):
    """What the QDQ model requantizes goes on as it is."""
    quantize, dequantize = finished.operations("quantize")[1], finished.operations("dequantize")[1]
    source = quantize.inputs["input"].arguments[0].name
    bypassed = dequantize.outputs[0].name
    nodes = {finished.origins[o.outputs[0].name] for o in (quantize, dequantize)}
    for operation in (quantize, dequantize):
        finished.block.operations.remove(operation)
    for operation in finished.block.operations:
        for argument in operation.inputs.values():
            for binding in argument.arguments:
                if binding.name == bypassed:
                    binding.name = source
    found = finished.found()
    assert {node for node, _ in found} == nodes
    assert any("0 'quantize' operations" in text for _, text in found)
    form = examine(finished.view(), finished.promises.operators)
    assert form.layers[0].node == "conv1"
    assert form.layers[0].reasons == ("its output is not quantized before MaxPool",)


def test_a_dequantize_that_reads_something_else(finished):
    first, second = finished.operations("dequantize")[:2]
    second.inputs["input"].arguments[0].name = first.inputs["input"].arguments[0].name
    assert any("it does not read what" in text for _, text in finished.found())


def test_a_quantize_too_many(finished):
    extra = finished.block.operations.add()
    extra.CopyFrom(finished.operations("quantize")[0])
    extra.outputs[0].name = "more"
    assert ("?", "it has a 'quantize' that the QDQ model has not") in finished.found()


def test_a_layer_whose_weight_became_float(make):
    finished = Finished(make.quantized_cnn(), "fp32")
    constant = finished.operations("constexpr_affine_dequantize")[0]
    constant.type = "const"
    name, shape = constant.outputs[0].name, constant.outputs[0].type
    for key in list(constant.attributes):
        del constant.attributes[key]
    constant.attributes["val"].type.CopyFrom(shape)
    constant.attributes["val"].immediateValue.tensor.floats.values.extend([0.0] * 8 * 3 * 9)
    assert name and ("conv1", "its weights are not stored as integers") in finished.found()
    assert examine(finished.view(), finished.promises.operators).in_float == ("conv1",)


def test_damaged_files_are_told(finished):
    with pytest.raises(InternalError, match="weight file"):
        finished.weights[:] = finished.weights[:80]
        finished.found()
    with pytest.raises(InternalError, match="cannot be read"):
        read_program(b"\xff\xff\xff", b"", {})


@pytest.fixture
def reshape_between_scales(make) -> Any:
    """dequantize(s1) -> reshape -> quantize(s2)"""
    x = make.random(1, 4, 6, low=-2, high=2)
    first, constants = make.quantized_pair("x", 0.011)
    second, more = make.quantized_pair("t", 0.043)
    nodes = [*first, helper.make_node("Reshape", ["x_d", "shape"], ["t"]), *second]
    constants = {**constants, **more, "shape": np.array([1, 24], np.int64)}
    return make.build_model(nodes, {"x": x}, ["t_d"], constants)


def _with(passes: Callable[[], Any]) -> Callable[..., Any]:
    return lambda compute, **_: passes()


@pytest.mark.parametrize("compute", ["fp16", "fp32"])
def test_the_default_pipeline_of_coremltools_is_caught(
    reshape_between_scales, tmp_path, monkeypatch, compute
):
    """coremltools 9 drops the requantization (pass common::int_op_canonicalization)."""
    default = _with(lambda: PassPipeline.DEFAULT)
    monkeypatch.setattr(package_module, "pipeline", default)
    options = EmitOptions(options={"compute": compute})
    with pytest.raises(InternalError, match=r"'x_d'.*0 'dequantize' operations"):
        TARGET.emit(reshape_between_scales, tmp_path, "w8a8", options=options)
    assert not list(tmp_path.iterdir())


def test_the_pass_that_miscompiles_still_does(reshape_between_scales):
    """The reason for leaving it out: one of two is gone."""
    program = lower(legalize(reshape_between_scales, is_known), "iOS17").program
    passes = PassPipeline(["common::int_op_canonicalization"], "one")
    PassPipelineManager.apply_pipeline(program, passes)
    kinds = [operation.op_type for operation in program.functions["main"].operations]
    assert kinds.count("quantize") == 1, "coremltools has been repaired: update `passes`"


def test_the_manifest_tells_the_form(make, tmp_path):
    artifact = TARGET.emit(make.quantized_cnn(last_float=True), tmp_path, "w8a8")
    assert artifact.manifest.options["quantized_form"] == {
        "layers": 3,
        "in_form": 2,
        "outside": {"fc": ["its output leaves the model unquantized"]},
        "float_layers": [],
    }
    assert "common::int_op_canonicalization" not in artifact.manifest.options["passes"]
    assert [f.node for f in artifact.findings if f.rule == "apple/layer-not-in-quantized-form"] == [
        "fc"
    ]
    assert ct.utils.load_spec(str(artifact.path)).mlProgram.functions["main"].opset == "CoreML7"
