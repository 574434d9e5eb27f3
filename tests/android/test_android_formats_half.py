"""fp16: what becomes float16, how large the file is, and how far from fp32 it computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewise.errors import ModelError, UsageError
from edgewise.targets.android import TARGET
from edgewise.targets.android.builder import FLOAT32, Builder
from edgewise.targets.android.half import store_as_half
from edgewise.targets.android.model import Graph, Tensor
from edgewise.targets.android.reader import read_file
from edgewise.targets.base import EmitOptions

#: float16 has 11 significant bits
HALF_STEP = 2.0**-11


def _network(kit: Any, rng: Any, scale: float = 1.0) -> tuple[Any, dict[str, Any]]:
    """Convolution, depthwise convolution, transposed convolution and product, with biases."""
    feeds = {"x": rng.normal(size=(1, 8, 10, 12)).astype(np.float32)}
    nodes = [
        kit.node("Conv", ["x", "w1", "b1"], ["a"], pads=[1, 1, 1, 1]),
        kit.node("Relu", ["a"], ["r"]),
        kit.node("Conv", ["r", "w2"], ["d"], group=32),
        kit.node("ConvTranspose", ["d", "w3"], ["t"], strides=[2, 2]),
        kit.node("GlobalAveragePool", ["t"], ["g"]),
        kit.node("Flatten", ["g"], ["f"]),
        kit.node("Gemm", ["f", "w4", "b4"], ["y"], transB=1),
    ]
    shapes = {"w1": (32, 8, 3, 3), "b1": (32,), "w2": (32, 1, 3, 3), "w3": (32, 16, 3, 3)}
    constants = {
        name: (scale * rng.normal(size=shape)).astype(np.float32)
        for name, shape in {**shapes, "w4": (50, 16), "b4": (50,)}.items()
    }
    return kit.model(nodes, feeds, {"y": np.float32}, constants), feeds


def test_half_the_size_and_a_thousandth_off(execute: Any, kit: Any, rng: Any) -> None:
    source, feeds = _network(kit, rng)
    whole = execute(source, feeds)
    half = execute(source, feeds, "fp16")
    largest = np.abs(half.expected["y"]).max()
    assert half.error <= 4 * HALF_STEP * largest
    assert half.error > whole.error
    assert half.artifact.size_bytes < 0.62 * whole.artifact.size_bytes  # the graph itself is 4 kB
    assert [(t.dtype, t.scale) for t in half.artifact.manifest.inputs] == [("float32", None)]
    assert half.artifact.manifest.precision == "fp16"


def test_every_large_constant_is_widened_before_its_first_reader(
    execute: Any, kit: Any, rng: Any
) -> None:
    source, feeds = _network(kit, rng)
    options = EmitOptions(options={"float32_below": 40})
    artifact = execute(source, feeds, "fp16", options=options).artifact
    graph = read_file(artifact.path.read_bytes()).main.graph
    widened = [operator for operator in graph.operators if operator.kind == "DEQUANTIZE"]
    assert [o.inputs[0].data.size for o in widened] == [2304, 288, 4608, 800, 50]
    assert {o.inputs[0].dtype.name for o in widened} == {"float16"}
    assert {o.version for o in widened} == {3}
    kept = {t.name for t in graph.tensors() if t.data is not None and t.dtype == np.float32}
    assert {"b1"} <= kept and not kept & {"w1", "w2", "w3", "w4", "b4"}
    assert artifact.manifest.options["float32_below"] == 40


def test_values_are_those_of_float16(execute: Any, kit: Any) -> None:
    """A product with weights that float16 holds is exact."""
    weights = np.arange(-32, 32, dtype=np.float32).reshape(8, 8) / 64
    feeds = {"x": np.eye(8, dtype=np.float32)}
    source = kit.model(
        [kit.node("MatMul", ["x", "w"], ["y"])], feeds, {"y": np.float32}, {"w": weights}
    )
    assert execute(source, feeds, "fp16").error == 0.0


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_magnitudes_that_float16_does_not_hold_stay_float32(
    execute: Any, kit: Any, rng: Any, scale: float
) -> None:
    source, feeds = _network(kit, rng, scale)
    run = execute(source, feeds, "fp16")
    assert run.rules().count("android/float32-constant") == 6
    assert run.error <= 1e-5 * np.abs(run.expected["y"]).max()


def _scaled(number: float) -> Graph:
    builder = Builder()
    builder.origin = "layer"
    x = Tensor((4,), FLOAT32, name="x")
    factor = builder.constant(np.full(4, number, np.float32), "factor")
    first = builder.add("MUL", [x, factor], (4,), FLOAT32)
    second = builder.add("MUL", [first, factor], (4,), FLOAT32)
    builder.graph.inputs, builder.graph.outputs = [x], [second]
    return builder.graph


def test_a_constant_with_two_readers_is_widened_once() -> None:
    graph = _scaled(0.5)
    assert store_as_half(graph, min_elements=1) == []
    assert [operator.kind for operator in graph.operators] == ["DEQUANTIZE", "MUL", "MUL"]
    widened = graph.operators[0].outputs[0]
    assert all(operator.inputs[1] is widened for operator in graph.operators[1:])


@pytest.mark.parametrize("number", [2.0**-15, 65520.0, np.inf, np.nan])
def test_the_ends_of_float16(number: float) -> None:
    graph = _scaled(number)
    (finding,) = store_as_half(graph, min_elements=1)
    assert (finding.rule, finding.node) == ("android/float32-constant", "layer")
    assert "'factor' stays float32" in finding.message
    assert [operator.kind for operator in graph.operators] == ["MUL", "MUL"]


@pytest.mark.parametrize("number", [0.0, 2.0**-14, 65504.0, -65504.0])
def test_the_ends_that_float16_holds(number: float) -> None:
    graph = _scaled(number)
    assert store_as_half(graph, min_elements=1) == []
    assert float(np.asarray(graph.operators[0].inputs[0].data).flat[0]) == number


def test_small_constants_keep_their_digits() -> None:
    graph = _scaled(0.1)
    store_as_half(graph, min_elements=5)
    assert [operator.kind for operator in graph.operators] == ["MUL", "MUL"]


def test_it_takes_float_models_only(kit: Any, tmp_path: Path) -> None:
    x = {"x": np.zeros((1, 3, 4, 5), np.float32)}
    source = kit.int8_model(kit.node("Relu", ["x"], ["y"]), x, (0.1, -128))
    with pytest.raises(ModelError, match="precision fp16 needs a float model"):
        TARGET.emit(source, tmp_path / "out", "fp16")


@pytest.mark.parametrize("below", [-1, 1.5, True, "8"])
def test_the_threshold_is_a_whole_number(kit: Any, rng: Any, tmp_path: Path, below: Any) -> None:
    source, _ = _network(kit, rng)
    options = EmitOptions(options={"float32_below": below})
    with pytest.raises(UsageError, match="option 'float32_below'"):
        TARGET.emit(source, tmp_path / "out", "fp16", options=options)
    assert not (tmp_path / "out").exists()


def test_options_of_other_precisions_are_refused(kit: Any, rng: Any, tmp_path: Path) -> None:
    source, _ = _network(kit, rng)
    options = EmitOptions(options={"block_size": 32})
    with pytest.raises(UsageError, match=r"'block_size' has no meaning in precision fp16.*w4"):
        TARGET.emit(source, tmp_path / "out", "fp16", options=options)
