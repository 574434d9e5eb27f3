"""Fakes that let validation be tested without a runtime, and one small real model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgewise.data.source import Sample
from edgewise.findings import Finding

FEATURES, CLASSES = 8, 4


class ListSource:
    """A data source over a list of samples."""

    description = "a list"
    fingerprint = "0"
    class_names: tuple[str, ...] = ()

    def __init__(self, samples: list[Sample], *, labelled: bool = True) -> None:
        self._samples = samples
        self.labelled = labelled
        self.findings: list[Finding] = []
        self.walks = 0

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[Sample]:
        self.walks += 1
        return iter(self._samples)


class ManualClock:
    """Nanoseconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


class TimedSession:
    """A session whose every run takes the next of its durations, in milliseconds."""

    def __init__(
        self,
        name: str,
        clock: ManualClock,
        durations: Iterator[float],
        events: list[str],
        latency_reason: str | None = None,
    ) -> None:
        self.device, self.threads, self.latency_reason = "fake", 1, latency_reason
        self._name, self._clock, self._durations = name, clock, durations
        self._events = events
        events.append(f"open {name}")

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        raise AssertionError("latency is taken through invoke")

    def prepare(self, feeds: Mapping[str, Any]) -> None:
        self._events.append(f"prepare {self._name}")

    def invoke(self) -> None:
        self._events.append(self._name)
        self._clock.now += round(next(self._durations) * 1e6)

    def close(self) -> None:
        self._events.append(f"close {self._name}")


@pytest.fixture
def list_source() -> Callable[..., ListSource]:
    return ListSource


@pytest.fixture
def manual_clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def timed_session() -> type[TimedSession]:
    return TimedSession


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A linear classifier in fp32 and in QDQ form: (hub, qdq)."""
    folder = tmp_path_factory.mktemp("classifier")
    weights = np.random.default_rng(0).standard_normal((FEATURES, CLASSES)).astype(np.float32)
    onnx.save(_linear(weights, quantized=False), folder / "hub.onnx")
    onnx.save(_linear(weights, quantized=True), folder / "qdq.onnx")
    return folder / "hub.onnx", folder / "qdq.onnx"


@pytest.fixture
def vectors(classifier: tuple[Path, Path]) -> ListSource:
    """60 vectors labelled with what the fp32 classifier says, every tenth label wrong."""
    from edgewise.graph import OrtSession

    session = OrtSession(classifier[0])
    samples = []
    for index in range(60):
        x = np.random.default_rng(index).standard_normal((1, FEATURES)).astype(np.float32)
        label = int(session.run({"x": x})["y"].argmax()) + (index % 10 == 0)
        samples.append(Sample({"x": x}, label % CLASSES, f"vector {index}"))
    return ListSource(samples)


def _linear(weights: np.ndarray, *, quantized: bool) -> onnx.ModelProto:
    if not quantized:
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="linear")]
        arrays: dict[str, np.ndarray] = {"w": weights}
    else:
        scale = np.float32(np.abs(weights).max() / 127)
        arrays = {
            "w": np.rint(weights / scale).astype(np.int8), "w_scale": scale,
            "x_scale": np.float32(0.03), "y_scale": np.float32(0.1), "zero": np.int8(0),
        }  # fmt: skip
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "x_scale", "zero"], ["x_q"]),
            helper.make_node("DequantizeLinear", ["x_q", "x_scale", "zero"], ["x_dq"]),
            helper.make_node("DequantizeLinear", ["w", "w_scale", "zero"], ["w_dq"]),
            helper.make_node("MatMul", ["x_dq", "w_dq"], ["sum"], name="linear"),
            helper.make_node("QuantizeLinear", ["sum", "y_scale", "zero"], ["y_q"]),
            helper.make_node("DequantizeLinear", ["y_q", "y_scale", "zero"], ["y"]),
        ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
