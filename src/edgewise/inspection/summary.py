"""From a network to the facts about it: the same sums for every format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from edgewise.inspection.facts import (
    Amount,
    LayerFacts,
    MacFacts,
    MemoryFacts,
    ParameterFacts,
    Share,
    Uncounted,
)
from edgewise.inspection.memory import liveness
from edgewise.inspection.network import Network, Operation, Stored
from edgewise.inspection.precision import forms_of

_NO_RUNS = "how often its body runs is not known; it is counted once"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a network tells; `operators` counts those of bodies, too."""

    operators: dict[str, int]
    parameters: ParameterFacts
    macs: MacFacts
    memory: MemoryFacts
    precisions: dict[str, Share]
    layers: tuple[LayerFacts, ...]


def summarize(network: Network) -> Summary:
    """All sums over a network."""
    layers = tuple(_layers(network))
    unknown = liveness(network, forms_of(network))
    told = None if unknown.unknown is None else f"the size of '{unknown.unknown}' is not known"
    return Summary(
        operators=dict(Counter(o.kind for o in network.all_operations()).most_common()),
        parameters=parameters_of(network),
        macs=_macs(network, layers),
        memory=MemoryFacts(unknown.peak, unknown.at, told),
        precisions=_precisions(layers),
        layers=layers,
    )


def parameters_of(network: Network) -> ParameterFacts:
    """Each constant once, however many operators read it."""
    stored: dict[str, Stored] = {}
    for operation in network.all_operations():
        for parameter in operation.parameters:
            stored.setdefault(parameter.name, parameter)
    by_dtype: dict[str, Amount] = {}
    for parameter in stored.values():
        before = by_dtype.get(parameter.dtype, Amount(0, 0))
        by_dtype[parameter.dtype] = Amount(
            before.count + parameter.elements, before.bytes + parameter.bytes
        )
    ordered = dict(sorted(by_dtype.items(), key=lambda item: -item[1].bytes))
    return ParameterFacts(
        sum(amount.count for amount in ordered.values()),
        sum(amount.bytes for amount in ordered.values()),
        ordered,
    )


def _layers(network: Network, runs: int = 1, around: int | None = 0) -> Iterator[LayerFacts]:
    """The operators of a network that runs so often while so many bytes are alive around it."""
    forms = forms_of(network)
    live = liveness(network, forms).live
    for operation, form, count in zip(network.operations, forms.precisions, live, strict=True):
        alive = None if count is None or around is None else around + count
        first = network.values.get(operation.writes[0]) if operation.writes else None
        yield LayerFacts(
            name=operation.name,
            operator=operation.kind,
            shape=None if first is None else first.shape,
            parameters=sum(parameter.elements for parameter in operation.parameters),
            macs=None if operation.macs is None else operation.macs * runs,
            precision=form.name,
            weight_dtype=form.weight,
            activation_dtype=form.activation,
            live_bytes=alive,
        )
        yield from _of_bodies(operation, runs, alive)


def _of_bodies(operation: Operation, runs: int, alive: int | None) -> Iterator[LayerFacts]:
    inside = runs * (1 if operation.runs is None else operation.runs)
    peaks = [liveness(body, forms_of(body)).peak or 0 for body in operation.bodies]
    around = None if alive is None else alive - max(peaks, default=0)
    counted = _counted(operation)
    for body in operation.bodies:
        yield from _layers(body, inside if body in counted else 0, around)


def _counted(operation: Operation) -> tuple[Network, ...]:
    """The bodies whose products count: of alternatives the one with most of them."""
    if not operation.alternatives:
        return operation.bodies
    return (max(operation.bodies, key=lambda body: sum(_sum(body))),)


def _sum(network: Network) -> Iterable[int]:
    for operation in network.operations:
        yield operation.macs or 0
        for body in _counted(operation) if operation.bodies else ():
            yield sum(_sum(body)) * (1 if operation.runs is None else operation.runs)


def _macs(network: Network, layers: Iterable[LayerFacts]) -> MacFacts:
    by_operator: Counter[str] = Counter()
    for layer in layers:
        if layer.macs:
            by_operator[layer.operator] += layer.macs
    unknown: Counter[tuple[str, str]] = Counter()
    for operation in network.all_operations():
        if operation.macs is None:
            unknown[operation.kind, operation.unknown] += 1
        if operation.runs is None and any(sum(_sum(body)) for body in operation.bodies):
            unknown[operation.kind, _NO_RUNS] += 1
    return MacFacts(
        by_operator.total(),
        dict(by_operator.most_common()),
        tuple(Uncounted(kind, count, why) for (kind, why), count in unknown.items()),
        network.free_dimensions,
    )


def _precisions(layers: Iterable[LayerFacts]) -> dict[str, Share]:
    """Of the layers that have weights or products."""
    shares: dict[str, Share] = {}
    for layer in layers:
        if layer.weight_dtype is None and not layer.macs:
            continue
        before = shares.get(layer.precision, Share(0, 0, 0))
        shares[layer.precision] = Share(
            before.layers + 1,
            before.macs + (layer.macs or 0),
            before.parameters + layer.parameters,
        )
    return dict(sorted(shares.items(), key=lambda item: -item[1].macs))
