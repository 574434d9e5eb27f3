"""Parts of a file: how it is cut, and that each is timed on real values beside its fp32 twin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stand_in_device import StandInDevice, stand_in

from edgewise.errors import ModelError, UsageError
from edgewise.targets.android import TARGET
from edgewise.targets.android.flatbuffer import assign_names, made_up_name, serialize
from edgewise.targets.android.model import Graph, Operator, Tensor
from edgewise.targets.android.parts import Part, part_graph, parts_of
from edgewise.targets.android.profile import profile_parts
from edgewise.targets.android.runtime import load
from edgewise.targets.base import Artifact, EmitOptions
from edgewise.targets.profiling import ProfilingTarget

__all__ = ["stand_in"]

FLOAT = np.dtype(np.float32)


def _tensor(name: str) -> Tensor:
    return Tensor((2, 3), FLOAT, name=name)


def _one(kind: str, source: Tensor, target: Tensor) -> Operator:
    return Operator(kind, (source,), (target,), origin=target.name)


def _ends(part: Part) -> tuple[list[str], list[str]]:
    return [t.name for t in part.reads], [t.name for t in part.writes]


@pytest.fixture
def diamond() -> tuple[Graph, dict[str, Tensor]]:
    """x -> a -> b -> d, a -> c -> d, d -> e"""
    t = {name: _tensor(name) for name in "xabcde"}
    add = Operator("ADD", (t["b"], t["c"]), (t["d"],), {"fusedActivationFunction": 0}, origin="d")
    operators = [
        _one("ABS", t["x"], t["a"]),
        _one("NEG", t["a"], t["b"]),
        _one("FLOOR", t["a"], t["c"]),
        add,
        _one("CEIL", t["d"], t["e"]),
    ]
    return Graph(operators, [t["x"]], [t["e"]], ["x"], ["e"]), t


@pytest.mark.parametrize(
    ("cuts", "expected"),
    [
        ("", [(["x"], ["e"])]),
        ("d", [(["x"], ["d"]), (["d"], ["e"])]),
        ("a", [(["x"], ["a"]), (["a"], ["e"])]),
        ("ad", [(["x"], ["a"]), (["a"], ["d"]), (["d"], ["e"])]),
        ("b", [(["x"], ["e"])]),  # the way over c joins both sides
        ("abc", [(["x"], ["a"]), (["a"], ["b"]), (["a"], ["c"]), (["b", "c"], ["e"])]),
    ],
)
def test_parts_are_what_lies_between_cuts(
    diamond: tuple[Graph, dict[str, Tensor]], cuts: str, expected: Any
) -> None:
    graph, tensors = diamond
    parts = parts_of(graph, [tensors[name] for name in cuts])
    assert [_ends(part) for part in parts] == expected
    held = [operator for part in parts for operator in part.operators]
    assert sorted(map(id, held)) == sorted(map(id, graph.operators))


def test_parts_one_after_another_compute_the_whole(
    diamond: tuple[Graph, dict[str, Tensor]], rng: np.random.Generator
) -> None:
    graph, tensors = diamond
    values = {"x": rng.standard_normal((2, 3)).astype(np.float32)}
    for part in parts_of(graph, [tensors["a"], tensors["d"]]):
        interpreter = load(serialize(part_graph(part)), 1)
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], values[detail["name"]])
        interpreter.invoke()
        for detail in interpreter.get_output_details():
            values[detail["name"]] = interpreter.get_tensor(detail["index"])
    a = np.abs(values["x"])
    np.testing.assert_array_equal(values["e"], np.ceil(-a + np.floor(a)))


def test_names_of_the_writer_are_no_names_of_the_model() -> None:
    x, y, z = _tensor("x"), _tensor(""), _tensor("")
    operators = [
        Operator("PAD", (x,), (y,), origin="conv"),
        Operator("PAD", (y,), (z,), origin="conv"),
    ]
    assign_names(Graph(operators, [x], [z]))
    assert (y.name, z.name) == ("conv/pad", "conv/pad.1")
    assert made_up_name(y.name, operators[0]) and made_up_name(z.name, operators[1])
    for name in ("conv", "layer.1/conv", "conv/pad.x", "pad", "conv/padding"):
        assert not made_up_name(name, operators[0])


def _artifacts(kit: Any, folder: Path, rng: Any) -> tuple[Artifact, Artifact, dict[str, Any]]:
    """Two convolutions, one of them padded, around a table; int8 and fp32."""
    x = rng.standard_normal((1, 4, 12, 12)).astype(np.float32)
    weights = [0.2 * rng.standard_normal((8, c, 3, 3)).astype(np.float32) for c in (4, 8)]
    nodes = [
        kit.node("Conv", ["x", "w0"], ["first"], pads=[1, 1, 1, 1], strides=[2, 2]),
        kit.node("HardSwish", ["first"], ["bent"]),
        kit.node("Conv", ["bent", "w1"], ["y"]),
    ]
    constants = {"w0": weights[0], "w1": weights[1]}
    source = kit.model(nodes, {"x": x}, {"y": np.float32}, constants)
    qdq = kit.calibrated(source, [{"x": x}])
    return (
        TARGET.emit(qdq, folder / "int8", "w8a8"),
        TARGET.emit(source, folder / "fp32", "fp32"),
        {"x": x},
    )


def test_each_part_is_timed_beside_its_twin(kit: Any, tmp_path: Path, rng: Any) -> None:
    artifact, fp32, feeds = _artifacts(kit, tmp_path, rng)
    times = profile_parts(artifact, fp32, feeds)
    assert [part.tensor for part in times.parts] == ["first", "bent", "y"]
    padded, table, last = times.parts
    assert padded.operators == ("PAD", "CONV_2D") and last.operators == ("CONV_2D",)
    assert (table.operators[0], table.operators[-1]) == ("DEQUANTIZE", "QUANTIZE")
    assert all(0 < part.ms < 1000 and 0 < (part.fp32_ms or 0) < 1000 for part in times.parts)
    assert "each part alone" in times.method


def test_parts_are_timed_on_a_device(
    kit: Any,
    tmp_path: Path,
    rng: Any,
    stand_in: type[StandInDevice],
) -> None:
    artifact, fp32, feeds = _artifacts(kit, tmp_path, rng)
    times = profile_parts(artifact, fp32, feeds, device="ssh://board")
    assert [host for host, _ in stand_in.started] == ["board"]
    assert [part.tensor for part in times.parts] == ["first", "bent", "y"]
    assert all(0 < part.ms < 1000 and 0 < (part.fp32_ms or 0) < 1000 for part in times.parts)
    with pytest.raises(UsageError, match="nothing was timed"):
        profile_parts(artifact, fp32, feeds, device="ssh://emulated")


def test_without_an_fp32_file_parts_stand_alone(kit: Any, tmp_path: Path, rng: Any) -> None:
    artifact, fp32, feeds = _artifacts(kit, tmp_path, rng)
    alone = profile_parts(artifact, None, feeds)
    assert [part.tensor for part in alone.parts] == ["first", "bent", "y"]
    assert {part.fp32_ms for part in alone.parts} == {None}
    floats = profile_parts(fp32, None, feeds)
    assert [part.tensor for part in floats.parts] == ["first", "bent", "y"]


def test_indices_are_those_of_the_file(kit: Any, tmp_path: Path, rng: Any) -> None:
    """Noise in their place would be out of range."""
    feeds = {"x": rng.standard_normal((1, 40)).astype(np.float32)}
    nodes = [
        kit.node("ArgMax", ["x"], ["best"], axis=1, keepdims=0),
        kit.node("Gather", ["table", "best"], ["row"], axis=0),
        kit.node("Abs", ["row"], ["y"]),
    ]
    constants = {"table": rng.standard_normal((40, 3)).astype(np.float32)}
    source = kit.model(nodes, feeds, {"y": np.float32}, constants)
    times = profile_parts(TARGET.emit(source, tmp_path), None, feeds)
    assert {"best", "row", "y"} <= {part.tensor for part in times.parts}


def test_a_free_batch_is_refused(kit: Any, tmp_path: Path) -> None:
    x = np.zeros((1, 3), np.float32)
    source = kit.model([kit.node("Abs", ["x"], ["y"])], {"x": x}, {"y": np.float32})
    source.graph.inputs[0].shape = type(source.graph.inputs[0].shape)(["n", 3])
    source.graph.outputs[0].shape = None
    options = EmitOptions(options={"batch": "dynamic"})
    artifact = TARGET.emit(source, tmp_path, options=options)
    with pytest.raises(UsageError, match="free batch cannot be profiled"):
        profile_parts(artifact, None, {"x": x})


def test_a_damaged_file_is_named(kit: Any, tmp_path: Path, rng: Any) -> None:
    artifact, _, feeds = _artifacts(kit, tmp_path, rng)
    artifact.path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot be read"):
        profile_parts(artifact, None, feeds)


def test_the_target_offers_it() -> None:
    assert isinstance(TARGET, ProfilingTarget)
