"""An opened source that turns out to be quantized, as a float one that knows its ranges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np

from edgewise.exporters.opened import Array, OpenedModel, Runner
from edgewise.exporters.quantized.float_form import FloatForm, float_form, is_quantized_source
from edgewise.exporters.quantized.put_back import put_back
from edgewise.graph import OrtSession, known_ranges

#: of an output's largest magnitude. With the source's scales put back, sums in another order move
#: single integers by one, which the layers behind spread to a few steps of 255
ROUNDED = 0.05
#: where the source chooses scales for each input, which the float model does not round with
DYNAMIC = 0.1
_Result = TypeVar("_Result")


def as_float(opened: OpenedModel) -> OpenedModel:
    """The same for a float source, and for one whose opener told its ranges already.

    The runner of a quantized source speaks floats at its border from now on.

    Raises ModelError: the model has no float form.
    """
    if opened.ranges is not None:
        return opened
    if not is_quantized_source(opened.model):
        return _with_own_ranges(opened)
    form = float_form(opened.model)
    tolerance = opened.tolerance
    if tolerance is None and (form.ranges or form.dynamic):
        tolerance = DYNAMIC if form.dynamic else ROUNDED
    layers = opened.open_layers
    return replace(
        opened,
        model=form.model,
        ranges=form.ranges,
        open_runner=lambda: _float_runner(opened.open_runner(), form),
        open_layers=None if layers is None else lambda: _with_integers(layers(), form),
        findings=(*opened.findings, *form.findings),
        tolerance=tolerance,
    )


def _with_own_ranges(opened: OpenedModel) -> OpenedModel:
    """A hub model that carries the ranges of its own source; it is compared as these round it."""
    if not (ranges := known_ranges(opened.model)):
        return opened

    def open_runner() -> Runner:
        session = OrtSession(put_back(opened.model, ranges))
        return lambda feeds: list(session.run(feeds).values())

    return replace(opened, ranges=ranges, open_runner=open_runner)


def _float_runner(run: Runner, form: FloatForm) -> Runner:
    of_integers = _with_integers(run, form)
    names = [str(value.name) for value in form.model.graph.outputs]

    def float_run(feeds: Mapping[str, Array]) -> list[Array]:
        return [
            form.outputs[name].dequantize(array) if name in form.outputs else array
            for name, array in zip(names, of_integers(feeds), strict=True)
        ]

    return float_run


def _with_integers(
    run: Callable[[Mapping[str, Array]], _Result], form: FloatForm
) -> Callable[[Mapping[str, Array]], _Result]:
    """Runs on the integers that the source takes."""

    def quantizing(feeds: Mapping[str, Array]) -> _Result:
        return run(
            {
                name: form.inputs[name].quantize(np.asarray(array, np.float32))
                if name in form.inputs
                else array
                for name, array in feeds.items()
            }
        )

    return quantizing
