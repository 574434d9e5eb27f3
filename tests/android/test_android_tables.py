"""Functions of one element as tables: written so, delegated, and exactly the QDQ model's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgewise.targets.android import TARGET
from edgewise.targets.android.delegates.placement import ask_runtime
from edgewise.targets.android.flatbuffer import serialize
from edgewise.targets.android.model import Graph, Operator, Quantization, Tensor
from edgewise.targets.android.reader import read_file
from edgewise.targets.android.runtime import load
from edgewise.targets.android.tables import use_tables
from edgewise.targets.base import Artifact, EmitOptions

INT8, FLOAT = np.dtype(np.int8), np.dtype(np.float32)
#: every int8 value, so that the whole table is compared
RAMP = np.arange(-128, 128, dtype=np.float32).reshape(1, 4, 8, 8)
#: operator, its inputs beside x, scale and zero point of x, of y
FUNCTIONS: dict[str, tuple[Any, list[str], tuple[float, int], tuple[float, int]]] = {
    "Abs": ({}, [], (0.05, 12), (0.049, -128)),
    "Exp": ({}, [], (0.03, 20), (0.13, -128)),
    "Gelu": ({}, [], (0.04, -30), (0.021, -100)),
    "HardSwish": ({}, [], (0.06, -5), (0.031, -110)),
    "PRelu": ({}, ["slope"], (0.05, 3), (0.0413, -60)),
}


def _kinds(artifact: Artifact) -> list[str]:
    return [o.kind for o in read_file(artifact.path.read_bytes()).main.graph.operators]


def _case(kit: Any, op_type: str) -> tuple[Any, dict[str, Any]]:
    attributes, others, (scale, zero), output = FUNCTIONS[op_type]
    feeds = {"x": ((RAMP - zero) * np.float32(scale)).astype(np.float32)}
    slopes = np.array([[[127]], [[-50]], [[3]], [[64]]], np.int8)
    source = kit.int8_model(
        kit.node(op_type, ["x", *others], ["y"], **attributes),
        feeds,
        output,
        input_parameters={"x": (scale, zero)},
        weights={"slope": (slopes, np.float32(0.004), 0)} if others else None,
    )
    return source, feeds


@pytest.mark.parametrize("op_type", FUNCTIONS)
def test_every_entry_of_the_table_is_that_of_the_qdq_model(
    execute: Any, kit: Any, op_type: str
) -> None:
    """0 steps off, save where the quotient lies on a tie and float32 kernels differ in a bit."""
    source, feeds = _case(kit, op_type)
    run = execute(source, feeds, "w8a8")
    kinds = _kinds(run.artifact)
    assert kinds.count("DEQUANTIZE") == kinds.count("QUANTIZE") == 1
    found, expected = run.outputs["y"], run.expected["y"]
    step = run.artifact.manifest.outputs[0].scale
    steps = np.abs(found - expected) / step
    assert steps.max() <= kit.int8_tolerance
    assert np.mean(steps > 0.5) <= 0.01
    assert not {"android/float-island", "android/not-delegated"} & set(run.rules())


@pytest.mark.parametrize("op_type", FUNCTIONS)
def test_files_for_npus_keep_int8_operators(kit: Any, op_type: str, tmp_path: Any) -> None:
    source, _ = _case(kit, op_type)
    options = EmitOptions(options={"delegates": ["xnnpack", "qualcomm"]})
    artifact = TARGET.emit(source, tmp_path, "w8a8", options=options)
    kinds = _kinds(artifact)
    assert not {"DEQUANTIZE", "QUANTIZE"} & set(kinds)
    assert artifact.manifest.options["delegates"] == ["xnnpack", "qualcomm"]


@pytest.mark.parametrize("op_type", FUNCTIONS)
def test_layers_of_tables_are_compared(kit: Any, op_type: str, tmp_path: Any) -> None:
    source, feeds = _case(kit, op_type)
    artifact = TARGET.emit(source, tmp_path, "w8a8")
    (layer,) = TARGET.compare_layers(source, artifact, [feeds]).layers[-1:]
    assert layer.ok and layer.different <= 0.01
    assert layer.operators[0] == "DEQUANTIZE" and layer.operators[-1] == "QUANTIZE"


def _int8(*shape: int) -> Tensor:
    return Tensor(shape, INT8, Quantization.per_tensor(0.1, 4))


def test_the_whole_graph_stays_with_xnnpack() -> None:
    x, y, z = _int8(1, 4, 4, 8), _int8(1, 4, 4, 8), _int8(1, 4, 4, 8)
    add = Operator("ADD", (y, y), (z,), {"fusedActivationFunction": 0}, 2, "add")
    graph = Graph([Operator("RELU", (x,), (y,), origin="relu"), add], [x], [z], ["x"], ["z"])
    use_tables(graph)
    assert [o.kind for o in graph.operators] == ["DEQUANTIZE", "RELU", "QUANTIZE", "ADD"]
    assert {o.origin for o in graph.operators[:3]} == {"relu"} and graph.operators[3] is add
    placement = ask_runtime(graph, load(serialize(graph), threads=1))
    assert placement.delegated == frozenset(graph.operators)


def test_only_int8_functions_of_one_computed_tensor_change() -> None:
    wide = Quantization.per_tensor(0.1, 0, np.dtype(np.int16))
    s, t = (Tensor((4,), np.dtype(np.int16), wide) for _ in range(2))
    a, b = Tensor((4,), FLOAT), Tensor((4,), FLOAT)
    x, slope, y, z = _int8(4), _int8(4), _int8(4), _int8(4)
    operators = [
        Operator("ABS", (s,), (t,)),
        Operator("EXP", (a,), (b,)),
        Operator("PRELU", (x, slope), (y,)),
        Operator("LOGISTIC", (x,), (z,)),
    ]
    graph = Graph(list(operators))
    use_tables(graph)
    assert graph.operators == operators


def test_bodies_and_free_dimensions_are_kept() -> None:
    x, y = _int8(1, 4), _int8(1, 4)
    x.shape_signature = y.shape_signature = (-1, 4)
    body = Graph([Operator("ABS", (x,), (y,), origin="n")], [x], [y])
    owner = Operator("IF", (), (), bodies={"thenSubgraphIndex": body})
    use_tables(Graph([owner]))
    first, middle, last = body.operators
    assert [first.kind, middle.kind, last.kind] == ["DEQUANTIZE", "ABS", "QUANTIZE"]
    assert first.outputs[0].shape_signature == (-1, 4)
    assert middle.outputs[0].shape_signature == (-1, 4)


def test_slopes_per_channel_get_their_own_scales() -> None:
    slope = Tensor(
        (1, 1, 2),
        INT8,
        Quantization(np.array([0.5, 0.25], np.float32), np.array([0, 0]), 2),
        np.array([[[3, -4]]], np.int8),
    )
    graph = Graph([Operator("PRELU", (_int8(1, 2, 2, 2), slope), (_int8(1, 2, 2, 2),))])
    use_tables(graph)
    constant = graph.operators[1].inputs[1]
    assert constant.quantization is None and constant.data is not None
    np.testing.assert_array_equal(constant.data, np.array([[[1.5, -1.0]]], np.float32))


def test_a_slope_that_is_a_scalar_stays_one() -> None:
    slope = Tensor((), INT8, Quantization.per_tensor(0.5, 1), np.array(3, np.int8))
    graph = Graph([Operator("PRELU", (_int8(2, 2), slope), (_int8(2, 2),))])
    use_tables(graph)
    constant = graph.operators[1].inputs[1]
    assert constant.data is not None and constant.data.shape == constant.shape == ()
    assert constant.data == np.float32(1.0)
