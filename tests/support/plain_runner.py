"""A device that is a Python of this machine, with faults where a test wants them.

A fault is Python text that may change the runner's names before it starts: `on(do, act)` makes
every request of that kind do something first.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgewise.errors import DeviceError
from edgewise.progress import SILENT
from edgewise.targets.validation.devices.line import exit_reason

_START = """
import os, sys, time
source = sys.stdin.buffer.read(int(sys.stdin.buffer.readline()))
names = {'__name__': 'runner'}
exec(compile(source, 'runner', 'exec'), names)
def on(do, act):
    answer = names['Runner'].answer
    def changed(self, request, payload):
        if request['do'] == do:
            act()
        return answer(self, request, payload)
    names['Runner'].answer = changed
"""
DIE = "on('{do}', lambda: os._exit(3))"
HANG = "on('{do}', lambda: time.sleep(600))"
BABBLE = "on('{do}', lambda: os.write(out, b'\\x00 this is no answer\\n' * 200_000))"


#: the piece of a file is not written as it came
CHANGED_WRITING = """
kept, coming = names['write_all'], []
def changed(fd, data):
    if coming:
        coming.clear()
        {act}
    kept(fd, data)
names['write_all'] = changed
on('put', lambda: coming.append(1))
"""


class PlainDevice:
    """Implements `edgewise.targets.validation.devices.device.Device`; `faults` are those of the
    first start, the second, and so on, and later ones have none."""

    latency_reason: str | None = None
    bundle: str | None = None
    progress = SILENT

    def __init__(
        self, faults: Sequence[str] = (), *, silence: str = "", wrapper: Sequence[str] = ()
    ) -> None:
        self.address = "plain"
        self.started: list[subprocess.Popen[bytes]] = []
        self._faults, self._silence, self._wrapper = list(faults), silence, list(wrapper)

    def start(self) -> subprocess.Popen[bytes]:
        fault = self._faults[len(self.started)] if len(self.started) < len(self._faults) else ""
        program = f"{_START}\nout = os.dup(1)\n{fault}\nnames['main']()"
        arguments = [self._silence] if self._silence else []
        process = subprocess.Popen(
            [*self._wrapper, sys.executable, "-u", "-c", program, "", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def explain(self, code: int | None, said: str) -> DeviceError:
        return DeviceError("the runner ended", where=self.address, why=exit_reason(code, said))

    def describe(self, hello: dict[str, object]) -> str:
        return "plain"

    def about(self) -> dict[str, str]:
        return {}

    def close(self) -> None:
        pass

    def clean(self) -> tuple[str, ...]:
        return ()


def doubling_model(dtype: int = TensorProto.FLOAT, dim: int | str = "n", op: str = "Add") -> bytes:
    """`y = x + x`, or what another operator makes of its inputs."""
    graph = helper.make_graph(
        [helper.make_node(op, ["x"] * (2 if op == "Add" else 1), ["y"])],
        "doubling",
        [helper.make_tensor_value_info("x", dtype, [dim])],
        [helper.make_tensor_value_info("y", dtype, [dim])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def sample(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.asarray(values, np.float32)}
