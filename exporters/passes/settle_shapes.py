"""Arithmetic on shapes, computed once with names in the place of sizes that are not known.

Exporters write `x.view(x.size(0), -1)`, padding, expansion and interpolation as Shape, Gather,
Unsqueeze, Concat, Equal and Where. Each element of such a vector is a number, or a dimension that
has a name (two of one name are equal: ONNX, "Static tensor shapes"), or something computed from
these. Of a vector, or of a single number, whose elements are known this way

1. all numbers: it is a constant
2. the same elements as an earlier one: that one is read
3. neighbouring dimensions of a tensor: Shape with `start` and `end` gives them in one node
4. the target of an Expand: 1 stands for the size that the input has; then case 1
5. the target of a Reshape: 0 stands for the size that the input has there, and -1 for the one that
   is left; then case 1
6. the end of a Slice at the size of what is cut: the largest number stands for it; then case 1
7. the target of a Reshape: the shape of the result, where inference did not find it
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import onnx_ir as ir

from edgewise.exporters.passes.base import PassOutcome, is_op, make_node, replace
from edgewise.graph import add_initializer, attribute, constant, node_label
from edgewise.graph.write import names_of_values

#: a number; a dimension by name, or an expression of such; None: not known
Element = int | str | None
_MOST = 64
_INTEGERS = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL)


@dataclass(frozen=True, slots=True)
class _Vector:
    """What an integer value of at most one axis holds; `single` where it has no axis."""

    elements: tuple[Element, ...]
    single: bool

    @property
    def numbers(self) -> list[int] | None:
        return _numbers(self.elements)

    @property
    def known(self) -> bool:
        return None not in self.elements


@dataclass(slots=True)
class _Walk:
    graph: ir.Graph
    taken: set[str | None]
    #: what is known of each value
    vectors: dict[ir.Value, _Vector] = field(default_factory=dict)
    #: case 2
    first: dict[tuple[_Vector, ir.DataType], ir.Value] = field(default_factory=dict)
    #: case 3: tensors whose shape may be asked for, in order
    tensors: dict[ir.Value, None] = field(default_factory=dict)
    modified: bool = False

    def constant(self, label: str, array: np.ndarray) -> ir.Value:
        return add_initializer(self.graph, label, array, self.taken)


def settle_shapes(model: ir.Model) -> PassOutcome:
    """Walk the graph in order; nodes that nothing reads any more are left to the pipeline."""
    walk = _Walk(model.graph, names_of_values(model.graph))
    inputs = [v for v in model.graph.inputs if v.name not in model.graph.initializers]
    walk.tensors |= dict.fromkeys(v for v in inputs if v.shape is not None)
    for node in list(model.graph):
        if is_op(node, "Expand", "Reshape"):
            _settle_target(walk, node)
        elif is_op(node, "Slice"):
            _settle_ends(walk, node)
        vector = _evaluated(walk, node)
        if vector is not None:
            _settle(walk, node, vector)
        if is_op(node, "Shape") and node.inputs[0] is not None:
            walk.tensors[node.inputs[0]] = None
    return PassOutcome(model, walk.modified)


# ---- rewriting


def _settle(walk: _Walk, node: ir.Node, vector: _Vector) -> None:
    """Cases 1 to 3."""
    value = node.outputs[0]
    dtype = value.dtype
    walk.vectors[value] = vector
    if not vector.known or dtype is None or value.is_graph_output():
        return
    numbers = vector.numbers
    if numbers is not None:
        array = np.array(numbers[0] if vector.single else numbers, dtype.numpy())
        _read_instead(walk, value, walk.constant(f"{value.name}_settled", array))
        return
    earlier = walk.first.setdefault((vector, dtype), value)
    if earlier is not value:
        _read_instead(walk, value, earlier)
    elif not vector.single and dtype == ir.DataType.INT64 and not is_op(node, "Shape"):
        found = _where_in_shapes(walk, vector)
        if found is not None:
            _ask_for_shape(walk, node, *found)


def _read_instead(walk: _Walk, value: ir.Value, other: ir.Value) -> None:
    if value.uses():
        ir.convenience.replace_all_uses_with(value, other)
        walk.modified = True


def _where_in_shapes(walk: _Walk, vector: _Vector) -> tuple[ir.Value, int] | None:
    """A tensor, and the axis from which on its sizes are the elements."""
    count = len(vector.elements)
    for tensor in walk.tensors:
        sizes = _dimensions(tensor)
        for start in range(len(sizes) - count + 1):
            if sizes[start : start + count] == vector.elements:
                return tensor, start
    return None


def _ask_for_shape(walk: _Walk, node: ir.Node, tensor: ir.Value, start: int) -> None:
    value = node.outputs[0]
    count = len(walk.vectors[value].elements)
    attributes = [ir.AttrInt64("start", start), ir.AttrInt64("end", start + count)]
    new = make_node("Shape", [tensor], name=node.name, attributes=attributes)
    vector = walk.vectors.pop(value)
    replace(walk.graph, node, [new])
    walk.vectors[new.outputs[0]] = vector
    walk.first[vector, ir.DataType.INT64] = new.outputs[0]
    walk.modified = True


def _settle_target(walk: _Walk, node: ir.Node) -> None:
    """Cases 4, 5 and 7."""
    data, result = node.inputs[0], node.outputs[0]
    target = walk.vectors.get(node.inputs[1]) if node.inputs[1] is not None else None
    if data is None or data.shape is None or target is None or target.single:
        return
    sizes = _dimensions(data)
    if result.shape is None and is_op(node, "Reshape") and all(map(_is_size, target.elements)):
        result.shape = ir.Shape([e if isinstance(e, int) else str(e) for e in target.elements])
        walk.modified = True
    if constant(node.inputs[1]) is not None:
        return
    if is_op(node, "Expand"):
        written = _expansion(target.elements, sizes)
    else:
        written = None if attribute(node, "allowzero", 0) else _reshaping(target.elements, sizes)
    if written is not None:
        array = np.array(written, np.int64)
        node.replace_input_with(1, walk.constant(f"{node_label(node)}_shape", array))
        walk.modified = True


def _expansion(target: Sequence[Element], sizes: Sequence[Element]) -> list[int] | None:
    """Case 4: sizes are those of the last axes."""
    lead = len(target) - len(sizes)
    if lead < 0:
        return None
    written = [
        1 if axis >= lead and element is not None and element == sizes[axis - lead] else element
        for axis, element in enumerate(target)
    ]
    return _numbers(written)


def _reshaping(target: Sequence[Element], sizes: Sequence[Element]) -> list[int] | None:
    """Case 5."""
    written = [
        0 if isinstance(element, str) and sizes[axis : axis + 1] == (element,) else element
        for axis, element in enumerate(target)
    ]
    left = [axis for axis, element in enumerate(written) if not isinstance(element, int)]
    if len(left) == 1 and -1 not in written:
        written[left[0]] = -1
    return _numbers(written)


def _numbers(elements: Sequence[Element]) -> list[int] | None:
    numbers = [element for element in elements if isinstance(element, int)]
    return numbers if len(numbers) == len(elements) else None


def _is_size(element: Element) -> bool:
    """Whether it stands for itself in a shape: not 0 or -1 of a Reshape, and no expression."""
    return element > 0 if isinstance(element, int) else bool(element) and "\0" not in str(element)


def _settle_ends(walk: _Walk, node: ir.Node) -> None:
    """Case 6, with steps of 1."""
    data, starts, last = node.inputs[:3]
    ends = None if last is None else walk.vectors.get(last)
    axes = constant(node.inputs[3]) if len(node.inputs) > 3 else None
    steps = constant(node.inputs[4]) if len(node.inputs) > 4 else np.ones(1)
    if data is None or data.shape is None or starts is None:
        return
    if ends is None or ends.numbers is not None:
        return
    if (len(node.inputs) > 3 and axes is None) or steps is None or not (steps == 1).all():
        return
    sizes = _dimensions(data)
    places = range(len(ends.elements)) if axes is None else axes
    dtype = np.int64 if starts.dtype is None else starts.dtype.numpy()
    elements = [
        int(np.iinfo(dtype).max) if end is not None and end == sizes[int(axis)] else end
        for end, axis in zip(ends.elements, places, strict=True)
    ]
    if all(isinstance(end, int) for end in elements):
        array = np.array(elements, dtype)
        node.replace_input_with(2, walk.constant(f"{node_label(node)}_ends", array))
        walk.modified = True


# ---- computing


def _evaluated(walk: _Walk, node: ir.Node) -> _Vector | None:
    compute = _COMPUTED.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if compute is None or node.outputs[0].dtype not in _INTEGERS:
        return None
    operands = [_vector_of(walk, value) for value in node.inputs]
    found = compute(node, operands)
    return found if found is not None and len(found.elements) <= _MOST else None


def _vector_of(walk: _Walk, value: ir.Value | None) -> _Vector | None:
    if value is None:
        return None
    if value in walk.vectors:
        return walk.vectors[value]
    if value.dtype not in _INTEGERS or value.const_value is None or value.const_value.size > _MOST:
        return None
    array = constant(value)
    if array is None or array.ndim > 1:
        return None
    return _Vector(tuple(int(number) for number in array.reshape(-1)), array.ndim == 0)


def _dimensions(value: ir.Value) -> tuple[Element, ...]:
    """The sizes; a nameless one is told by the tensor and the axis that it belongs to."""
    return tuple(
        dim if isinstance(dim, int) else dim.value or f"\0{value.name}\0{axis}"
        for axis, dim in enumerate(value.shape or ())
    )


Operands = Sequence[_Vector | None]


def _shape(node: ir.Node, operands: Operands) -> _Vector | None:
    data = node.inputs[0]
    if data is None or data.shape is None:
        return None
    part = slice(attribute(node, "start", 0), attribute(node, "end"))
    return _Vector(_dimensions(data)[part], single=False)


def _gather(node: ir.Node, operands: Operands) -> _Vector | None:
    data, places = operands
    numbers = None if places is None else places.numbers
    if data is None or places is None or numbers is None or data.single:
        return None
    count = len(data.elements)
    if not all(-count <= number < count for number in numbers):
        return None
    return _Vector(tuple(data.elements[number] for number in numbers), places.single)


def _slice(node: ir.Node, operands: Operands) -> _Vector | None:
    """Of a vector, forwards; its axes can only be the one that there is."""
    data, start, end = operands[:3]
    step = operands[4] if len(operands) > 4 and node.inputs[4] is not None else _Vector((1,), False)
    bounds = []
    for bound in (start, end, step):
        numbers = None if bound is None else bound.numbers
        if numbers is None or len(numbers) != 1:
            return None
        bounds.append(numbers[0])
    if data is None or data.single or bounds[2] < 1:
        return None
    return _Vector(data.elements[slice(*bounds)], single=False)


def _concat(node: ir.Node, operands: Operands) -> _Vector | None:
    if any(operand is None or operand.single for operand in operands):
        return None
    return _Vector(tuple(e for o in operands if o is not None for e in o.elements), single=False)


def _same(node: ir.Node, operands: Operands) -> _Vector | None:
    """Operators that keep the elements in their order; the rank is that of the result."""
    shape = node.outputs[0].shape
    if operands[0] is None or shape is None or len(shape) > 1:
        return None
    return _Vector(operands[0].elements, single=len(shape) == 0)


def _cast(node: ir.Node, operands: Operands) -> _Vector | None:
    data = node.inputs[0]
    whole = data is not None and data.dtype in (ir.DataType.INT64, ir.DataType.INT32)
    wanted = node.outputs[0].dtype in (ir.DataType.INT64, ir.DataType.INT32)
    return operands[0] if whole and wanted else None


def _product(node: ir.Node, operands: Operands) -> _Vector | None:
    """ReduceProd of everything."""
    numbers = None if operands[0] is None else operands[0].numbers
    shape = node.outputs[0].shape
    if numbers is None or shape is None or len(shape) > 1:
        return None
    return _Vector((prod(numbers),), single=len(shape) == 0)


def _where(node: ir.Node, operands: Operands) -> _Vector | None:
    spread = _spread(operands)
    if spread is None:
        return None
    chosen = [None if c is None else (a if c else b) for c, a, b in zip(*spread[0], strict=True)]
    return _Vector(tuple(chosen), spread[1])


def _by_element(
    compute: Callable[[Element, Element], Element],
) -> Callable[[ir.Node, Operands], _Vector | None]:
    def both(node: ir.Node, operands: Operands) -> _Vector | None:
        spread = _spread(operands)
        if spread is None or len(operands) != 2:
            return None
        (left, right), single = spread
        return _Vector(tuple(compute(a, b) for a, b in zip(left, right, strict=True)), single)

    return both


def _spread(operands: Operands) -> tuple[list[tuple[Element, ...]], bool] | None:
    """The elements of all operands, broadcast, and whether the result has no axis."""
    known = [operand for operand in operands if operand is not None]
    if len(known) != len(operands):
        return None
    count = max(len(operand.elements) for operand in known)
    if any(len(operand.elements) not in (1, count) for operand in known):
        return None
    wide = [o.elements * (count if len(o.elements) == 1 else 1) for o in known]
    return wide, all(operand.single for operand in known)


def _sum(a: Element, b: Element) -> Element:
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    return b if a == 0 else a if b == 0 else _expression("+", *sorted((a, b), key=str))


def _difference(a: Element, b: Element) -> Element:
    if isinstance(a, int) and isinstance(b, int):
        return a - b
    if a is not None and a == b:
        return 0
    return a if b == 0 else _expression("-", a, b)


def _times(a: Element, b: Element) -> Element:
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    return b if a == 1 else a if b == 1 else _expression("*", *sorted((a, b), key=str))


def _quotient(a: Element, b: Element) -> Element:
    if isinstance(a, int) and isinstance(b, int):
        if b == 0:
            return None
        size = abs(a) // abs(b)  # towards zero, as C++ divides integers
        return size if (a < 0) == (b < 0) else -size
    return a if b == 1 else _expression("/", a, b)


def _equal(a: Element, b: Element) -> Element:
    if a is None or b is None:
        return None
    if isinstance(a, int) and isinstance(b, int):
        return int(a == b)
    if a == b:
        return 1
    for size, number in ((a, b), (b, a)):  # a dimension is never negative
        if isinstance(number, int) and number < 0 and _is_dimension(size):
            return 0
    return None


def _is_dimension(element: Element) -> bool:
    return isinstance(element, str) and not element.startswith("\0(")


def _expression(operator: str, a: Element, b: Element) -> Element:
    return None if a is None or b is None else f"\0({a}{operator}{b})"


_COMPUTED: Mapping[str, Callable[[ir.Node, Operands], _Vector | None]] = {
    "Add": _by_element(_sum),
    "Cast": _cast,
    "Concat": _concat,
    "Div": _by_element(_quotient),
    "Equal": _by_element(_equal),
    "Gather": _gather,
    "Identity": _same,
    "Mul": _by_element(_times),
    "ReduceProd": _product,
    "Reshape": _same,
    "Shape": _shape,
    "Slice": _slice,
    "Squeeze": _same,
    "Sub": _by_element(_difference),
    "Unsqueeze": _same,
    "Where": _where,
}
