"""A diagnosis as one SVG that needs nothing else: bars for layers, lines for tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgewise.diagnosis.document import Diagnosis, LayerDiagnosis

_WIDTH = 960
_LABEL = 300
_LONGEST_BAR = 380
_ROW = 20
_HEAD = 56
_CHART = 180
_MOST_NAME = 44


@dataclass(frozen=True, slots=True)
class _Bar:
    y: float
    name: str
    share: float
    gain: float
    end: float
    text: str
    hint: str


@dataclass(frozen=True, slots=True)
class _Tick:
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class _Panel:
    """One target. `top` is its place in the picture, `chart` that of the lines in it."""

    title: str
    top: float
    bars: tuple[_Bar, ...]
    chart: float
    ticks: tuple[_Tick, ...]
    own: str
    accumulated: str

    @property
    def height(self) -> float:
        return self.chart + _CHART + 32


def to_svg(diagnoses: Sequence[Diagnosis], top: int) -> str:
    """The picture, a panel for each target. Names are escaped."""
    import jinja2

    panels: list[_Panel] = []
    for diagnosis in diagnoses:
        panels.append(_panel(diagnosis, sum(panel.height for panel in panels), top))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("edgewise.diagnosis", package_path=""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    height = sum(panel.height for panel in panels)
    return environment.get_template("plot.svg.j2").render(
        panels=panels, width=_WIDTH, height=round(height), label=_LABEL
    )


def _panel(diagnosis: Diagnosis, place: float, top: int) -> _Panel:
    layers = diagnosis.layers[:top]
    figures = [figure for layer in layers for figure in (layer.share, layer.gain or 0.0)]
    longest = max(figures, default=0.0) or 1.0
    bars = tuple(
        _bar(layer, _HEAD + index * _ROW, _LONGEST_BAR / longest)
        for index, layer in enumerate(layers)
    )
    known = [
        value
        for tensor in diagnosis.tensors
        for value in (tensor.sqnr_db, tensor.own_sqnr_db)
        if value is not None
    ]
    low, high = min(known, default=0.0), max(known, default=1.0)
    low, high = 10.0 * (low // 10.0), 10.0 * (high // 10.0 + 1)
    scale = _Scale(low, high, len(diagnosis.tensors))
    output = "no error" if diagnosis.sqnr_db is None else f"SQNR {diagnosis.sqnr_db:.1f} dB"
    return _Panel(
        f"{diagnosis.target} {diagnosis.precision}: outputs {output}",
        place,
        bars,
        _HEAD + len(bars) * _ROW + 28,
        tuple(_Tick(scale.y(value), f"{value:.0f}") for value in scale.ticks()),
        scale.points((index, t.own_sqnr_db) for index, t in enumerate(diagnosis.tensors)),
        scale.points((index, t.sqnr_db) for index, t in enumerate(diagnosis.tensors)),
    )


def _bar(layer: LayerDiagnosis, y: float, unit: float) -> _Bar:
    share, gain = layer.share * unit, max(layer.gain or 0.0, 0.0) * unit
    known = layer.reason
    return _Bar(
        y,
        _short(layer.name),
        round(share, 1),
        round(gain, 1),
        round(max(share, gain), 1),
        f"{100 * layer.share:.1f} %" + ("" if known is None else f", {known[1].rule}"),
        f"{layer.op_type} {layer.name}" + ("" if known is None else f": {known[1].text}"),
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    """From decibels and places in the graph to the chart."""

    low: float
    high: float
    count: int

    def y(self, value: float) -> float:
        return round(12 + _CHART * (self.high - value) / (self.high - self.low), 1)

    def ticks(self) -> Iterable[float]:
        step = 10.0 if self.high - self.low <= 80.0 else 20.0
        value = self.low
        while value <= self.high:
            yield value
            value += step

    def points(self, values: Iterable[tuple[int, float | None]]) -> str:
        unit = (_WIDTH - 72) / max(self.count - 1, 1)
        return " ".join(
            f"{48 + index * unit:.1f},{self.y(value)}"
            for index, value in values
            if value is not None
        )


def _short(name: str) -> str:
    return name if len(name) <= _MOST_NAME else f"{name[: _MOST_NAME - 21]}...{name[-18:]}"
