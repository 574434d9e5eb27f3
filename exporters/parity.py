"""Whether the hub model computes what its source computes.

The original runs in its own framework, the hub model in ONNX Runtime without optimizations, on the
same inputs: real ones where there are data, else those of `trial_inputs`. Free dimensions are
tried at two sizes. Any output beyond the tolerance is an error, which `divergence` explains.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.data.source import InputSpec
from edgewise.errors import EdgewiseError, ModelError
from edgewise.exporters.chance import drawing_node
from edgewise.exporters.comparison import compare, same_top
from edgewise.exporters.divergence import Difference, difference_error
from edgewise.exporters.not_finite import not_finite_weights
from edgewise.exporters.opened import Array, OpenedModel
from edgewise.exporters.trial_inputs import (
    free_sizes,
    random_feeds,
    resized,
    sizes_of,
)
from edgewise.exporters.unrunnable import refuse_failing_kernel
from edgewise.graph import OrtSession

#: per output, relative to its largest magnitude; rounding alone gives about 1e-6 on deep CNNs
TOLERANCE, HALF_TOLERANCE = 1e-4, 1e-2
#: real examples: the most, and as many as are compared however long they take
MOST_SAMPLES, _LEAST_SAMPLES = 32, 4
_SECONDS = 2.0
_RANDOM_SAMPLES = 2
#: operators whose results have classes, or features, along the last axis
_CLASSIFIERS = frozenset({"Gemm", "LogSoftmax", "MatMul", "Softmax"})
#: operators that keep what the last axis means
_POINTWISE = frozenset({"Add", "Cast", "Div", "Identity", "Mul", "Sigmoid", "Sub"})


Feed = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class OutputParity:
    """One output of the hub model; the errors are those of `Parity`.

    `argmax_agreement` is the share of rows along the last axis whose largest value is at the same
    place; null, with `argmax_reason`, where that axis is not one of classes.
    """

    name: str
    max_abs_error: float
    max_rel_error: float
    argmax_agreement: float | None
    argmax_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Parity:
    """The hub model against its source, over `samples` inputs; None where not measured, see
    `reason`.

    `max_abs_error` is the largest absolute difference of any output value. `max_rel_error` is the
    largest of: absolute difference over the largest magnitude of the same output of the source.
    `sizes` are those that free dimensions were tried at; `sizes_reason` is why the second of them
    was not.
    """

    max_abs_error: float | None
    max_rel_error: float | None
    samples: int
    tolerance: float
    inputs: str  # "real" or "random"
    reason: str | None = None
    outputs: tuple[OutputParity, ...] = ()
    sizes: tuple[str, ...] = ()
    sizes_reason: str | None = None
    #: of a quantized source: what was done to the hub model to compare the two
    hub_form: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def argmax_agreement(self) -> float | None:
        """The lowest of the outputs that have one."""
        known = [out.argmax_agreement for out in self.outputs if out.argmax_agreement is not None]
        return min(known, default=None)


def measure_parity(
    opened: OpenedModel,
    hub: ir.Model,
    specs: Sequence[InputSpec],
    real: Iterable[Mapping[str, Array]],
) -> Parity:
    """Run both on the real inputs, or on random ones where there are none.

    Raises:
        ModelError: the two differ by more than the tolerance, and whatever wrote the ONNX did it;
            or real inputs cannot be run.
        InternalError: they differ, and the way to the canonical form did it.
        DataError: from `real`.
    """
    examples = iter(real)
    first = next(examples, None)
    kind = "random" if first is None else "real"
    tolerance = opened.tolerance or (HALF_TOLERANCE if _has_half_precision(hub) else TOLERANCE)
    if drawing := drawing_node(hub):
        reason = (
            f"it gives another result each time it is run, since {drawing} draws random numbers"
        )
        return Parity(None, None, 0, tolerance, kind, reason)
    is_free = bool(free_sizes(specs, 0))
    if first is None:
        feeds: Iterable[Feed] = random_feeds(specs, 1 if is_free else _RANDOM_SAMPLES, hub)
    else:
        feeds = chain([first], examples)
    try:
        pair = _Pair(opened, hub, tolerance)
        used = pair.compare_while_cheap(feeds)
        if is_free:
            pair.sizes.append(_told(sizes_of(used[0], specs)))
            other = (
                next(random_feeds(specs, 1, hub, trial=1))
                if first is None
                else resized(used, specs)
            )
            pair.compare_in_other_size(other, _told(sizes_of(other, specs)), new=first is None)
    except _NotComparable as failure:
        if first is not None and isinstance(failure.__cause__, EdgewiseError):
            raise failure.__cause__ from None
        return Parity(None, None, 0, tolerance, kind, failure.reason(kind))
    return pair.result(kind)


class _NotComparable(Exception):
    """The source gives nothing to compare with; caused by another error where it cannot be run."""

    def reason(self, kind: str) -> str:
        if self.__cause__ is None:
            return str(self)
        return f"the source cannot be run on {kind} inputs ({self})"


@dataclass(slots=True)
class _Output:
    """What is known of an output so far."""

    name: str
    argmax_reason: str | None
    absolute: float = 0.0
    relative: float = 0.0
    same: int = 0
    rows: int = 0

    def add_errors(self, difference: float, ratio: float) -> None:
        self.absolute, self.relative = max(self.absolute, difference), max(self.relative, ratio)

    def add_rows(self, reference: Array, found: Array) -> None:
        if self.argmax_reason is None and reference.size:
            same, rows = same_top(reference, found)
            self.same, self.rows = self.same + same, self.rows + rows

    def result(self) -> OutputParity:
        agreement = self.same / self.rows if self.rows else None
        reason = None if self.rows else self.argmax_reason or "it is empty"
        return OutputParity(self.name, self.absolute, self.relative, agreement, reason)


class _Pair:
    """The source and the hub model, run side by side, and how far apart they were.

    Raises _NotComparable where the source cannot be run.
    """

    def __init__(self, opened: OpenedModel, hub: ir.Model, tolerance: float) -> None:
        try:
            self._run = opened.open_runner()
        except Exception as error:  # the source's runtime may raise anything
            raise _NotComparable(_line(error)) from error
        self._opened, self._hub, self._session = opened, hub, OrtSession(hub)
        self._tolerance = tolerance
        self._outputs = [_Output(str(v.name), _argmax_reason(v)) for v in hub.graph.outputs]
        self._samples = 0
        self.sizes: list[str] = []
        self._sizes_reason: str | None = None

    def compare_while_cheap(self, feeds: Iterable[Feed]) -> list[Feed]:
        """Compare until the examples or the time are used up; gives the first few of them."""
        start, used = time.perf_counter(), list[Feed]()
        for feed in islice(feeds, MOST_SAMPLES):
            self._compare(feed)
            self._samples += 1
            if len(used) < _LEAST_SAMPLES:
                used.append(feed)
            if self._samples >= _LEAST_SAMPLES and time.perf_counter() - start > _SECONDS:
                break
        return used

    def compare_in_other_size(self, feed: Feed, sizes: str, *, new: bool) -> None:
        """Compare on a feed of other sizes, unless the source does not take them.

        Args:
            new: whether the feed is another example, rather than others cut or stacked.
        """
        if sizes in self.sizes:
            self._sizes_reason = "the examples are too small to be cut"
            return
        try:
            self._compare(feed, f" with {sizes}", new=new)
        except _NotComparable as failure:
            self._sizes_reason = f"the source cannot be run with {sizes} ({failure})"
            return
        self.sizes.append(sizes)
        self._samples += new

    def result(self, kind: str) -> Parity:
        outputs = tuple(output.result() for output in self._outputs)
        return Parity(
            max((out.max_abs_error for out in outputs), default=0.0),
            max((out.max_rel_error for out in outputs), default=0.0),
            self._samples,
            self._tolerance,
            kind,
            None,
            outputs,
            tuple(self.sizes),
            self._sizes_reason,
        )

    def _compare(self, feed: Feed, where: str = "", *, new: bool = True) -> None:
        """Raises EdgewiseError: they differ, or the hub model cannot be run `where` it should."""
        try:
            wanted = self._run(feed)
        except Exception as error:  # see above
            self._refuse_what_never_runs(feed)
            raise _NotComparable(_line(error)) from error
        found = self._run_hub(feed, where)
        if len(found) != len(wanted):
            raise ModelError(
                "the exported model has other outputs than its source",
                why=f"{len(found)} in place of {len(wanted)}",
                remedy="Please report this with the model.",
            )
        for output, reference in zip(self._outputs, wanted, strict=True):
            array = found[output.name]
            difference, ratio = compare(reference, array)
            if ratio > self._tolerance:
                if _have_nan(reference, array) and (
                    weights := not_finite_weights(self._opened.model)
                ):
                    raise _NotComparable(
                        f"NaN comes out, since weight '{next(iter(weights))}' is not finite, and "
                        "frameworks differ in what they make of that"
                    )
                if not self._is_repeatable(feed, wanted):
                    raise _NotComparable("the source gives another result each time it is run")
                shown = Difference(output.name, difference, ratio, self._tolerance, where)
                raise difference_error(self._opened, self._hub, feed, wanted, shown)
            output.add_errors(difference, ratio)
            if new:
                output.add_rows(reference, array)

    def _refuse_what_never_runs(self, feed: Feed) -> None:
        """Raises UnrunnableModel."""
        try:
            self._session.run(feed)
        except ModelError as error:
            refuse_failing_kernel(error, self._hub)

    def _run_hub(self, feed: Feed, where: str) -> dict[str, Array]:
        try:
            return self._session.run(feed)
        except ModelError as error:
            if not where:
                raise
            raise ModelError(
                f"the exported model cannot be run{where}, and its source can",
                why=error.why,
                remedy="Fix the size: [model] input_shapes, or --input-shape.",
            ) from error

    def _is_repeatable(self, feed: Feed, first: Sequence[Array]) -> bool:
        again = self._run(feed)
        return all(compare(a, b)[1] == 0.0 for a, b in zip(first, again, strict=True))


def _have_nan(*arrays: Array) -> bool:
    return any(array.dtype.kind == "f" and bool(np.isnan(array).any()) for array in arrays)


def _argmax_reason(value: ir.Value) -> str | None:
    """Why there is no argmax to compare; None where the last axis is one of classes: in a table of
    examples and classes, or where a linear layer or a softmax made it."""
    if value.dtype is None or not value.dtype.is_floating_point():
        return "it holds no floating-point numbers"
    if value.shape is None or len(value.shape) < 2:
        return "it has no axis of classes"
    if value.shape[-1] == 1:
        return "it has one value for each example"
    if len(value.shape) == 2 or _made_by_classifier(value):
        return None
    return "its last axis is not known to be classes"


def _made_by_classifier(value: ir.Value) -> bool:
    node = value.producer()
    while node is not None and node.op_type in _POINTWISE:
        makers = [v.producer() for v in node.inputs if v is not None]
        node = next((maker for maker in makers if maker is not None), None)
    if node is None or node.op_type not in _CLASSIFIERS:
        return False
    rank = 0 if value.shape is None else len(value.shape)
    along = node.attributes.get_int("axis", -1) if "oftmax" in node.op_type else -1
    return along in (-1, rank - 1)


def _has_half_precision(model: ir.Model) -> bool:
    half = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
    return any(out.dtype in half for node in model.graph for out in node.outputs)


def _told(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in sizes.items())


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
