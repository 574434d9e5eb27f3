"""Reading and writing what a program keeps from run to run (MIL documentation, `iOS18.states`).

A state reaches a kernel as the cell that holds its value. Values are never changed in place, so
that a value which was read stays what it was when the state is written.

A package stores `write_state(input, data)`; where its reader finds a `read_state` behind it, the
two become `coreml_update_state(state, value)`, whose result is the value just written.
"""

from __future__ import annotations

from edgewise.targets.apple.interpreter.kernels.base import Array, Inputs, Kernel, Node, Run


def _read(node: Node) -> Run:
    return lambda inputs: inputs["input"].value


def _update(node: Node) -> Run:
    def run(inputs: Inputs) -> Array:
        value: Array = inputs["value"]
        inputs["state"].value = value
        return value

    return run


KERNELS: dict[str, Kernel] = {
    "coreml_update_state": _update,
    "read_state": _read,
}
