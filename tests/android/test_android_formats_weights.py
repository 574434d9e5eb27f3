"""w8 and w4: integer weights beside float activations.

The hybrid kernels quantize each row of the input to int8. `_steps` repeats that rounding, and the
file must agree with the product of what it gives to float32 rounding; from the weight-only ONNX
model, it may differ by half a step of the row times sum|W|.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewise.calibration import quantize_weights
from edgewise.errors import ModelError, UsageError
from edgewise.graph import constant, quantization_of
from edgewise.targets.android import TARGET
from edgewise.targets.android.flatbuffer import constant_bytes
from edgewise.targets.android.model import INT4
from edgewise.targets.android.reader import read_file
from edgewise.targets.base import EmitOptions

FORMATS = [("w8", None), ("w4", 0), ("w4", 32), ("w4", 64)]


def _options(block_size: int | None) -> EmitOptions:
    return EmitOptions(options={} if block_size is None else {"block_size": block_size})


def _steps(x: Any) -> tuple[Any, Any]:
    """The input as the kernel rounds it, and the step of each row."""
    low, high = np.minimum(x.min(-1), 0)[..., None], np.maximum(x.max(-1), 0)[..., None]
    step = (high - low).astype(np.float64) / 255
    zero = np.rint(-128 - low / step)
    return (np.clip(np.rint(x / step) + zero, -128, 127) - zero) * step, step


def _network(kit: Any, weights: Any, feeds: Any, **attributes: Any) -> Any:
    bias = np.linspace(-1, 1, 48, dtype=np.float32)
    layer = kit.node("Gemm", ["x", "w", "b"], ["y"], **attributes)
    return kit.model([layer], feeds, {"y": np.float32}, {"w": weights, "b": bias})


@pytest.mark.parametrize(("precision", "block_size"), FORMATS)
@pytest.mark.parametrize("transposed", [0, 1])
def test_a_product_is_that_of_the_kernel(
    execute: Any, kit: Any, rng: Any, precision: str, block_size: int | None, transposed: int
) -> None:
    weights = rng.normal(size=(48, 128) if transposed else (128, 48)).astype(np.float32)
    feeds = {"x": (rng.normal(size=(16, 128)) + 0.7).astype(np.float32)}
    source = _network(kit, weights, feeds, transB=transposed)
    scheme = TARGET.scheme(precision, _options(block_size).options)
    model = quantize_weights(source, scheme).model
    run = execute(model, feeds, precision, options=_options(block_size))
    (node,) = (node for node in model.graph if node.op_type == "DequantizeLinear")
    stored = quantization_of(node).dequantize(np.asarray(constant(node.inputs[0])))
    matrix = (stored.T if transposed else stored).astype(np.float64)
    bias = np.linspace(-1, 1, 48, dtype=np.float32)
    rounded, step = _steps(feeds["x"])
    np.testing.assert_allclose(run.outputs["y"], rounded @ matrix + bias, rtol=0, atol=2e-5)
    bound = step / 2 * np.abs(matrix).sum(axis=0)
    assert (np.abs(run.outputs["y"] - run.expected["y"]) <= bound * 1.001 + 2e-5).all()
    assert run.artifact.findings == ()


@pytest.mark.parametrize(("precision", "block_size"), FORMATS)
def test_sizes_and_bytes(
    execute: Any, kit: Any, rng: Any, precision: str, block_size: int | None
) -> None:
    weights = rng.normal(size=(512, 512)).astype(np.float32)
    feeds = {"x": rng.normal(size=(2, 512)).astype(np.float32)}
    source = kit.model(
        [kit.node("MatMul", ["x", "w"], ["y"])], feeds, {"y": np.float32}, {"w": weights}
    )
    scheme = TARGET.scheme(precision, _options(block_size).options)
    model = quantize_weights(source, scheme).model
    artifact = execute(model, feeds, precision, options=_options(block_size)).artifact
    bits = 8 if precision == "w8" else 4
    scales = 2 * 512 * 512 // block_size if block_size else 12 * 512  # a scale and a zero point
    assert 0 <= artifact.size_bytes - (512 * 512 * bits // 8 + scales + 4 * 512) < 2000
    file = read_file(artifact.path.read_bytes()).main.graph
    (operator,) = file.operators
    assert (operator.kind, operator.version) == ("FULLY_CONNECTED", 13 if block_size else 12)
    assert operator.options["asymmetricQuantizeInputs"]
    stored = operator.inputs[1]
    assert stored.dtype == (np.int8 if precision == "w8" else INT4)
    if block_size:
        assert stored.quantization is None and stored.blocks is not None
        assert stored.blocks.size == block_size
        assert stored.blocks.scales.shape == (512, 512 // block_size)
    else:
        assert stored.quantization is not None and stored.quantization.axis == 0
    assert artifact.manifest.options.get("block_size") == block_size


def test_int4_is_packed_low_half_first() -> None:
    assert constant_bytes(np.array([1, -2, 7, -8, 3]).astype(INT4)) == bytes([0xE1, 0x87, 0x03])


@pytest.mark.parametrize("storage", [ml_dtypes.int4, ml_dtypes.uint4, np.int8, np.uint8])
def test_every_stored_type_means_the_same(execute: Any, kit: Any, rng: Any, storage: Any) -> None:
    """Weights of other tools: unsigned ones have the middle of their range as zero point."""
    info = ml_dtypes.iinfo(storage)
    middle = 0 if info.min else (int(info.max) + 1) // 2
    integers = rng.integers(-7, 8, (32, 16)) + middle
    scales = rng.uniform(0.1, 0.2, 16).astype(np.float32)
    feeds = {"x": np.eye(32, dtype=np.float32)}
    dequantize = kit.node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=1)
    constants = {
        "q": integers.astype(storage),
        "s": scales,
        "z": np.full(16, middle).astype(storage),
    }
    source = kit.model(
        [dequantize, kit.node("MatMul", ["x", "w"], ["y"])], feeds, {"y": np.float32}, constants
    )
    run = execute(source, feeds, "w4" if info.bits == 4 else "w8")
    assert run.error <= 1e-6  # an identity matrix is exact in int8
    (operator,) = read_file(run.artifact.path.read_bytes()).main.graph.operators
    assert operator.inputs[1].dtype == (INT4 if info.bits == 4 else np.int8)


def _block_model(
    kit: Any, feeds: Any, scales: Any, integers: Any, block_size: int, zero: Any = None
) -> Any:
    names = ["q", "s"] + ([] if zero is None else ["z"])
    constants = {"q": integers, "s": scales} | ({} if zero is None else {"z": zero})
    dequantize = kit.node("DequantizeLinear", names, ["w"], axis=0, block_size=block_size)
    product = kit.node("MatMul", ["x", "w"], ["y"])
    return kit.model([dequantize, product], feeds, {"y": np.float32}, constants)


def test_scales_that_the_kernel_does_not_hold_are_rounded_and_told(
    execute: Any, kit: Any, rng: Any
) -> None:
    feeds = {"x": rng.normal(size=(4, 64)).astype(np.float32)}
    integers = rng.integers(-7, 8, (64, 16)).astype(ml_dtypes.int4)
    scales = rng.uniform(0.1, 0.2, (2, 16)).astype(np.float32)
    run = execute(_block_model(kit, feeds, scales, integers, 32), feeds, "w4")
    (finding,) = run.artifact.findings
    assert finding.rule == "android/rounded-scales" and "bfloat16, by up to 0." in finding.message
    rounded = scales.astype(ml_dtypes.bfloat16).astype(np.float64)
    matrix = integers.astype(np.float64) * np.repeat(rounded, 32, axis=0)
    np.testing.assert_allclose(run.outputs["y"], _steps(feeds["x"])[0] @ matrix, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("storage", "block_size", "factor", "why"),
    [
        (np.int8, 32, 1.0, "TFLite has int4 weights in blocks, no others"),
        (ml_dtypes.int4, 16, 1.0, "its blocks of 16 do not divide 64 inputs, or are no multiple"),
        (ml_dtypes.int4, 32, 1e6, "float16 does not hold its block scales"),
    ],
)
def test_forms_without_a_kernel_are_float_and_told(
    execute: Any, kit: Any, rng: Any, storage: Any, block_size: int, factor: float, why: str
) -> None:
    feeds = {"x": rng.normal(size=(4, 64)).astype(np.float32)}
    integers = rng.integers(-7, 8, (64, 16)).astype(storage)
    scales = (factor * rng.uniform(0.1, 0.2, (64 // block_size, 16))).astype(np.float32)
    run = execute(_block_model(kit, feeds, scales, integers, block_size), feeds, "w4")
    (finding,) = run.artifact.findings
    assert finding.rule == "android/float-weights" and why in finding.message
    assert run.error <= 1e-5 * np.abs(run.expected["y"]).max()


def test_weights_with_a_zero_point_are_float_and_told(execute: Any, kit: Any, rng: Any) -> None:
    feeds = {"x": rng.normal(size=(4, 64)).astype(np.float32)}
    integers = rng.integers(0, 16, (64, 16)).astype(ml_dtypes.uint4)
    zero = rng.integers(5, 11, (2, 16)).astype(ml_dtypes.uint4)
    scales = np.full((2, 16), 0.125, np.float32)
    run = execute(_block_model(kit, feeds, scales, integers, 32, zero), feeds, "w4")
    assert "its weights have a zero point" in run.artifact.findings[0].message
    assert run.error <= 1e-5 * np.abs(run.expected["y"]).max()


@pytest.mark.parametrize(("bits", "precision"), [(4, "w4"), (8, "w8")])
def test_matmul_nbits(execute: Any, kit: Any, rng: Any, bits: int, precision: str) -> None:
    """The operator of ONNX Runtime's own weight quantizers; 8 bits in blocks have no kernel."""
    feeds = {"x": rng.normal(size=(2, 3, 64)).astype(np.float32)}
    scales = rng.uniform(0.1, 0.2, (16, 2)).astype(ml_dtypes.bfloat16).astype(np.float32)
    low = rng.integers(0, 256, (16, 2, 32 * bits // 8)).astype(np.uint8)
    constants = {"B": low, "s": scales.reshape(-1), "b": np.ones(16, np.float32)}
    node = helper.make_node(
        "MatMulNBits", ["x", "B", "s", "", "", "b"], ["y"], domain="com.microsoft", name="product",
        K=64, N=16, bits=bits, block_size=32,
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 3, 64))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 3, 16))],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    source = ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=10))
    run = execute(source, feeds, precision)
    rules = [finding.rule for finding in run.artifact.findings if finding.severity != "info"]
    assert rules == []
    graph = read_file(run.artifact.path.read_bytes()).main.graph
    (operator,) = (o for o in graph.operators if o.kind == "FULLY_CONNECTED")
    if bits == 8:
        assert operator.inputs[1].dtype == np.float32
        assert run.error <= 1e-4
        return
    assert operator.inputs[1].blocks is not None
    _, step = _steps(feeds["x"])
    bound = step / 2 * 64 * 8 * scales.max()
    assert (np.abs(run.outputs["y"] - run.expected["y"]) <= bound).all()


@pytest.mark.parametrize(("precision", "block_size"), FORMATS)
def test_a_flattened_image_meets_the_columns_of_its_order(
    execute: Any, kit: Any, rng: Any, precision: str, block_size: int | None
) -> None:
    """NHWC in memory, NCHW in the weights: blocks keep together what ONNX has together."""
    feeds = {"x": rng.normal(size=(1, 8, 4, 4)).astype(np.float32)}
    kernel = rng.normal(size=(16, 8, 1, 1)).astype(np.float32)
    nodes = [
        kit.node("Conv", ["x", "k"], ["c"]),
        kit.node("Flatten", ["c"], ["f"]),
        kit.node("Gemm", ["f", "w"], ["y"], transB=1),
    ]
    weights = rng.normal(size=(20, 256)).astype(np.float32)
    source = kit.model(nodes, feeds, {"y": np.float32}, {"k": kernel, "w": weights})
    scheme = TARGET.scheme(precision, _options(block_size).options)
    model = quantize_weights(source, scheme).model
    run = execute(model, feeds, precision, options=_options(block_size))
    flat = np.einsum("oi,bihw->bohw", kernel[:, :, 0, 0], feeds["x"]).reshape(1, -1)
    _, step = _steps(flat)
    spread = np.abs(weights).sum(axis=1) * 1.2  # rounding may enlarge a weight
    assert (np.abs(run.outputs["y"] - run.expected["y"]) <= step / 2 * spread).all()


def test_a_fused_activation_and_three_dimensions(execute: Any, kit: Any, rng: Any) -> None:
    feeds = {"x": rng.normal(size=(2, 5, 64)).astype(np.float32)}
    weights = rng.normal(size=(64, 32)).astype(np.float32)
    nodes = [kit.node("MatMul", ["x", "w"], ["a"]), kit.node("Relu", ["a"], ["y"])]
    source = kit.model(nodes, feeds, {"y": np.float32}, {"w": weights})
    model = quantize_weights(source, TARGET.scheme("w8")).model
    assert kit.kinds(model) == ["FULLY_CONNECTED"]
    run = execute(model, feeds, "w8")
    assert run.outputs["y"].shape == (2, 5, 32) and run.outputs["y"].min() == 0
    _, step = _steps(feeds["x"])
    bound = step / 2 * np.abs(weights).sum(axis=0) * 1.01
    assert (np.abs(run.outputs["y"] - run.expected["y"]) <= bound).all()


def test_alpha_goes_into_the_scale(execute: Any, kit: Any, rng: Any) -> None:
    integers = rng.integers(-127, 128, (32, 48)).astype(np.int8)
    feeds = {"x": np.eye(32, dtype=np.float32)}
    dequantize = kit.node("DequantizeLinear", ["q", "s"], ["w"], axis=1)
    layer = kit.node("Gemm", ["x", "w"], ["y"], alpha=0.25)
    constants = {"q": integers, "s": rng.uniform(0.01, 0.02, 48).astype(np.float32)}
    source = kit.model([dequantize, layer], feeds, {"y": np.float32}, constants)
    assert execute(source, feeds, "w8").error <= 1e-6


def test_the_precision_must_fit_the_model(kit: Any, rng: Any, tmp_path: Path) -> None:
    feeds = {"x": rng.normal(size=(4, 64)).astype(np.float32)}
    source = kit.model(
        [kit.node("MatMul", ["x", "w"], ["y"])],
        feeds,
        {"y": np.float32},
        {"w": rng.normal(size=(64, 64)).astype(np.float32)},
    )
    with pytest.raises(ModelError, match="precision w4 needs a quantized model"):
        TARGET.emit(source, tmp_path / "out", "w4")
    weights_only = quantize_weights(source, TARGET.scheme("w4")).model
    with pytest.raises(ModelError, match=r"w8a8 needs quantized activations.*weights only"):
        TARGET.emit(weights_only, tmp_path / "out", "w8a8")
    both = kit.int8_model(kit.node("Relu", ["x"], ["y"]), feeds, (0.1, -128))
    with pytest.raises(ModelError, match=r"w8 quantizes weights only.*activations as int8"):
        TARGET.emit(both, tmp_path / "out", "w8")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [16, -32, 31, True, "32"])
def test_block_sizes_are_multiples_of_32(size: Any) -> None:
    with pytest.raises(UsageError, match=r"option 'block_size' is .*0, or a multiple of 32"):
        TARGET.scheme("w4", {"block_size": size})


def test_the_scheme_takes_the_block_size() -> None:
    assert [
        scheme.weight.block_size
        for scheme in (
            TARGET.scheme("w4"),
            TARGET.scheme("w4", {}),
            TARGET.scheme("w4", {"block_size": 0}),
            TARGET.scheme("w4", {"block_size": 128}),
        )
        if scheme.weight is not None
    ] == [32, 32, 0, 128]
    assert not TARGET.scheme("w4").needs_statistics
