"""As few Transposes as a graph can do with.

Exporters of channels-last frameworks put a Transpose before and after each convolution. Most
operators between them work in either order (`axis_orders`), so that whole regions of the graph can
be computed in the order of the convolutions around them. Which ones should is found exactly:

1. A region (`axis_regions`) is what hangs together over Transposes and operators that go along with
   any order of axes.
2. Two orders A and B are looked for at a time: the two that occur most, as NCHW and NHWC do.
   Each operator of the region works either in A or in B; what surrounds the region, such as
   convolutions and the inputs and outputs of the model, has its order fixed.
3. A value that is made in one order and read in the other costs one Transpose, however many read
   it. The choice of least cost is a minimum cut between the operators in A and those in B
   (Picard and Ratliff 1975): a value is an edge between its maker and, over an extra place that
   lets it count once, its readers.
4. The first cost is the number of Transposes, the second the elements that they move. Axes of size
   1 moving past others cost next to nothing: a Reshape does it. At equal cost operators go with
   what occurs most around the region, so that they stay next to their convolutions.
5. A region is only changed where that leaves fewer Transposes than it has.

A Transpose in the middle that vanishes leaves no name; values keep theirs, though in another order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import onnx_ir as ir

from edgewise.exporters.passes.axis_orders import Order, Passage, passage
from edgewise.exporters.passes.axis_regions import Reader, Region, find_region, permutation_of
from edgewise.exporters.passes.base import Array, PassOutcome, make_node
from edgewise.exporters.passes.minimum_cut import SINK, SOURCE, UNCUT, Network
from edgewise.graph import add_initializer, constant
from edgewise.graph.write import names_of_values

#: orders of a region that are tried as A and B, most frequent first
_MOST_ORDERS = 4
#: of a Transpose, in elements: more than all that one could move
_ONE_TRANSPOSE = 10**9

#: node -> the order that it works in, of all axes of the region
_Choice = Mapping[ir.Node, Order]


def place_transposes(model: ir.Model) -> PassOutcome:
    """Choose orders region by region; see the module."""
    modified = False
    graph = model.graph
    passages = {node: found for node in graph if (found := passage(node)) is not None}
    seen: set[ir.Value] = set()
    taken = names_of_values(graph)
    nodes = [node for node in graph if permutation_of(node) is not None]
    for node in sorted(nodes, key=lambda node: -len(permutation_of(node) or ())):
        start = node.inputs[0]
        if start is None or start in seen or constant(start) is not None:
            continue
        region = find_region(graph, start, passages, seen)
        seen.update(region.axes)
        choice = _best_choice(region)
        if choice is not None:
            _Rewriter(graph, region, choice, taken).run()
            modified = True
    return PassOutcome(model, modified)


# --- cases 2 to 5


def _best_choice(region: Region) -> _Choice | None:
    """Of the orders tried, the choice of least cost; None where the region has no more now."""
    if not region.transposes:
        return None
    readers = region.readers()
    orders = _orders(region, readers)
    best, least = None, len(region.transposes) * _ONE_TRANSPOSE
    for common, rare in combinations(orders, 2):
        choice = _cut(region, readers, rare, common)  # of equal cuts, the one with more at the sink
        cost = _cost(region, readers, choice)
        if cost // _ONE_TRANSPOSE < least // _ONE_TRANSPOSE:
            best, least = choice, cost
    return best


def _orders(region: Region, readers: Mapping[ir.Value, list[Reader]]) -> list[Order]:
    """Those of all axes, first what occurs most around the region, as with convolutions."""
    full = max(len(axes) for axes in region.axes.values())
    counted = Counter(axes for axes in region.axes.values() if len(axes) == full)
    around: Counter[Order] = Counter()
    for origin, reading in readers.items():
        around.update(region.axes[r.value] for r in reading if not region.goes_along(r))
        around[region.axes[origin]] += origin.producer() not in region.nodes
    return sorted(counted, key=lambda order: (-around[order], -counted[order]))[:_MOST_ORDERS]


def _restricted(order: Order, axes: Iterable[int]) -> Order:
    kept = set(axes)
    return tuple(axis for axis in order if axis in kept)


def _cut(
    region: Region, readers: Mapping[ir.Value, list[Reader]], first: Order, second: Order
) -> dict[ir.Node, Order]:
    """Case 3."""
    network = Network()
    for origin, reading in readers.items():
        axes = region.axes[origin]
        ends = {_restricted(first, axes): SOURCE, _restricted(second, axes): SINK}
        if len(ends) == 1:
            continue  # the same in both orders
        maker = origin.producer()
        start = maker if maker in region.nodes else ends.get(axes)
        stops = {
            reader.node if region.goes_along(reader) else ends.get(region.axes[reader.value])
            for reader in reading
        }
        if start is None:
            continue  # made in a third order
        price = _price(origin, axes, *ends)
        network.connect(start, (origin, "out"), price)
        network.connect((origin, "in"), start, price)
        for stop in stops - {None, start}:
            network.connect((origin, "out"), stop, UNCUT)
            network.connect(stop, (origin, "in"), UNCUT)
    inside = network.source_side()
    return {node: first if node in inside else second for node in region.nodes}


def _price(origin: ir.Value, axes: Order, old: Order, new: Order) -> int:
    """Case 4: of bringing a value from one order to another; its shape is in the order `axes`."""
    if old == new:
        return 0
    sizes = _sizes(origin, axes)
    if _is_reshape(sizes, old, new):
        return 1
    elements = 1
    for size in sizes.values():
        elements *= size if isinstance(size, int) else 1
    return _ONE_TRANSPOSE + min(elements, _ONE_TRANSPOSE - 1)


def _sizes(value: ir.Value, axes: Order) -> dict[int, int | None]:
    """By axis; None for one that is free."""
    assert value.shape is not None  # values of a region have a known rank
    dims = (dim if isinstance(dim, int) else None for dim in value.shape)
    return dict(zip(axes, dims, strict=True))


def _is_reshape(sizes: Mapping[int, int | None], old: Order, new: Order) -> bool:
    """Whether only axes of size 1 move, and one size at most is unknown."""
    wide = {axis for axis, size in sizes.items() if size != 1}
    unknown = sum(size is None for size in sizes.values())
    return _restricted(old, wide) == _restricted(new, wide) and unknown <= 1


def _made(region: Region, choice: _Choice, origin: ir.Value) -> Order:
    """The order that a value is made in."""
    maker, axes = origin.producer(), region.axes[origin]
    if maker is not None and maker in choice:
        return _restricted(choice[maker], axes)
    return axes


def _wanted(region: Region, choice: _Choice, reader: Reader) -> Order:
    """The order that someone reads in."""
    axes = region.axes[reader.value]
    if reader.node is not None and region.goes_along(reader):
        return _restricted(choice[reader.node], axes)
    return axes


def _cost(region: Region, readers: Mapping[ir.Value, list[Reader]], choice: _Choice) -> int:
    """What a choice costs in the whole region."""
    total = 0
    for origin, reading in readers.items():
        made = _made(region, choice, origin)
        for wanted in {_wanted(region, choice, reader) for reader in reading}:
            total += _price(origin, region.axes[origin], made, wanted)
    return total


# --- rewriting


@dataclass(slots=True)
class _Rewriter:
    """Gives each node of a region its order, and each reader the value in the order it reads."""

    graph: ir.Graph
    region: Region
    choice: _Choice
    taken: set[str | None]

    def run(self) -> None:
        readers = self.region.readers()
        plan = [
            (
                reader,
                origin,
                _made(self.region, self.choice, origin),
                _wanted(self.region, self.choice, reader),
            )
            for origin, reading in readers.items()
            for reader in reading
        ]
        sizes = {origin: _sizes(origin, self.region.axes[origin]) for origin in readers}
        names = {index: value.name for index, value in enumerate(self.graph.outputs)}
        for node, through in self.region.nodes.items():
            self._turn(node, through)
        brought: dict[tuple[ir.Value, Order], ir.Value] = {}
        for reader, origin, made, wanted in plan:
            if (origin, wanted) not in brought:
                brought[origin, wanted] = self._bring(origin, made, wanted, sizes[origin])
            value = brought[origin, wanted]
            if reader.node is not None:
                reader.node.replace_input_with(reader.index, value)
                continue
            for index, output in enumerate(self.graph.outputs):
                if output is reader.value:
                    self.graph.outputs[index] = value
        self._name_outputs(names)

    def _turn(self, node: ir.Node, through: Passage) -> None:
        axes = self.region.axes[_data(node, through)]
        target = _restricted(self.choice[node], axes)
        order = tuple(axes.index(axis) for axis in target)
        if order == tuple(range(len(order))):
            return
        through.renumber(node, self._constant, order)
        for output in node.outputs:
            own = self.region.axes[output]
            made = _restricted(self.choice[node], own)
            if output.shape is not None:
                output.shape = ir.Shape([output.shape[own.index(axis)] for axis in made])

    def _constant(self, name: str, array: Array) -> ir.Value:
        return add_initializer(self.graph, name, array, self.taken)

    def _bring(
        self, origin: ir.Value, made: Order, wanted: Order, sizes: Mapping[int, int | None]
    ) -> ir.Value:
        if made == wanted:
            return origin
        label = f"{origin.name}/transposed"
        if _is_reshape(sizes, made, wanted):
            dims = [-1 if size is None else size for size in (sizes[axis] for axis in wanted)]
            shape = self._constant(f"{label}_shape", np.array(dims, np.int64))
            node = make_node("Reshape", [origin, shape], name=label)
        else:
            order = [made.index(axis) for axis in wanted]
            attributes = [ir.AttrInt64s("perm", order)]
            node = make_node("Transpose", [origin], name=label, attributes=attributes)
        result = node.outputs[0]
        result.name, result.type = self._free(label), origin.type
        if origin.shape is not None:
            result.shape = ir.Shape([origin.shape[made.index(axis)] for axis in wanted])
        self.graph.append(node)  # the pipeline sorts
        return result

    def _free(self, name: str) -> str:
        candidate, count = name, 1
        while candidate in self.taken:
            candidate, count = f"{name}_{count}", count + 1
        self.taken.add(candidate)
        return candidate

    def _name_outputs(self, names: Mapping[int, str | None]) -> None:
        """Outputs keep their names; one that is an input or another output too is a copy of it."""
        outputs = self.graph.outputs
        for index, name in names.items():
            value = outputs[index]
            if value.name == name:
                continue
            if value.producer() is None or value.name in names.values():
                copy = make_node("Identity", [value], name=f"{name}/copy")
                self.graph.append(copy)
                copy.outputs[0].type, copy.outputs[0].shape = value.type, value.shape
                outputs[index] = value = copy.outputs[0]
            for other in self._named(name):
                other.name = self._free(f"{name}/untransposed")
            value.name = name

    def _named(self, name: str | None) -> Iterator[ir.Value]:
        for node in self.graph:
            yield from (value for value in node.outputs if value.name == name)


def _data(node: ir.Node, through: Passage) -> ir.Value:
    value = node.inputs[through.data[0]]
    assert value is not None  # a passage has data
    return value
