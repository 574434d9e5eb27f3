"""Consecutive operations that nobody watches, run as one ONNX Runtime graph.

A session call per operation copies every tensor twice and wakes the threads each time; numpy walks
memory once per elementary step on one thread. A run of operations with ONNX forms becomes one graph
without any optimization, so that every value keeps its bits (`onnx_forms`), and only what is read
outside of the run comes out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import TypeProto, helper

from edgewise.errors import ModelError
from edgewise.targets.apple.interpreter.kernels.engine import open_graph
from edgewise.targets.apple.interpreter.numbers import HELD_AS
from edgewise.targets.apple.interpreter.onnx_forms import FORMS, Writer
from edgewise.targets.apple.interpreter.plan import Observer, Plan, Step, Tensor

#: a single operation gains nothing
_FEWEST = 2


@dataclass(frozen=True)
class Segment:
    """A run of steps as one graph. Stands where they stood."""

    writers: tuple[Writer, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    release: tuple[str, ...]
    threads: int

    def run(self, values: dict[str, Any], observe: Observer | None = None) -> None:
        """As `Step.run`; nothing inside can be observed."""
        feeds = {tensor.name: np.ascontiguousarray(values[tensor.name]) for tensor in self.inputs}
        names = [tensor.name for tensor in self.outputs]
        try:
            results = self._session.run(names, feeds)
        except Exception as error:  # ONNX Runtime raises many types; the run is named here
            first, last = self.writers[0].step, self.writers[-1].step
            raise ModelError(
                "the operations failed", where=f"'{first.name}' to '{last.name}'", why=str(error)
            ) from error
        values.update(zip(names, results, strict=True))
        for name in self.release:
            del values[name]

    @cached_property
    def _session(self) -> ort.InferenceSession:
        nodes = [node for writer in self.writers for node in writer.nodes]
        initializers = [small for writer in self.writers for small in writer.initializers]
        graph = helper.make_graph(
            nodes,
            "segment",
            [_value_info(tensor) for tensor in self.inputs],
            [_value_info(tensor) for tensor in self.outputs],
            initializers,
        )
        return open_graph(graph, self.threads)


def fuse(plan: Plan) -> tuple[Step | Segment, ...]:
    """The plan's steps in order, runs of them with ONNX forms taken together."""
    tensors = {tensor.name: tensor for step in plan.steps for tensor in step.outputs}
    tensors |= {tensor.name: tensor for tensor in plan.inputs}
    tensors |= {
        name: Tensor(name, _mil_type(value.dtype), value.shape)
        for name, value in plan.constants.items()
        if isinstance(value, np.ndarray)
    }
    fused: list[Step | Segment] = []
    pending: list[Writer] = []
    for step in plan.steps:
        writer = _writer(step, tensors)
        if writer is not None:
            pending.append(writer)
            continue
        fused += _joined(pending, tensors)
        pending = []
        fused.append(step)
    return tuple(fused + _joined(pending, tensors))


def _writer(step: Step, tensors: Mapping[str, Tensor]) -> Writer | None:
    """The operation's ONNX nodes, None where it has none that give its bits."""
    form = FORMS.get(step.op_type)
    if form is None or any(tensor.dtype not in HELD_AS for tensor in step.outputs):
        return None
    writer = Writer(step, tensors)
    return writer if form(writer) else None


def _joined(writers: Sequence[Writer], tensors: Mapping[str, Tensor]) -> list[Step | Segment]:
    if len(writers) < _FEWEST:
        return [writer.step for writer in writers]
    made = {tensor.name: tensor for writer in writers for tensor in writer.step.outputs}
    released = {name for writer in writers for name in writer.step.release}
    read = {name: None for writer in writers for node in writer.nodes for name in node.input}
    return [
        Segment(
            writers=tuple(writers),
            inputs=tuple(tensors[name] for name in read if name in tensors and name not in made),
            outputs=tuple(tensor for name, tensor in made.items() if name not in released),
            release=tuple(sorted(released - set(made))),
            threads=writers[0].step.threads,
        )
    ]


def _mil_type(dtype: np.dtype[Any]) -> str:
    return "fp32" if dtype == np.float32 else dtype.name


def _value_info(tensor: Tensor) -> Any:
    """Sizes stay open: those that matter stand in the nodes."""
    element = helper.np_dtype_to_tensor_dtype(np.dtype(HELD_AS[tensor.dtype]))
    kind = TypeProto()
    kind.tensor_type.elem_type = element
    return helper.make_value_info(tensor.name, kind)
