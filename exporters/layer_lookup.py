"""Where in an ONNX graph the layers of its source are.

1. By value: any result with as many elements that is equal within the tolerance, whatever its
   shape. TensorFlow keeps channels last where ONNX has them second: with `moved_channels` results
   are also looked up with that axis moved.
2. By name: nodes whose name holds the layer's as a whole word (`features.3` in
   `/features.3/conv/Conv`, `conv1` in `model/conv1/Conv2D`), or that make a value of that name.
   This tells of a layer that is not found by value where it should have been.

Layers without floating-point numbers, or with one and the same number everywhere, say nothing and
are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgewise.exporters.comparison import compare
from edgewise.exporters.opened import Array

#: elements that are compared before all of them are
_PROBES = 64
#: operators that say nothing of what a layer is
_PLUMBING = frozenset(
    {
        "Cast",
        "Concat",
        "Constant",
        "Expand",
        "Gather",
        "Identity",
        "Reshape",
        "Shape",
        "Slice",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)


@dataclass(frozen=True, slots=True)
class LookedUp:
    """A layer of the source, and what the graph has of it.

    Attributes:
        value: the name of the first value that equals its result; None where there is none.
        ratio: how far that one is from the result, over its range; without a `value`, how far the
            nearest result of `nodes` is; None where none has its size.
        nodes: those named after the layer, in order.
    """

    layer: str
    value: str | None
    ratio: float | None
    nodes: tuple[ir.Node, ...]

    @property
    def operators(self) -> tuple[str, ...]:
        """The operators of the nodes that say what the layer is, each once."""
        telling = [node.op_type for node in self.nodes if node.op_type not in _PLUMBING]
        return tuple(dict.fromkeys(telling or [node.op_type for node in self.nodes]))[:3]


class LayerLookup:
    """A graph, and every value that it computes.

    Args:
        values: by name, in the order in which they are made.
        tolerance: relative to the largest magnitude of a result.
    """

    def __init__(
        self,
        model: ir.Model,
        values: Mapping[str, Array],
        tolerance: float,
        *,
        moved_channels: bool,
    ) -> None:
        self._nodes = list(model.graph)
        self._tolerance, self._moved_channels = tolerance, moved_channels
        self._makers = {str(v.name): node for node in self._nodes for v in node.outputs if v.name}
        self._values = {name: array for name, array in values.items() if array.dtype.kind == "f"}
        self._by_size: dict[int, list[str]] = {}
        for name, array in self._values.items():
            self._by_size.setdefault(array.size, []).append(name)

    def look_up(self, layer: str, result: Array) -> LookedUp | None:
        """None for a layer that says nothing."""
        if result.dtype.kind != "f" or not result.size or result.min() == result.max():
            return None
        forms = list(self._forms(result))
        nodes = self._named(layer)
        for name in self._by_size.get(result.size, ()):
            ratio = min(self._difference(form, self._values[name]) for form in forms)
            if ratio <= self._tolerance:
                return LookedUp(layer, name, ratio, nodes)
        made = [str(v.name) for node in nodes for v in node.outputs if v.name in self._values]
        alike = [self._values[name] for name in made if self._values[name].size == result.size]
        ratios = [compare(form, array.ravel())[1] for array in alike for form in forms]
        return LookedUp(layer, None, min(ratios, default=None), nodes)

    def everything_before(self, values: Iterable[str]) -> set[ir.Node]:
        """The nodes that make the values, and all that these depend on."""
        waiting = [self._makers[name] for name in values if name in self._makers]
        seen = set(waiting)
        while waiting:
            for value in waiting.pop().inputs:
                maker = None if value is None else value.producer()
                if maker is not None and maker not in seen:
                    seen.add(maker)
                    waiting.append(maker)
        return seen

    def _forms(self, result: Array) -> Iterator[Array]:
        yield result.ravel()
        if self._moved_channels and result.ndim >= 3:
            yield np.moveaxis(result, -1, 1).ravel()

    def _difference(self, form: Array, value: Array) -> float:
        flat = value.ravel()
        step = max(form.size // _PROBES, 1)
        probe = np.abs(form[::step].astype(np.float64) - flat[::step]).max()
        largest = float(np.abs(form).max())
        if not probe <= self._tolerance * largest:  # NaN is compared exactly
            return compare(form, flat)[1] if np.isnan(probe) else np.inf
        return compare(form, flat)[1]

    def _named(self, layer: str) -> tuple[ir.Node, ...]:
        word = re.compile(rf"(?<![\w.]){re.escape(layer)}(?!\w)")
        maker = self._makers.get(layer)
        return tuple(n for n in self._nodes if n is maker or word.search(n.name or ""))
