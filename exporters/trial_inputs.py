"""Inputs that parity is tried on: random ones that make sense, and second sizes of real ones.

Random values, by what the model does with them:

1. indices (they reach Gather, GatherElements or OneHot, floats too that the model makes whole):
   within the rows of the table
2. integers and booleans whose name says mask: ones
3. 8-bit integers of three axes or more, which are pixels or samples: the whole range
4. other integers and booleans: zeros and ones
5. floats: standard normal
6. texts: one and the same

Sizes of free dimensions, by where they stand: the batch (first axis) is 1, then 3; others are 32,
then 64, which networks that halve their input five times can take, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from edgewise.data.source import InputSpec
from edgewise.exporters.opened import Array
from edgewise.graph import constant

_BATCHES, _LENGTHS = (1, 3), (32, 64)
#: what may stand between an input and the table that it selects from
_PASSES_INDICES = frozenset(
    {
        "Add",
        "Cast",
        "Clip",
        "Concat",
        "Expand",
        "Flatten",
        "Identity",
        "Max",
        "Min",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
        "Where",
    }
)
_COARSE = 32

Sizes = Mapping[str, int]


def random_feeds(
    specs: Sequence[InputSpec], count: int, model: ir.Model | None = None, *, trial: int = 0
) -> Iterator[dict[str, Array]]:
    """Always the same ones.

    Args:
        model: whose inputs these are, to find the tables that they select from.
        trial: 0 or 1, for the first or second size of free dimensions.
    """
    rng = np.random.default_rng(trial)
    rows = {} if model is None else table_rows(model)
    sizes = free_sizes(specs, trial)
    for _ in range(count):
        yield {
            spec.name: _random(spec, _shape(spec, sizes), rng, rows.get(spec.name))
            for spec in specs
        }


def free_sizes(specs: Sequence[InputSpec], trial: int) -> dict[str, int]:
    """Size by name of a free dimension; one without a name is called after its input."""
    inner = _inner_keys(specs)
    keys = {_key(spec, axis) for spec in specs for axis in _free_axes(spec)}
    return {key: _LENGTHS[trial] if key in inner else _BATCHES[trial] for key in sorted(keys)}


def _inner_keys(specs: Sequence[InputSpec]) -> frozenset[str]:
    """The free dimensions that are another axis than the first of an input."""
    return frozenset(_key(spec, axis) for spec in specs for axis in _free_axes(spec) if axis)


def resized(feeds: Sequence[Mapping[str, Array]], specs: Sequence[InputSpec]) -> dict[str, Array]:
    """Real inputs in a second size: examples stacked where the batch is free, and a part of them
    along other free axes (a multiple of 32 where that leaves more than half)."""
    parts = {key: _part(size) for key, size in sizes_of(feeds[0], specs).items()}
    inner = _inner_keys(specs)
    made = {}
    for spec in specs:
        array = feeds[0][spec.name]
        for axis in _free_axes(spec):
            key = _key(spec, axis)
            if key in inner:
                array = array.take(range(parts[key]), axis=axis)
            else:
                array = _stacked(feeds, spec.name, array)
        made[spec.name] = array
    return made


def sizes_of(feed: Mapping[str, Array], specs: Sequence[InputSpec]) -> dict[str, int]:
    """What the free dimensions are in a feed, the smallest where it uses one name for several."""
    found: dict[str, int] = {}
    for spec in specs:
        for axis in _free_axes(spec):
            key, size = _key(spec, axis), feed[spec.name].shape[axis]
            found[key] = min(found.get(key, size), size)
    return dict(sorted(found.items()))


def _stacked(feeds: Sequence[Mapping[str, Array]], name: str, first: Array) -> Array:
    """Several examples as one batch; the first again where there are too few of its shape."""
    others = [feed[name] for feed in feeds[1:] if feed[name].shape == first.shape]
    return np.concatenate([first, *others, first, first])[: _BATCHES[1]]


def _part(size: int) -> int:
    part = max(size * 3 // 4, 1)
    coarse = part // _COARSE * _COARSE
    return coarse if coarse > size // 2 else part


def _free_axes(spec: InputSpec) -> list[int]:
    return [axis for axis, dim in enumerate(spec.shape) if not isinstance(dim, int)]


def _key(spec: InputSpec, axis: int) -> str:
    dim = spec.shape[axis]
    if isinstance(dim, str) and dim:
        return dim
    return "batch" if axis == 0 else f"{spec.name}[{axis}]"


def _shape(spec: InputSpec, sizes: Sizes) -> list[int]:
    return [
        dim if isinstance(dim, int) else sizes[_key(spec, axis)]
        for axis, dim in enumerate(spec.shape)
    ]


def _random(spec: InputSpec, shape: list[int], rng: np.random.Generator, rows: int | None) -> Array:
    kind = spec.dtype.kind
    if kind in "OSU":
        return np.full(shape, "a", object)
    if rows is not None:
        return rng.integers(0, rows, shape).astype(spec.dtype)
    if kind not in "biu":
        return rng.standard_normal(shape, np.float32).astype(spec.dtype)
    if "mask" in spec.name.lower():
        return np.ones(shape, spec.dtype)
    if kind in "iu" and spec.dtype.itemsize == 1 and len(shape) >= 3:
        limits = np.iinfo(spec.dtype)
        return rng.integers(limits.min, limits.max + 1, shape).astype(spec.dtype)
    return rng.integers(0, 2, shape).astype(spec.dtype)


def table_rows(model: ir.Model) -> dict[str, int]:
    """For each input that selects from tables: how many rows the smallest of them has."""
    found = {}
    for value in model.graph.inputs:
        if value.dtype is not None and (
            value.dtype.is_integer() or value.dtype.is_floating_point()
        ):
            rows = [n for n in _selected(value) if n > 0]
            if rows:
                found[str(value.name)] = min(rows)
    return found


def _selected(start: ir.Value) -> Iterator[int]:
    """Rows of the tables, less what constants add to the indices on their way."""
    waiting, seen = [(start, 0)], {start}
    while waiting:
        value, added = waiting.pop()
        for use in value.uses():
            node = use.node
            if use.idx == 1 and node.op_type in ("Gather", "GatherElements"):
                yield _axis_size(node) - added
            elif use.idx == 0 and node.op_type == "OneHot":
                depth = constant(node.inputs[1])
                yield 0 if depth is None else int(depth.reshape(-1)[0]) - added
            elif node.op_type in _PASSES_INDICES:
                new = [out for out in node.outputs if out not in seen]
                seen.update(new)
                waiting.extend((out, added + _addend(node, 1 - use.idx)) for out in new)


def _addend(node: ir.Node, index: int) -> int:
    """The largest that a node adds to an index; 0 for one that is no Add of a constant."""
    array = constant(node.inputs[index]) if node.op_type == "Add" else None
    return 0 if array is None or not array.size else max(int(array.max()), 0)


def _axis_size(node: ir.Node) -> int:
    """Of the axis that Gather selects along; 0 where it is not known."""
    table, axis = node.inputs[0], node.attributes.get_int("axis", 0)
    size = None if table is None or table.shape is None else table.shape[axis]
    return size if isinstance(size, int) else 0
