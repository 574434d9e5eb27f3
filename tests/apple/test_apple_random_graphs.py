"""Random graphs of operators of every family, mixed as no test of one family mixes them.

Outputs must be those of ONNX Runtime, or a node be refused with a reason; quantized, each layer
must be within its tolerance, fed with what the QDQ model has there. In fp16, an output that ONNX
Runtime itself moves when every tensor is rounded to fp16 tells nothing of the package, and is left
out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper
from random_graphs.graphs import Drawn, draw

from edgewise import calibration
from edgewise.calibration import quantize_weights
from edgewise.data.source import Sample
from edgewise.errors import ModelError
from edgewise.findings import Finding
from edgewise.graph import OrtSession, prepare
from edgewise.targets import EmitOptions
from edgewise.targets.apple import TARGET
from edgewise.targets.apple.scheme import SCHEMES
from edgewise.targets.base import Artifact
from edgewise.targets.validation.layers import compare_layers

#: of the largest output; sums in another order
TOLERANCE = 2e-4
#: of an output's largest number in fp16, and by how much less its fp16 reference may move
FP16_TOLERANCE, FP16_STABLE = 0.02, 0.005
GRAPHS_PER_TEST = 12
#: what is refused is told in tests of its own; here it must be rare
MOST_REFUSED = 1
NOTHING_TO_QUANTIZE = "nothing in the model can be quantized"

Arrays = Mapping[str, Any]

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class OneSample:
    """The feeds of a graph as a data source without labels."""

    feeds: Arrays
    description: str = "feeds"
    fingerprint: str = "0" * 64
    labelled: bool = False
    class_names: tuple[str, ...] = ()
    findings: Sequence[Finding] = ()

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Sample]:
        yield Sample(self.feeds, None, "feeds")


def _check_outputs(found: Arrays, expected: Arrays, tolerance: float, what: str) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        where = f"{what}: {name}"
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype), where
        if array.dtype.kind == "f":
            margin = tolerance * max(float(np.abs(array).max()), 1e-2)
            np.testing.assert_allclose(found[name], array, rtol=0, atol=margin, err_msg=where)
        else:
            np.testing.assert_array_equal(found[name], array, err_msg=where)


def _emit(model: ir.Model, folder: Path, precision: str, **options: str) -> Artifact:
    return TARGET.emit(model, folder, precision, options=EmitOptions(options=options))


def _run(artifact: Artifact, drawn: Drawn) -> dict[str, Any]:
    session = TARGET.open(artifact)
    found = session.run(drawn.feeds)
    session.close()
    return found


def _reference(model: onnx.ModelProto | ir.Model, drawn: Drawn) -> dict[str, Any]:
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else model
    return OrtSession(source, optimize="none").run(drawn.feeds)


@pytest.mark.parametrize("first", [0, 400])
def test_float(first: int, tmp_path: Path) -> None:
    refused = []
    for seed in range(first, first + GRAPHS_PER_TEST):
        drawn = draw(seed)
        try:
            artifact = _emit(ir.from_proto(drawn.model), tmp_path / str(seed), "fp32")
        except ModelError as refusal:
            refused.append(str(refusal))
            continue
        expected = _reference(drawn.model, drawn)
        _check_outputs(_run(artifact, drawn), expected, TOLERANCE, f"graph {seed}")
    assert len(refused) <= MOST_REFUSED, refused


def test_large_graphs(tmp_path: Path) -> None:
    for seed in (5000, 5001, 5002):
        drawn = draw(seed, least=60, most=140)
        artifact = _emit(ir.from_proto(drawn.model), tmp_path / str(seed), "fp32")
        expected = _reference(drawn.model, drawn)
        _check_outputs(_run(artifact, drawn), expected, TOLERANCE, f"graph {seed}")


@pytest.mark.parametrize("system", ["iOS15", "iOS16", "iOS17", "iOS18"])
def test_in_the_operations_of_a_system(system: str, tmp_path: Path) -> None:
    compared = 0
    for seed in range(3027, 3033):
        drawn = draw(seed)
        try:
            artifact = _emit(
                ir.from_proto(drawn.model), tmp_path / str(seed), "fp32", deployment_target=system
            )
        except ModelError as refusal:
            assert f"deployment_target is {system}" in str(refusal)
            continue
        expected = _reference(drawn.model, drawn)
        _check_outputs(_run(artifact, drawn), expected, TOLERANCE, f"graph {seed}")
        compared += 1
    assert compared >= 4


def _rounded(drawn: Drawn) -> onnx.ModelProto:
    """The model with every float that a node gives rounded to fp16, inputs and constants too."""
    model = onnx.ModelProto()
    model.CopyFrom(drawn.model)
    graph = model.graph
    arrays = {value.name: value.array for value in drawn.growth.values} | drawn.growth.constants
    floats = {name for name, array in arrays.items() if array.dtype == np.float32}
    nodes: list[onnx.NodeProto] = []

    def round_(name: str, to: str) -> None:
        half = helper.make_node("Cast", [name], [f"{to}/half"], to=onnx.TensorProto.FLOAT16)
        back = helper.make_node("Cast", [f"{to}/half"], [to], to=onnx.TensorProto.FLOAT)
        nodes.extend((half, back))

    given = [value.name for value in (*graph.input, *graph.initializer) if value.name in floats]
    for name in given:
        round_(name, f"{name}/rounded")
    for node in drawn.model.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [f"{name}/rounded" if name in given else name for name in node.input]
        made = [name for name in node.output if name in floats]
        copy.output[:] = [f"{name}/exact" if name in made else name for name in node.output]
        nodes.append(copy)
        for name in made:
            round_(f"{name}/exact", name)
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _stable(drawn: Drawn) -> dict[str, Any]:
    """What ONNX Runtime gives, of the outputs that fp16 hardly moves."""
    expected, rounded = _reference(drawn.model, drawn), _reference(_rounded(drawn), drawn)
    kept = {}
    for name, array in expected.items():
        margin = FP16_STABLE * max(float(np.abs(array).max()), 1e-2) if array.dtype == "f4" else 0
        if np.allclose(rounded[name], array, rtol=0, atol=margin):  # no infinity is close
            kept[name] = array
    return kept


def test_half_precision(tmp_path: Path) -> None:
    compared = outputs = 0
    for seed in range(2000, 2000 + GRAPHS_PER_TEST):
        drawn = draw(seed)
        artifact = _emit(ir.from_proto(drawn.model), tmp_path / str(seed), "fp16")
        found, expected = _run(artifact, drawn), _stable(drawn)
        kept = {name: found[name] for name in expected}
        _check_outputs(kept, expected, FP16_TOLERANCE, f"graph {seed}")
        compared, outputs = compared + len(expected), outputs + len(found)
    assert compared > 0.8 * outputs


@pytest.mark.parametrize("compute", ["fp32", "fp16"])
def test_integer_layers(compute: str, tmp_path: Path) -> None:
    refused, layers = [], 0
    first = 1000 if compute == "fp32" else 1300
    for seed in range(first, first + GRAPHS_PER_TEST):
        drawn = draw(seed)
        hub = prepare(ir.from_proto(drawn.model))
        try:
            statistics = calibration.collect_statistics(hub, OneSample(drawn.feeds))
            qdq = calibration.quantize(hub, statistics, TARGET.scheme("w8a8"))
            artifact = _emit(qdq, tmp_path / str(seed), "w8a8", compute=compute)
        except ModelError as refusal:
            refused += [] if NOTHING_TO_QUANTIZE in str(refusal) else [str(refusal)]
            continue
        found = _run(artifact, drawn)
        for name, array in _reference(qdq, drawn).items():
            assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype)
        report = compare_layers(qdq, artifact, [drawn.feeds])
        layers += len(report.layers)
        assert not report.beyond, f"graph {seed}: {report.beyond}"
    assert layers > GRAPHS_PER_TEST
    assert len(refused) <= MOST_REFUSED, refused


@pytest.mark.parametrize("precision", ["w8", "w4", "palette4"])
def test_stored_weights(precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are stored from a size on that graphs this small do not have."""
    scheme = replace(TARGET.scheme(precision), smallest_weight=32)
    monkeypatch.setitem(SCHEMES, precision, scheme)
    compared = 0
    for seed in range(6000, 6020):
        drawn = draw(seed)
        model = prepare(ir.from_proto(drawn.model))
        try:
            stored = quantize_weights(model, scheme).model
        except ModelError as refusal:
            assert NOTHING_TO_QUANTIZE in str(refusal)
            continue
        artifact = _emit(stored, tmp_path / str(seed), precision, compute="fp32")
        expected = _reference(stored, drawn)
        _check_outputs(_run(artifact, drawn), expected, TOLERANCE, f"graph {seed}")
        compared += 1
    assert compared >= 5


def _bytes(artifact: Artifact) -> dict[str, bytes]:
    files = sorted(path for path in artifact.path.rglob("*") if path.is_file())
    return {str(path.relative_to(artifact.path)): path.read_bytes() for path in files}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_same_bytes_again(precision: str, tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        model = draw(seed).model
        first, second = (
            _bytes(_emit(ir.from_proto(model), tmp_path / f"{seed}{again}", precision))
            for again in "ab"
        )
        assert first == second
