"""w8a16: int16 activations with zero point 0 beside int8 weights, kernel by kernel.

The reference is the QDQ model in ONNX Runtime, which computes in float32 between Q and DQ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise.calibration import collect_statistics, quantize
from edgewise.data import input_specs, open_source
from edgewise.graph import OrtSession, load, prepare
from edgewise.targets.android import TARGET
from edgewise.targets.android.kinds import INT16_VERSIONS
from edgewise.targets.android.model import INT16, INT32, INT64
from edgewise.targets.android.ops.table import INT8_OPERATORS, INT16_OPERATORS
from edgewise.targets.android.reader import read_file
from edgewise.targets.base import EmitOptions
from edgewise.targets.validation import compare_layers

#: one step, and the float32 error of numbers of 15 bits
ONE = 1.005
#: TANH and SOFTMAX interpolate in tables
TABLE_STEPS = 3.015


@dataclass(frozen=True)
class Case:
    """`output` is the scale of the output, that of the input by default."""

    op_type: str
    kinds: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[int, ...] = ()
    axis: int | None = 0
    shape: tuple[int, ...] = (1, 8, 9, 7)
    second: tuple[int, ...] = ()
    output: float | None = None
    activation: tuple[str, list[str]] | None = None
    steps: float = ONE


def _ints(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


PADS = {"p": _ints(0, 0, 1, 2, 0, 0, 2, 1)}
BOX = {"b": _ints(1), "e": _ints(7), "a": _ints(2)}
TWICE = {"": None, "s": np.array([1, 1, 2, 2], np.float32)}
MUCH = 0.01  # a scale that holds sums of products

CASES = {
    "conv": Case("Conv", ("CONV_2D",), {"pads": [1] * 4}, weights=(6, 8, 3, 3), output=MUCH),
    "conv relu6": Case(
        "Conv", ("CONV_2D",), {"strides": [2, 2]}, {"lo": np.float32(0), "hi": np.float32(6)},
        weights=(6, 8, 3, 3), output=MUCH, activation=("Clip", ["lo", "hi"])
    ),
    "conv dilated": Case(
        "Conv", ("CONV_2D",), {"dilations": [2, 2]}, weights=(6, 8, 3, 3), output=MUCH
    ),
    "conv grouped": Case("Conv", ("CONV_2D",), {"group": 2}, weights=(6, 4, 3, 3), output=MUCH),
    "depthwise": Case(
        "Conv", ("DEPTHWISE_CONV_2D",), {"group": 8}, weights=(16, 1, 3, 3), output=MUCH
    ),
    "transposed": Case(
        "ConvTranspose", ("TRANSPOSE_CONV",), {"strides": [2, 2]}, weights=(8, 5, 3, 3), axis=1,
        output=MUCH, activation=("Relu", [])
    ),
    "gemm": Case(
        "Gemm", ("FULLY_CONNECTED",), {"transB": 1}, weights=(6, 16), shape=(5, 16), output=MUCH
    ),
    "gemm per tensor": Case(
        "Gemm", ("FULLY_CONNECTED",), {"transB": 1}, weights=(6, 16), axis=None, shape=(5, 16),
        output=MUCH
    ),
    "matmul": Case(
        "MatMul", ("FULLY_CONNECTED",), weights=(16, 6), axis=1, shape=(2, 5, 16), output=MUCH
    ),
    "matmul computed": Case(
        "MatMul", ("BATCH_MATMUL",), shape=(2, 5, 16), second=(2, 16, 4), output=1e-3
    ),
    "add": Case("Add", ("ADD",), second=(1, 8, 9, 7), output=3e-4),
    "add relu": Case(
        "Add", ("ADD",), second=(1, 8, 9, 7), output=3e-4, activation=("Relu", [])
    ),
    "sub broadcast": Case("Sub", ("SUB",), second=(1, 8, 1, 1), output=3e-4),
    "mul": Case("Mul", ("MUL",), second=(1, 8, 9, 7), output=5e-4),
    "mul constant": Case("Mul", ("MUL",), constants={"c": np.float32(0.3)}),
    "max": Case("Max", ("MAXIMUM",), second=(1, 8, 9, 7)),
    "min": Case("Min", ("MINIMUM",), second=(1, 8, 1, 1)),
    "max pool": Case("MaxPool", ("MAX_POOL_2D",), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "average pool": Case("AveragePool", ("AVERAGE_POOL_2D",), {"kernel_shape": [3, 3]}),
    "global average": Case("GlobalAveragePool", ("MEAN",)),
    "global max": Case("GlobalMaxPool", ("REDUCE_MAX",)),
    "mean": Case("ReduceMean", ("MEAN",), constants={"a": _ints(1)}, output=3e-5),
    "reduce max": Case("ReduceMax", ("REDUCE_MAX",), constants={"a": _ints(1)}),
    "reduce min": Case("ReduceMin", ("REDUCE_MIN",), constants={"a": _ints(1)}),
    "transpose": Case("Transpose", ("TRANSPOSE",), {"perm": [0, 3, 2, 1]}),
    "pad": Case("Pad", ("PAD",), constants=PADS),
    "pad value": Case("Pad", ("PADV2",), constants={**PADS, "v": np.float32(1)}),
    "pad reflect": Case("Pad", ("MIRROR_PAD",), {"mode": "reflect"}, PADS),
    "slice": Case("Slice", ("SLICE",), constants=BOX),
    "slice steps": Case("Slice", ("STRIDED_SLICE",), constants={**BOX, "s": _ints(2)}),
    "slice reversed": Case(
        "Slice", ("REVERSE_V2", "SLICE"),
        constants={"b": _ints(6), "e": _ints(-100), "a": _ints(2), "s": _ints(-1)},
    ),
    "gather": Case("Gather", ("GATHER",), {"axis": 1}, {"i": _ints(3, 1, 2)}),
    "nearest": Case(
        "Resize", ("RESIZE_NEAREST_NEIGHBOR",),
        {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, TWICE
    ),
    "linear": Case("Resize", ("RESIZE_BILINEAR",), {"mode": "linear"}, TWICE),
    "expand": Case("Expand", ("BROADCAST_TO",), constants={"s": _ints(3, 8, 9, 7)}),
    "tile": Case("Tile", ("TILE",), constants={"r": _ints(1, 2, 1, 1)}),
    "relu": Case("Relu", ("RELU",)),
    "relu requantized": Case("Relu", ("QUANTIZE", "RELU"), output=5e-5),
    "clip": Case(
        "Clip", ("MAXIMUM", "MINIMUM"), constants={"l": np.float32(-1), "h": np.float32(2)}
    ),
    "leaky relu": Case("LeakyRelu", ("LEAKY_RELU",), {"alpha": 0.1}),
    "abs": Case("Abs", ("ABS",)),
    "sigmoid": Case("Sigmoid", ("LOGISTIC",), output=1 / 32768),
    "sigmoid requantized": Case("Sigmoid", ("LOGISTIC", "QUANTIZE"), output=1 / 16384),
    "tanh": Case("Tanh", ("TANH",), output=1 / 32768, steps=TABLE_STEPS),
    "softmax": Case(
        "Softmax", ("SOFTMAX",), shape=(5, 16), output=1 / 32768, steps=TABLE_STEPS
    ),
}  # fmt: skip


def _scale(array: Any) -> float:
    return float(np.abs(array).max()) / 32767


def _model(kit: Any, rng: Any, case: Case) -> tuple[Any, dict[str, Any]]:
    feeds = {"x": rng.normal(size=case.shape).astype(np.float32)}
    if case.second:
        feeds["z"] = rng.normal(size=case.second).astype(np.float32)
    scale = max(_scale(array) for array in feeds.values())
    weights, names = {}, list(feeds)
    if case.weights:
        channels = () if case.axis is None else case.weights[case.axis]
        integers = rng.integers(-127, 128, case.weights).astype(np.int8)
        weights["w"] = (integers, rng.uniform(0.005, 0.02, channels), case.axis or 0)
        names.append("w")
    fused = [] if case.activation is None else case.activation[1]
    names += [name for name in case.constants if name not in fused]
    source = kit.int8_model(
        kit.node(case.op_type, names, ["y"], **case.attributes),
        feeds,
        (case.output or scale, 0),
        input_parameters=dict.fromkeys(feeds, (scale, 0)),
        constants={name: array for name, array in case.constants.items() if name},
        weights=weights,
        storage=np.int16,
        activation=case.activation,
    )
    return source, feeds


@pytest.mark.parametrize("name", CASES)
def test_kernel(execute: Any, kit: Any, rng: Any, name: str) -> None:
    case = CASES[name]
    source, feeds = _model(kit, rng, case)
    run = execute(source, feeds, "w8a16")
    assert run.lsb <= case.steps
    assert np.abs(run.expected["y"]).max() > 0
    graph = read_file(run.artifact.path.read_bytes()).main.graph
    assert tuple(operator.kind for operator in graph.operators) == case.kinds
    for operator in graph.operators:
        assert operator.stored_dtype == INT16
        assert operator.version >= INT16_VERSIONS[operator.kind]
    assert [t.dtype for t in run.artifact.manifest.outputs] == ["int16"]
    assert "android/float-island" not in run.rules()


def test_every_operator_of_the_table_is_tried() -> None:
    """Those without an own case move data as one that has, or are copies."""
    alike = {
        "Concat", "Dropout", "Flatten", "GatherND", "Identity", "Reshape", "Split", "Squeeze",
        "Unsqueeze", "Upsample", "Where",
    }  # fmt: skip
    assert {case.op_type for case in CASES.values()} | alike == INT16_OPERATORS
    assert INT16_OPERATORS <= INT8_OPERATORS


@pytest.mark.parametrize("op_type", ["HardSwish", "Gelu", "DepthToSpace"])
def test_without_a_kernel_it_is_an_island(execute: Any, kit: Any, rng: Any, op_type: str) -> None:
    attributes = {"blocksize": 2} if op_type == "DepthToSpace" else {}
    source, feeds = _model(kit, rng, Case(op_type, (), attributes))
    run = execute(source, feeds, "w8a16")
    assert run.lsb <= ONE
    (island,) = (f for f in run.artifact.findings if f.rule == "android/float-island")
    assert "TFLite has no matching int16 kernel for it" in island.message


def _softmax(kit: Any, rng: Any, classes: int, spread: float) -> tuple[Any, Any]:
    feeds = {"x": rng.uniform(-spread / 2, spread / 2, (20, classes)).astype(np.float32)}
    source = kit.int8_model(
        kit.node("Softmax", ["x"], ["y"]),
        feeds,
        (1 / 32768, 0),
        input_parameters={"x": (spread / 65535, 0)},
        storage=np.int16,
    )
    return source, feeds


@pytest.mark.parametrize(
    ("classes", "spread", "steps"),
    [(1000, 9.99, TABLE_STEPS), (14, 200.0, 32.0), (15, 200.0, 0.0), (1000, 10.01, 0.0)],
    ids=["narrow", "few classes", "many classes", "wide"],
)
def test_softmax_is_an_island_where_its_table_ends(
    execute: Any, kit: Any, rng: Any, classes: int, spread: float, steps: float
) -> None:
    """The kernel cuts exp at -10: 1000 classes would be off by 1900 steps, 6 % of the range."""
    source, feeds = _softmax(kit, rng, classes, spread)
    run = execute(source, feeds, "w8a16")
    assert run.lsb <= max(steps, ONE)
    kinds = [o.kind for o in read_file(run.artifact.path.read_bytes()).main.graph.operators]
    assert kinds == (["SOFTMAX"] if steps else ["DEQUANTIZE", "SOFTMAX", "QUANTIZE"])
    (layer,) = compare_layers(source, run.artifact, [feeds]).layers
    assert layer.ok and layer.tolerance == pytest.approx(max(steps, 1.0), abs=1.1)


@pytest.mark.parametrize(
    ("attributes", "scale", "exact"),
    [
        ({"mode": "linear"}, 4, True),
        ({"mode": "linear", "coordinate_transformation_mode": "asymmetric"}, 2, True),
        ({"mode": "linear"}, 3, False),
        ({"mode": "linear", "coordinate_transformation_mode": "align_corners"}, 2, False),
    ],
)
def test_interpolation_is_an_island_where_weights_need_more_bits(
    execute: Any, kit: Any, rng: Any, attributes: Any, scale: int, exact: bool
) -> None:
    """The kernel would be off by up to 360 steps, 1 % of the range."""
    constants = {"": None, "s": np.array([1, 1, scale, scale], np.float32)}
    source, feeds = _model(kit, rng, Case("Resize", (), attributes, constants))
    run = execute(source, feeds, "w8a16")
    assert run.lsb <= ONE
    assert ("android/float-island" in run.rules()) != exact


@pytest.mark.parametrize(("side", "exact"), [(255, True), (256, False)])
@pytest.mark.parametrize("op_type", ["GlobalAveragePool", "ReduceMean"])
def test_means_are_islands_where_sums_could_wrap(
    execute: Any, kit: Any, op_type: str, side: int, exact: bool
) -> None:
    feeds = {"x": np.full((1, 1, side, side), -32768 * 2.0**-12, np.float32)}
    constants = {"a": _ints(2, 3)} if op_type == "ReduceMean" else {}
    source = kit.int8_model(
        kit.node(op_type, ["x", *constants], ["y"]),
        feeds,
        (2.0**-12, 0),
        input_parameters={"x": (2.0**-12, 0)},
        constants=constants,
        storage=np.int16,
    )
    run = execute(source, feeds, "w8a16")
    assert run.error == 0 and run.outputs["y"].max() == -8
    assert ("android/float-island" in run.rules()) != exact


def _convolution(kit: Any, rng: Any, inputs: int, **attributes: Any) -> tuple[Any, Any]:
    """All weights 127, the worst case for a sum; inputs at the end of their range."""
    per_group = inputs // attributes.get("group", 1)
    feeds = {"x": np.full((1, inputs, 2, 2), 32767 * 2.0**-12, np.float32)}
    weights = {"w": (np.full((8, per_group, 1, 1), 127, np.int8), np.full(8, 2.0**-10), 0)}
    source = kit.int8_model(
        kit.node("Conv", ["x", "w"], ["y"], **attributes),
        feeds,
        (2.0**-12 * 127 * per_group * 2.0**-10, 0),
        input_parameters={"x": (2.0**-12, 0)},
        weights=weights,
        storage=np.int16,
    )
    return source, feeds


@pytest.mark.parametrize(
    ("inputs", "dtype", "version"), [(516, INT32, 8), (517, INT64, 4)], ids=["fits", "does not"]
)
def test_a_bias_is_int32_where_no_sum_can_wrap(
    execute: Any, kit: Any, rng: Any, inputs: int, dtype: Any, version: int
) -> None:
    """516 * 127 * 2**15 < 2**31 <= 517 * 127 * 2**15; a wrapped sum would have another sign."""
    source, feeds = _convolution(kit, rng, inputs)
    run = execute(source, feeds, "w8a16")
    assert run.lsb <= ONE and run.expected["y"].max() > 0
    (operator,) = read_file(run.artifact.path.read_bytes()).main.graph.operators
    assert (operator.inputs[2].dtype, operator.version) == (dtype, version)
    assert operator.options["quantizedBiasType"] == (2 if dtype == INT32 else 0)


@pytest.mark.parametrize("groups", [2, 8])
def test_grouped_convolutions_keep_the_wide_bias(
    execute: Any, kit: Any, rng: Any, groups: int
) -> None:
    source, feeds = _convolution(kit, rng, 8, group=groups)
    run = execute(source, feeds, "w8a16")
    assert run.lsb <= ONE
    (operator,) = read_file(run.artifact.path.read_bytes()).main.graph.operators
    assert operator.inputs[2].dtype == INT64


def test_a_bias_beyond_32_bits_is_kept(execute: Any, kit: Any) -> None:
    feeds = {"x": np.ones((1, 16), np.float32)}
    weights = {"w": (np.ones((16, 4), np.int8), np.full(4, 2.0**-14), 1)}
    source = kit.int8_model(
        kit.node("Gemm", ["x", "w", "b"], ["y"]),
        feeds,
        (1.0, 0),
        input_parameters={"x": (2.0**-15, 0)},
        constants={"b": np.array([9000, -9000, 1, 0], np.float32)},
        weights=weights,
        storage=np.int16,
    )
    run = execute(source, feeds, "w8a16")
    assert run.lsb <= ONE and np.abs(run.expected["y"]).max() == 9000
    (operator,) = read_file(run.artifact.path.read_bytes()).main.graph.operators
    bias = np.asarray(operator.inputs[2].data)
    assert bias.dtype == INT64 and bias.max() == 9000 * 2**29


def test_uint16_is_int16_with_another_zero_point(execute: Any, kit: Any, rng: Any) -> None:
    feeds = {"x": rng.normal(size=(1, 4)).astype(np.float32)}
    source = kit.int8_model(
        kit.node("Relu", ["x"], ["y"]),
        feeds,
        (1e-4, 32768),
        input_parameters={"x": (1e-4, 32768)},
        storage=np.uint16,
    )
    run = execute(source, feeds, "w8a16")
    assert run.lsb == 0
    assert [t.zero_point for t in run.artifact.manifest.inputs] == [0]


def test_float_ends(execute: Any, kit: Any, rng: Any) -> None:
    source, feeds = _model(kit, rng, CASES["relu"])
    run = execute(source, feeds, "w8a16", options=EmitOptions(options={"io": "float"}))
    assert run.error == 0
    assert [t.dtype for t in run.artifact.manifest.inputs] == ["float32"]
    kinds = [o.kind for o in read_file(run.artifact.path.read_bytes()).main.graph.operators]
    assert kinds == ["QUANTIZE", "RELU", "DEQUANTIZE"]


DIGITS = Path(__file__).parents[2] / "sample_models" / "digits"


@pytest.mark.skipif(not (DIGITS / "digits.onnx").exists(), reason="the digits sample is absent")
def test_a_trained_network_end_to_end(tmp_path: Path) -> None:
    """From data to file: nearer to fp32 than w8a8, and within 8 of 65536 steps of its model."""
    hub = prepare(load(DIGITS / "digits.onnx"), batch=1)
    data = open_source(DIGITS / "calibration.npz", inputs=input_specs(hub))
    statistics = collect_statistics(hub, data, limit=50)
    images = np.load(DIGITS / "evaluation.npz")["image"][:100]
    name = str(hub.graph.inputs[0].name)
    errors = {}
    for precision in ("w8a8", "w8a16"):
        model = quantize(hub, statistics, TARGET.scheme(precision))
        artifact = TARGET.emit(model, tmp_path / precision, precision)
        assert not [f for f in artifact.findings if f.rule == "android/float-island"]
        session, reference, fp32 = TARGET.open(artifact), OrtSession(model), OrtSession(hub)
        (output,) = artifact.manifest.outputs
        found, expected, exact = (
            np.concatenate([s.run({name: image[None]})[output.name] for image in images])
            for s in (session, reference, fp32)
        )
        assert np.abs(found - expected).max() <= 8 * (output.scale or 0)
        assert (found.argmax(1) == expected.argmax(1)).all()
        errors[precision] = float(np.square(found - exact).mean())
    assert errors["w8a16"] < errors["w8a8"] / 2


def test_the_guide_lists_the_operators_of_the_table() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "precisions-android.md").read_text()
    (listed,) = re.findall(r"Int16 forms exist for: ([^.]*)\.", guide)
    assert set(re.split(r",\s+", listed)) == INT16_OPERATORS - {"Upsample"}
