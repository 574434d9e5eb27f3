"""Models of one operator, written in simpler ones and compared with what they were."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgewise.graph import OrtSession, prepare
from edgewise.graph.expand import CannotExpand, expand

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Expanded:
    """What is left of the model, what it gives, and what the ONNX reference gives."""

    model: ir.Model
    declined: dict[ir.Node, CannotExpand]
    outputs: list[Array]
    source: onnx.ModelProto
    feeds: dict[str, Array]

    @property
    def expected(self) -> list[Array]:
        return [np.asarray(a) for a in ReferenceEvaluator(self.source).run(None, self.feeds)]

    @property
    def ops(self) -> list[str]:
        return [node.op_type for node in self.model.graph]

    @property
    def error(self) -> float:
        """The largest difference, relative to numbers beyond 1."""
        worst = 0.0
        for found, wanted in zip(self.outputs, self.expected, strict=True):
            assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
            assert np.isfinite(found[np.isfinite(wanted)]).all()
            same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
            gap = np.zeros(found.shape)
            np.subtract(found, wanted, out=gap, where=~same)
            gap = np.abs(gap)
            worst = max(worst, float((gap / np.maximum(np.abs(wanted), 1.0)).max(initial=0.0)))
        return worst


@pytest.fixture
def single() -> Callable[..., onnx.ModelProto]:
    """A model of one operator; None among the inputs is one that is left out. All outputs are of
    one type."""

    def build(
        op_type: str,
        inputs: Sequence[Array | None],
        *,
        outputs: int = 1,
        constants: Sequence[int] = (),
        opset: int = 21,
        result: Any = np.float32,
        **attributes: Any,
    ) -> onnx.ModelProto:
        names = ["" if array is None else f"x{i}" for i, array in enumerate(inputs)]
        node = helper.make_node(
            op_type, names, [f"y{i}" for i in range(outputs)], name="n", **attributes
        )
        arrays = {n: a for n, a in zip(names, inputs, strict=True) if a is not None}
        known = {f"x{i}" for i in constants}
        given = helper.np_dtype_to_tensor_dtype(np.dtype(result))
        graph = helper.make_graph(
            [node],
            "g",
            [
                helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
                for n, a in arrays.items()
                if n not in known
            ],
            [helper.make_tensor_value_info(f"y{i}", given, None) for i in range(outputs)],
            [numpy_helper.from_array(a, n) for n, a in arrays.items() if n in known],
        )
        opsets = [helper.make_opsetid("", opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    return build


@pytest.fixture
def rewritten(single: Callable[..., onnx.ModelProto]) -> Callable[..., Expanded]:
    """Expands such a model, or refuses to; both are run by the ONNX reference implementation."""

    def run(op_type: str, inputs: Sequence[Array | None], **options: Any) -> Expanded:
        source = single(op_type, inputs, **options)
        model = prepare(ir.from_proto(source))
        declined = expand(model, lambda node: node.op_type == op_type)
        feeds = {
            value.name: array
            for index, array in enumerate(inputs)
            for value in source.graph.input
            if value.name == f"x{index}" and array is not None
        }
        proto = ir.to_proto(model)
        onnx.checker.check_model(proto)
        return Expanded(
            model,
            declined,
            [np.asarray(a) for a in ReferenceEvaluator(proto).run(None, feeds)],
            source,
            feeds,
        )

    return run


@pytest.fixture
def declined(single: Callable[..., onnx.ModelProto]) -> Callable[..., str]:
    """Why such a model cannot be expanded."""

    def run(op_type: str, inputs: Sequence[Array | None], **options: Any) -> str:
        model = prepare(ir.from_proto(single(op_type, inputs, **options)))
        (reason,) = expand(model, lambda node: node.op_type == op_type).values()
        return reason.why

    return run


@pytest.fixture
def runtime_error(single: Callable[..., onnx.ModelProto]) -> Callable[..., float]:
    """Expands such a model, and runs both in ONNX Runtime: for operators that the reference gets
    wrong or cannot run. Gives the largest difference."""

    def run(op_type: str, inputs: Sequence[Array | None], **options: Any) -> float:
        source = ir.from_proto(single(op_type, inputs, **options))
        model = prepare(source)
        assert not expand(model, lambda node: node.op_type == op_type)
        assert op_type not in [node.op_type for node in model.graph]
        feeds = {str(v.name): inputs[int(str(v.name)[1:])] for v in source.graph.inputs}
        wanted, found = (OrtSession(either).run(feeds) for either in (source, model))
        assert all(found[name].shape == array.shape for name, array in wanted.items())
        return max(float(np.abs(found[name] - array).max()) for name, array in wanted.items())

    return run


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)
