"""The models that both converters are given: the ONNX project's node tests, and networks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_TESTS = Path(__file__).resolve().parents[2] / "tests"
sys.path[:0] = [str(_TESTS / "conformance"), str(_TESTS / "networks")]  # node_tests and zoo

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Task:
    """A float model with inputs, and what must come out: within `rtol` of the largest output where
    `relative`, else within `rtol` and `atol` element by element."""

    name: str
    model: bytes
    feeds: Arrays
    expected: Arrays
    rtol: float
    atol: float
    relative: bool


def node_tests() -> Iterator[Task]:
    """Each with a constant where deployed models have one (tests/conformance)."""
    from node_tests.selection import cases

    for case in cases():
        model = case.model.SerializeToString()
        yield Task(case.name, model, case.feeds, case.expected, case.rtol, case.atol, False)


def hub(name: str) -> Any:
    """A network of tests/networks as a hub model; what its package prints goes to stderr."""
    from zoo.hub import hub_model

    with redirect_stdout(sys.stderr):
        return hub_model(name)


def networks() -> Iterator[Task]:
    """Mainstream networks as hub models (tests/networks), against ONNX Runtime."""
    import onnx_ir as ir
    from zoo.source import Samples
    from zoo.table import NETWORKS

    from edgewise.graph import OrtSession

    for name, network in NETWORKS.items():
        model = hub(name)
        (sample,) = Samples(network, 1, seed=2)
        expected = OrtSession(model, optimize="none").run(sample.feeds)
        serialized = ir.to_proto(model).SerializeToString()
        yield Task(name, serialized, dict(sample.feeds), expected, 1e-4, 0.0, True)


def agree(found: npt.NDArray[Any], expected: npt.NDArray[Any], task: Task) -> bool:
    """Whether an output has the right elements; its shape may lack or have axes of one element,
    and its type may be wider, as Core ML's are."""
    if found.size != expected.size:
        return False
    found = found.reshape(expected.shape)
    if expected.dtype.kind != "f":
        return bool(np.array_equal(found, expected))
    if task.relative:
        return float(np.abs(found - expected).max()) <= task.rtol * float(np.abs(expected).max())
    return bool(np.allclose(found, expected, rtol=task.rtol, atol=task.atol, equal_nan=True))
