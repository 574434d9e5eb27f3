"""Small networks in which one thing is spoiled, and data for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgewise.targets
from edgewise.calibration import NumberFormat, Scheme, collect_statistics, quantize
from edgewise.data.source import Sample
from edgewise.diagnosis import Diagnosis, diagnose
from edgewise.findings import Finding
from edgewise.graph import prepare

Array = npt.NDArray[Any]


@dataclass
class Source:
    """Arrays as a data source."""

    arrays: list[Array]
    description: str = "test data"
    fingerprint: str = "0" * 64
    labelled: bool = False
    class_names: tuple[str, ...] = ()
    findings: list[Finding] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.arrays)

    def __iter__(self) -> Iterator[Sample]:
        for index, array in enumerate(self.arrays):
            yield Sample({"x": array}, None, f"sample {index}")


class Graph:
    """Nodes of a float model; each method gives the new tensor's name, which its node has, too."""

    def __init__(self, *shape: int) -> None:
        self.random = np.random.default_rng(4)
        self._input = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        self._nodes: list[Any] = []
        self._constants: dict[str, Array] = {}

    def op(self, kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def const(self, name: str, array: Array) -> str:
        self._constants[name] = np.asarray(array, np.float32)
        return name

    def conv(self, name: str, source: str, cin: int, cout: int) -> str:
        weight = self.random.normal(0, (cin * 9) ** -0.5, (cout, cin, 3, 3))
        inputs = [
            source,
            self.const(f"{name}.weight", weight),
            self.const(f"{name}.bias", self.random.normal(0, 0.1, cout)),
        ]
        return self.op("Conv", name, *inputs, pads=[1, 1, 1, 1])

    def constant(self, name: str) -> Array:
        """To be changed in place."""
        return self._constants[name]

    def model(self, *outputs: str) -> ir.Model:
        graph = helper.make_graph(
            self._nodes,
            "graph",
            [self._input],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in self._constants.items()],
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
        proto.ir_version = 10
        return prepare(ir.from_proto(proto))


def normal(shape: tuple[int, ...], count: int = 4, spread: float = 1.0, seed: int = 0) -> Source:
    random = np.random.default_rng(seed)
    return Source([random.normal(0, spread, shape).astype(np.float32) for _ in range(count)])


def chain() -> Graph:
    """Three convolutions with a ReLU behind the first two."""
    graph = Graph(1, 4, 12, 12)
    one = graph.op("Relu", "one_act", graph.conv("one", "x", 4, 8))
    two = graph.op("Relu", "two_act", graph.conv("two", one, 8, 8))
    graph.conv("three", two, 8, 4)
    return graph


@pytest.fixture
def graph() -> type[Graph]:
    return Graph


@pytest.fixture
def source() -> type[Source]:
    return Source


@pytest.fixture
def spoiled() -> Graph:
    """To be spoiled by the test."""
    return chain()


@pytest.fixture
def data() -> Callable[..., Source]:
    return normal


@pytest.fixture
def schemes() -> Mapping[str, Scheme]:
    """Of targets, and `symmetric`, whose activations have their zero point in the middle."""
    android = edgewise.targets.get("android").scheme("w8a8")
    symmetric = replace(
        edgewise.targets.get("apple").scheme("w8a8"),
        activation=NumberFormat("int8", symmetric=True),
    )
    assert android.weight is not None
    weight = replace(android.weight, granularity="per_tensor")
    return {
        "android": android,
        "symmetric": symmetric,
        "per_tensor": replace(android, weight=weight),
    }


@pytest.fixture
def diagnosed() -> Callable[..., Diagnosis]:
    """Quantize and diagnose; `calibration` stands in for the samples where it differs."""

    def make(
        model: ir.Model, scheme: Scheme, samples: Source, calibration: Source | None = None
    ) -> Diagnosis:
        statistics = collect_statistics(model, calibration or samples)
        qdq = quantize(model, statistics, scheme)
        return diagnose(model, qdq, scheme, samples, statistics=statistics)

    return make
