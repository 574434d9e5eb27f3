"""QDQ models of other makers: uint8, shared tensors, float islands, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise.errors import ModelError, UnsupportedOperator
from edgewise.graph import load
from edgewise.targets.android import TARGET


def test_uint8_activations_become_int8(execute: Any, kit: Any, rng: Any) -> None:
    x = rng.standard_normal((1, 3, 5, 5), np.float32)
    integers = rng.integers(-127, 128, (4, 3, 1, 1)).astype(np.int8)
    source = kit.int8_model(
        kit.node("Conv", ["x", "w"], ["y"]), {"x": x}, (0.05, 120),
        weights={"w": (integers, np.float32(0.01), 0)}, storage=np.uint8,
    )  # fmt: skip
    run = execute(source, {"x": x}, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert run.rules() == []
    output = run.artifact.manifest.outputs[0]
    assert (output.dtype, output.zero_point) == ("int8", -8)


def test_uint8_weights_around_128_become_int8(execute: Any, kit: Any, rng: Any) -> None:
    x = rng.standard_normal((1, 3, 5, 5), np.float32)
    integers = rng.integers(1, 256, (4, 3, 1, 1)).astype(np.uint8)
    source = kit.int8_model(
        kit.node("Conv", ["x", "w"], ["y"]), {"x": x}, (0.05, 0),
        weights={"w": (integers, np.float32(0.01), 0)}, weight_zero_point=128,
    )  # fmt: skip
    run = execute(source, {"x": x}, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    assert run.rules() == []


@pytest.mark.parametrize("storage", [np.int8, np.uint8])
def test_integer_inputs_and_outputs_of_the_model_stay_as_they_are(
    execute: Any, kit: Any, rng: Any, storage: Any
) -> None:
    limits = np.iinfo(storage)
    x = rng.integers(limits.min, limits.max + 1, (1, 3, 4, 5)).astype(storage)
    nodes = [
        kit.node("DequantizeLinear", ["x", "s", "z"], ["f"]),
        kit.node("Relu", ["f"], ["r"]),
        kit.node("QuantizeLinear", ["r", "s", "z"], ["y"]),
    ]
    constants = {"s": np.float32(0.1), "z": np.array(limits.min + 100, storage)}
    run = execute(kit.model(nodes, {"x": x}, {"y": storage}, constants), {"x": x}, "w8a8")
    assert run.error == 0
    assert run.artifact.manifest.inputs[0].dtype == np.dtype(storage).name


def test_an_operator_without_a_kernel_runs_between_dequantize_and_quantize(
    execute: Any, kit: Any, rng: Any
) -> None:
    x = rng.uniform(-1, 1, (1, 3, 4, 5)).astype(np.float32)
    source = kit.int8_model(kit.node("Sin", ["x"], ["y"]), {"x": x}, (0.01, 0))
    assert kit.kinds(source) == ["DEQUANTIZE", "SIN", "QUANTIZE"]
    run = execute(source, {"x": x}, "w8a8")
    assert run.lsb <= kit.int8_tolerance
    island = next(f for f in run.artifact.findings if f.rule == "android/float-island")
    assert (island.severity, island.node) == ("warning", "n_y_f")
    assert "no integer kernel" in island.message


def test_one_dequantize_serves_all_readers(execute: Any, kit: Any, rng: Any) -> None:
    x = rng.uniform(-1, 1, (1, 3, 4, 5)).astype(np.float32)
    nodes = [
        kit.node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        kit.node("DequantizeLinear", ["q", "s", "z"], ["f"]),
        kit.node("Sin", ["f"], ["a"]),
        kit.node("Cos", ["f"], ["b"]),
    ]
    constants = {"s": np.float32(0.01), "z": np.int8(0)}
    source = kit.model(nodes, {"x": x}, {"a": np.float32, "b": np.float32}, constants)
    assert kit.kinds(source) == ["DEQUANTIZE", "SIN", "COS"]
    assert execute(source, {"x": x}, "w8a8").error <= kit.float_tolerance


def test_a_value_quantized_in_two_ways_is_computed_once_in_float(
    execute: Any, kit: Any, rng: Any
) -> None:
    x = rng.uniform(-1, 1, (1, 3, 4, 5)).astype(np.float32)
    nodes = [
        kit.node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        kit.node("DequantizeLinear", ["q", "s", "z"], ["f"]),
        kit.node("Add", ["f", "f"], ["t"]),
        kit.node("QuantizeLinear", ["t", "s", "z"], ["qa"]),
        kit.node("DequantizeLinear", ["qa", "s", "z"], ["a"]),
        kit.node("QuantizeLinear", ["t", "s2", "z"], ["qb"]),
        kit.node("DequantizeLinear", ["qb", "s2", "z"], ["b"]),
    ]
    constants = {"s": np.float32(0.01), "s2": np.float32(0.02), "z": np.int8(0)}
    source = kit.model(nodes, {"x": x}, {"a": np.float32, "b": np.float32}, constants)
    assert kit.kinds(source) == ["DEQUANTIZE", "ADD", "QUANTIZE", "QUANTIZE"]
    assert execute(source, {"x": x}, "w8a8").lsb <= kit.int8_tolerance


def test_dequantize_then_quantize_is_one_requantization(execute: Any, kit: Any, rng: Any) -> None:
    x = rng.uniform(-1, 1, (1, 3, 4, 5)).astype(np.float32)
    nodes = [
        kit.node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        kit.node("DequantizeLinear", ["q", "s", "z"], ["f"]),
        kit.node("QuantizeLinear", ["f", "s2", "z"], ["r"]),
        kit.node("DequantizeLinear", ["r", "s2", "z"], ["y"]),
    ]
    constants = {"s": np.float32(0.01), "s2": np.float32(0.03), "z": np.int8(5)}
    source = kit.model(nodes, {"x": x}, {"y": np.float32}, constants)
    assert kit.kinds(source) == ["QUANTIZE"]
    assert execute(source, {"x": x}, "w8a8").lsb <= kit.int8_tolerance


def _quantized_relu(kit: Any, scale: Any, zero_point: Any, **attributes: Any) -> Any:
    x = {"x": np.ones((1, 3, 4, 5), np.float32)}
    nodes = [
        kit.node("QuantizeLinear", ["x", "s", "z"], ["q"], **attributes),
        kit.node("DequantizeLinear", ["q", "s", "z"], ["f"], **attributes),
        kit.node("Relu", ["f"], ["y"]),
    ]
    return kit.model(nodes, x, {"y": np.float32}, {"s": scale, "z": zero_point})


def test_per_channel_activations_are_computed(execute: Any, kit: Any, rng: Any) -> None:
    """No tensor has one scale per channel, so that Q and DQ become float arithmetic."""
    scales = np.array([0.1, 0.2, 0.3], np.float32)
    source = _quantized_relu(kit, scales, np.zeros(3, np.int8), axis=1)
    (value,) = source.graph.inputs
    x = rng.standard_normal(tuple(value.shape.numpy()), np.float32) * 9
    assert execute(source, {value.name: x}).error == 0


def test_activations_must_have_the_bits_of_the_precision(kit: Any, tmp_path: Path) -> None:
    source = _quantized_relu(kit, np.float32(0.1), np.int16(0))
    with pytest.raises(ModelError, match=r"needs int8 activations.*int16.*w8a16"):
        TARGET.emit(source, tmp_path / "out", "w8a8")
    source = _quantized_relu(kit, np.float32(0.1), np.int8(0))
    with pytest.raises(ModelError, match=r"needs int16 activations.*int8.*w8a8"):
        TARGET.emit(source, tmp_path / "out", "w8a16")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("zero_point", [np.int16(5), np.uint16(0)])
def test_a_16_bit_zero_point_is_refused(kit: Any, tmp_path: Path, zero_point: Any) -> None:
    source = _quantized_relu(kit, np.float32(0.1), zero_point)
    with pytest.raises(UnsupportedOperator, match="16-bit activation has a zero point"):
        TARGET.emit(source, tmp_path / "out", "w8a16")


def test_reading_at_another_scale_than_written_is_refused(kit: Any, tmp_path: Path) -> None:
    x = {"x": np.ones((1, 3, 4, 5), np.float32)}
    nodes = [
        kit.node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        kit.node("DequantizeLinear", ["q", "s2", "z"], ["y"]),
    ]
    constants = {"s": np.float32(0.01), "s2": np.float32(0.03), "z": np.int8(5)}
    with pytest.raises(UnsupportedOperator, match="another scale"):
        TARGET.emit(kit.model(nodes, x, {"y": np.float32}, constants), tmp_path / "out", "w8a8")


def test_operators_of_onnx_runtime_are_refused_with_the_way_out(kit: Any, tmp_path: Path) -> None:
    x = {"x": np.ones((2, 3), np.int8)}
    source = kit.model([kit.node("Add", ["x", "x"], ["y"])], x, {"y": np.int8})
    source.opset_imports["com.microsoft"] = 1
    source.graph[0].op_type, source.graph[0].domain = "QLinearAdd", "com.microsoft"
    with pytest.raises(UnsupportedOperator, match=r"QOperator.*QDQ format"):
        TARGET.emit(source, tmp_path / "out")


DIGITS = Path(__file__).parents[2] / "sample_models" / "digits"


@pytest.mark.skipif(not (DIGITS / "digits.onnx").exists(), reason="the digits sample is absent")
def test_a_trained_network_end_to_end(kit: Any, quantize: Any, tmp_path: Path) -> None:
    """MobileNetV2-nano: no transposes, within 1 step of ONNX Runtime, the same classes."""
    from edgewise.graph import OrtSession, prepare

    source = prepare(load(DIGITS / "digits.onnx"), batch=1)
    images = np.load(DIGITS / "calibration.npz")["image"]
    name = str(source.graph.inputs[0].name)
    qdq = quantize(source, *({name: image[None]} for image in images[:50]))
    artifact = TARGET.emit(qdq, tmp_path / "out", "w8a8")
    assert "TRANSPOSE" not in kit.kinds(qdq)
    session, reference = TARGET.open(artifact), OrtSession(qdq)
    output = artifact.manifest.outputs[0]
    for image in np.load(DIGITS / "evaluation.npz")["image"][:200]:
        found = session.run({name: image[None]})[output.name]
        expected = reference.run({name: image[None]})[output.name]
        assert np.abs(found - expected).max() <= (output.scale or 0) * kit.int8_tolerance
        assert found.argmax() == expected.argmax()
