"""Lists of tensors (coremltools MIL ops: iOS15/control_flow.py), which dynamic recurrences use.

A list is a tuple of arrays, None where nothing was written yet; writing makes a new one. One that
has a dynamic length grows up to the index that is written.
"""

from __future__ import annotations

import numpy as np

from edgewise.targets.apple.interpreter.kernels.base import Array, Inputs, Kernel, Node, Result, Run

List = tuple[Array | None, ...]


def _written(ls: List, index: int, value: Array) -> List:
    if index < 0:
        raise ValueError(f"index {index} is negative")
    longer = [*ls, *[None] * (index + 1 - len(ls))]
    longer[index] = value
    return tuple(longer)


def _element(ls: List, index: int) -> Array:
    element = ls[index] if 0 <= index < len(ls) else None
    if element is None:
        raise ValueError(f"element {index} of {len(ls)} was never written")
    return element


def _make_list(node: Node) -> Run:
    def run(inputs: Inputs) -> Result:
        return [(None,) * int(inputs.get("init_length", 1))]

    return run


def _list_length(node: Node) -> Run:
    return lambda inputs: np.int32(len(inputs["ls"]))


def _list_write(node: Node) -> Run:
    return lambda inputs: [_written(inputs["ls"], int(inputs["index"]), inputs["value"])]


def _list_scatter(node: Node) -> Run:
    def run(inputs: Inputs) -> Result:
        ls = inputs["ls"]
        for index, value in zip(inputs["indices"].tolist(), inputs["value"], strict=True):
            ls = _written(ls, index, value)
        return [ls]

    return run


def _list_read(node: Node) -> Run:
    return lambda inputs: _element(inputs["ls"], int(inputs["index"]))


def _list_gather(node: Node) -> Run:
    def run(inputs: Inputs) -> Result:
        return np.stack([_element(inputs["ls"], index) for index in inputs["indices"].tolist()])

    return run


KERNELS: dict[str, Kernel] = {
    "list_gather": _list_gather,
    "list_length": _list_length,
    "list_read": _list_read,
    "list_scatter": _list_scatter,
    "list_write": _list_write,
    "make_list": _make_list,
}
