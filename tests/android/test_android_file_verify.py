"""The verifier of the finished bytes: a sound file passes, and every kind of fault is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper

from edgewise.errors import InternalError
from edgewise.targets.android import TARGET
from edgewise.targets.android.assembly import assemble
from edgewise.targets.android.expectations import Expectations, expectations
from edgewise.targets.android.flatbuffer import IDENTIFIER, _AlignedBuilder, serialize
from edgewise.targets.android.options import AndroidOptions
from edgewise.targets.android.reader import UnreadableFile, read_file
from edgewise.targets.android.verify_file import file_problems, verify_file


@dataclass(frozen=True)
class Sound:
    """Bytes without a fault, and what the QDQ model says of them."""

    content: bytes
    expected: Expectations

    def faults(self, content: bytes) -> list[str]:
        return [f"{where}: {problem}" for where, problem in file_problems(content, self.expected)]


@pytest.fixture(scope="module")
def sound(kit: Any) -> Sound:
    """Convolution, depthwise convolution, pool, residual, product and softmax."""
    random = np.random.default_rng(3)

    def weights(*shape: int) -> Any:
        return random.normal(0, 0.4, shape).astype(np.float32)

    feeds = [{"x": random.normal(0, 1, (1, 3, 8, 8)).astype(np.float32)} for _ in range(4)]
    nodes = [
        kit.node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1] * 4),
        kit.node("Relu", ["c1"], ["r1"]),
        kit.node("Conv", ["r1", "w2"], ["c2"], pads=[1] * 4, group=4),
        kit.node("Add", ["r1", "c2"], ["sum"]),
        kit.node("MaxPool", ["sum"], ["pool"], kernel_shape=[2, 2], strides=[2, 2]),
        kit.node("Flatten", ["pool"], ["flat"]),
        kit.node("Gemm", ["flat", "w3", "b3"], ["logits"]),
        kit.node("Softmax", ["logits"], ["y"], axis=-1),
    ]
    constants = {
        "w1": weights(4, 3, 3, 3), "b1": weights(4), "w2": weights(4, 1, 3, 3),
        "w3": weights(64, 5), "b3": weights(5),
    }  # fmt: skip
    qdq = kit.calibrated(kit.model(nodes, feeds[0], {"y": np.float32}, constants), feeds)
    options = AndroidOptions.of({}, TARGET.scheme("w8a8"))
    assembled = assemble(qdq, options, None, lambda _: None)
    expected = expectations(assembled.legal, assembled.lowered.stands_for, assembled.lowered.graph)
    return Sound(serialize(assembled.lowered.graph), expected)


def unpacked(content: bytes) -> Any:
    """The file as the schema's mutable objects, its arrays writable."""
    model = schema.ModelT.InitFromPackedBuf(content)
    for buffer in model.buffers:
        if isinstance(buffer.data, np.ndarray):
            buffer.data = buffer.data.copy()
    for tensor in model.subgraphs[0].tensors:
        tensor.shape = tensor.shape.copy() if isinstance(tensor.shape, np.ndarray) else None
        if tensor.quantization is not None:
            tensor.quantization.scale = tensor.quantization.scale.copy()
            tensor.quantization.zeroPoint = tensor.quantization.zeroPoint.copy()
    return model


def packed(model: Any, builder: Any = None) -> bytes:
    builder = builder or _AlignedBuilder(1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def kind_of(model: Any, operator: Any) -> str:
    code = model.operatorCodes[operator.opcodeIndex].builtinCode
    return next(k for k, v in vars(schema.BuiltinOperator).items() if v == code)


def operator(model: Any, kind: str) -> Any:
    return next(o for o in model.subgraphs[0].operators if kind_of(model, o) == kind)


def end(model: Any, kind: str, index: int = 0, *, output: bool = False) -> Any:
    found = operator(model, kind)
    return model.subgraphs[0].tensors[(found.outputs if output else found.inputs)[index]]


def test_a_sound_file_has_no_fault(sound: Sound) -> None:
    assert sound.faults(sound.content) == []
    assert sound.faults(packed(unpacked(sound.content))) == []
    verify_file(sound.content, sound.expected)


def test_the_reader_is_the_inverse_of_the_writer(sound: Sound) -> None:
    file = read_file(sound.content)
    (signature,) = file.signatures
    graph = file.main.graph
    graph.input_names = [name for name, _ in signature.inputs]
    graph.output_names = [name for name, _ in signature.outputs]
    assert serialize(graph) == sound.content


def test_constants_are_read_without_a_copy(sound: Sound) -> None:
    tensors = [
        tensor for tensor in read_file(sound.content).main.tensors if tensor.data is not None
    ]
    assert tensors and not any(tensor.data.flags.owndata for tensor in tensors)


def test_every_activation_and_weight_is_expected(sound: Sound) -> None:
    sources = {claim.source for claims in sound.expected.values() for claim in claims}
    quantized = {f"{name}_QuantizeLinear_Output" for name in ("x", "r1", "sum", "pool", "logits")}
    assert quantized <= sources
    assert sum(tensor.data is not None for tensor in sound.expected) == 3


def _scale(kind: str, index: int = 0, *, output: bool = False) -> Callable[[Any], None]:
    """The smallest change of a float32 scale that there is."""

    def change(model: Any) -> None:
        scale = end(model, kind, index, output=output).quantization.scale
        scale[0] = np.nextafter(scale[0], np.float32(np.inf))

    return change


def _zero_point(kind: str, index: int, *, output: bool = False) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        end(model, kind, index, output=output).quantization.zeroPoint[0] += 1

    return change


def _set(path: str, value: Any) -> Callable[[Any], None]:
    """Sets an attribute such as `signatureDefs.0.signatureKey`."""

    def change(model: Any) -> None:
        *way, last = path.split(".")
        found = model
        for step in way:
            found = found[int(step)] if step.isdecimal() else getattr(found, step)
        setattr(found, last, value)

    return change


def _fill_buffer_zero(model: Any) -> None:
    model.buffers[0].data = np.ones(4, np.uint8)


def _rename(kind: str, index: int, name: bytes, *, output: bool = False) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        end(model, kind, index, output=output).name = name

    return change


def _old_version(model: Any) -> None:
    model.operatorCodes[operator(model, "CONV_2D").opcodeIndex].version = 1


def _other_code_for_old_readers(model: Any) -> None:
    model.operatorCodes[operator(model, "CONV_2D").opcodeIndex].deprecatedBuiltinCode = 0


def _swap_signature(model: Any) -> None:
    model.signatureDefs[0].inputs[0].tensorIndex = model.signatureDefs[0].outputs[0].tensorIndex


def _lowest_weight(model: Any) -> None:
    tensor = end(model, "CONV_2D", 1)
    model.buffers[tensor.buffer].data[0] = 0x80


def _other_axis(model: Any) -> None:
    end(model, "DEPTHWISE_CONV_2D", 1).quantization.quantizedDimension = 0


def _short_constant(model: Any) -> None:
    buffer = model.buffers[end(model, "CONV_2D", 1).buffer]
    buffer.data = buffer.data[:-1]


def _bias_without_scale(model: Any) -> None:
    end(model, "CONV_2D", 2).quantization = None


def _scale_per_channel(model: Any) -> None:
    quantization = end(model, "ADD", 0, output=True).quantization
    quantization.scale = np.repeat(quantization.scale, 4)
    quantization.zeroPoint = np.repeat(quantization.zeroPoint, 4)


def _double_ratio(model: Any) -> None:
    """Everything consistent, but too fine an output for XNNPACK."""
    quantization = end(model, "FULLY_CONNECTED", 0, output=True).quantization
    quantization.scale[0] = end(model, "FULLY_CONNECTED", 2).quantization.scale.max() / 300


def _wrong_input(model: Any) -> None:
    found = operator(model, "CONV_2D")
    found.inputs = found.inputs.copy()
    found.inputs[0] = model.subgraphs[0].outputs[0]


def _no_tensor(model: Any) -> None:
    found = operator(model, "ADD")
    found.inputs = np.array([0, 999], np.int32)


def _empty_shape(model: Any) -> None:
    end(model, "ADD", 0, output=True).shape[1] = 0


FAULTS: dict[str, tuple[Callable[[Any], None], str]] = {
    "schema version": (_set("version", 2), "file: its schema version is 2, not 3"),
    "buffer 0": (_fill_buffer_zero, "buffer 0: it is not empty"),
    "short constant": (
        _short_constant,
        "file: constant 'w1_DequantizeLinear_Output' has 107 bytes",
    ),
    "old version": (_old_version, "'r1' (CONV_2D): version 1 does not know its dtypes, 3 does"),
    "old readers": (_other_code_for_old_readers, "operator code 3: readers before 2020 take it"),
    "two of a name": (_rename("ADD", 1, b"r1"), "tensor 'r1': 2 tensors have its name"),
    "no name": (_rename("ADD", 1, b""), "graph: a tensor has no name"),
    "no signature": (_set("signatureDefs", []), "signature: there is not exactly one"),
    "signature's name": (_set("signatureDefs.0.signatureKey", b"other"), "not exactly one"),
    "signature's tensor": (_swap_signature, "signature: its inputs are not those of the graph"),
    "signature's entry": (_set("signatureDefs.0.outputs.0.name", b""), "names are not unique"),
    "shared scale": (_scale("MAX_POOL_2D", output=True), "(MAX_POOL_2D): 'sum' and the output"),
    "fixed output": (_scale("SOFTMAX", output=True), "(SOFTMAX): its output must have scale"),
    "weights' zero point": (_zero_point("CONV_2D", 1), "(CONV_2D): its weights have a zero point"),
    "weight of -128": (_lowest_weight, "(CONV_2D): its weights must be int8 constants in -127"),
    "weights' axis": (_other_axis, "(DEPTHWISE_CONV_2D): its weights are quantized along axis 0"),
    "bias scale": (_scale("CONV_2D", 2), "(CONV_2D): the scale of its bias is not that of input"),
    "bias zero point": (_zero_point("CONV_2D", 2), "its bias must be int32 with zero point 0"),
    "bias of no scale": (_bias_without_scale, "its bias must be int32 with zero point 0"),
    "several scales": (_scale_per_channel, "activation 'sum' has one scale per channel"),
    "ratio": (_double_ratio, "(FULLY_CONNECTED): the scale of input times weights over output"),
    "order": (_wrong_input, "(CONV_2D): it reads 'y' before anything writes it"),
    "tensor that is none": (_no_tensor, "file: there is no tensor 999"),
    "shape": (_empty_shape, "tensor 'sum' has the shape (1, 0, 8, 4)"),
    "scale of an activation": (
        _scale("ADD", output=True),
        "tensor 'sum', which stands for 'sum_QuantizeLinear_Output': its scale is",
    ),
    "zero point of an activation": (
        _zero_point("CONV_2D", 0, output=True),
        "tensor 'r1', which stands for 'r1_QuantizeLinear_Output': its zero point is",
    ),
    "scale of weights": (
        _scale("DEPTHWISE_CONV_2D", 1),
        "tensor 'w2_DequantizeLinear_Output', which stands for 'w2_DequantizeLinear_Output': its "
        "scale of channel 0 is",
    ),
    "another name": (
        _rename("ADD", 0, b"total", output=True),
        "tensor 'sum', which stands for 'sum_QuantizeLinear_Output': it is not in the file",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_named(fault: str, sound: Sound) -> None:
    change, message = FAULTS[fault]
    model = unpacked(sound.content)
    change(model)
    content = packed(model)
    assert any(message in found for found in sound.faults(content)), sound.faults(content)
    with pytest.raises(InternalError, match="the finished file is not valid"):
        verify_file(content, sound.expected)


def test_unaligned_data_is_found_by_the_name_of_its_tensor(sound: Sound) -> None:
    content = packed(unpacked(sound.content), flatbuffers.Builder(1024))
    found = sound.faults(content)
    assert found and all("no multiple of 16" in fault for fault in found)
    assert all(fault.startswith("tensor '") for fault in found)


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\0" * 64, b"\x10\0\0\0TFL3" + b"\xff" * 64])
def test_bytes_that_are_no_file(content: bytes, sound: Sound) -> None:
    with pytest.raises(UnreadableFile):
        read_file(content)
    assert len(sound.faults(content)) == 1


def test_a_truncated_file_is_unreadable(sound: Sound) -> None:
    for share in (0.3, 0.6, 0.9):
        assert sound.faults(sound.content[: int(len(sound.content) * share)])


def test_emission_stops_before_a_wrong_file_is_written(
    kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that rounds scales to float16 is caught by the bytes it wrote."""
    from edgewise.targets.android import flatbuffer

    def rounding(quantization: Any) -> Any:
        table = schema.QuantizationParametersT()
        table.scale = quantization.scale.astype(np.float16).astype(np.float32)
        table.zeroPoint = quantization.zero_point
        return table

    monkeypatch.setattr(flatbuffer, "_quantization", rounding)
    random = np.random.default_rng(0)
    feeds = [{"x": random.normal(0, 1, (1, 2, 4, 4)).astype(np.float32)}]
    nodes = [kit.node("Add", ["x", "x"], ["y"])]
    qdq = kit.calibrated(kit.model(nodes, feeds[0], {"y": np.float32}), feeds)
    with pytest.raises(InternalError, match="which stands for 'x_QuantizeLinear_Output'"):
        TARGET.emit(qdq, tmp_path / "out", "w8a8")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def branching(kit: Any) -> bytes:
    """A file whose IF runs two subgraphs."""
    x = {"c": np.array(True), "x": np.ones((1, 3), np.float32)}

    def branch(op_type: str) -> Any:
        out = helper.make_tensor_value_info(f"{op_type}_y", TensorProto.FLOAT, (1, 3))
        return helper.make_graph([kit.node(op_type, ["x"], [out.name])], op_type, [], [out])

    node = kit.node("If", ["c"], ["y"], then_branch=branch("Exp"), else_branch=branch("Neg"))
    source = kit.model([node], x, {"y": np.float32})
    return serialize(assemble(source, AndroidOptions("float"), None, lambda _: None).lowered.graph)


def test_subgraphs_are_read_as_the_bodies_of_their_operator(branching: bytes) -> None:
    file = read_file(branching)
    assert len(file.subgraphs) == 3
    (found,) = (o for o in file.main.graph.operators if o.kind == "IF")
    assert set(found.bodies) == {"thenSubgraphIndex", "elseSubgraphIndex"}
    assert list(file_problems(branching, {})) == []
    (signature,) = file.signatures
    graph = file.main.graph
    graph.input_names = [name for name, _ in signature.inputs]
    graph.output_names = [name for name, _ in signature.outputs]
    assert serialize(graph) == branching


@pytest.mark.parametrize("number", [0, 7])
def test_a_body_that_is_none_is_unreadable(number: int, branching: bytes) -> None:
    model = schema.ModelT.InitFromPackedBuf(branching)
    operator(model, "IF").builtinOptions.thenSubgraphIndex = number
    with pytest.raises(UnreadableFile, match=f"cannot run subgraph {number}"):
        read_file(packed(model))
