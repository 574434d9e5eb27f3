"""Runs on the Mac: compiles, runs and times Core ML packages for Edgewise, which pushes this file.

It needs Python 3.9 or later with coremltools and numpy, and nothing of Edgewise. It speaks over its
standard input and output. A message is a line of JSON and, where that has a `size`, so many bytes
after it: tar archives of packages, and arrays as .npz. Requests, by `do`:

    hello                      what machine this is
    open   units, function     load a function of the package for some compute units; the package,
                               as a tar archive, comes with the first of these and is compiled
    run    units, + npz        predict; `uint8` arrays are pictures, (1, channels, height, width)
    time   units, runs         nanoseconds of each of so many predictions of the last inputs
    plan   units               where each operation of the package will run (MLComputePlan)
    reset  units               forget what states hold
    write  units, + npz        set states
    read   units, names        what states hold

An answer holds `error` where something failed. The end of the input ends the agent, and what it
wrote to disk is deleted.
"""

from __future__ import annotations

import io
import json
import os
import platform
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from typing import Any, BinaryIO

PROTOCOL = 1


Answer = tuple[dict[str, Any], bytes]


class Agent:
    """Holds the package, and a model for each set of compute units."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._compiled = ""
        self._has_states = False
        self._models: dict[str, Any] = {}
        self._states: dict[str, Any] = {}
        self._last: dict[str, Any] = {}

    def answer(self, request: dict[str, Any], payload: bytes) -> Answer:
        actions: dict[str, Callable[[dict[str, Any], bytes], Answer]] = {
            "hello": self._hello,
            "open": self._open,
            "plan": self._plan,
            "read": self._read,
            "reset": self._reset,
            "run": self._run,
            "time": self._time,
            "write": self._write,
        }
        return actions[request["do"]](request, payload)

    def _hello(self, request: dict[str, Any], payload: bytes) -> Answer:
        import coremltools as ct
        import numpy as np

        return {
            "protocol": PROTOCOL,
            "system": platform.system(),
            "macos": platform.mac_ver()[0],
            "chip": _chip(),
            "python": platform.python_version(),
            "coremltools": ct.__version__,
            "numpy": np.__version__,
        }, b""

    def _open(self, request: dict[str, Any], payload: bytes) -> Answer:
        import coremltools as ct

        began = time.perf_counter()
        if payload:
            self._compile(payload)
        compiled = time.perf_counter()
        units, function = request["units"], request.get("function")
        chosen = {} if function is None else {"function_name": function}
        self._models[units] = ct.models.CompiledMLModel(
            self._compiled, compute_units=ct.ComputeUnit[units], **chosen
        )
        self._reset({"units": units}, b"")
        done = time.perf_counter()
        return {"compile_seconds": compiled - began, "load_seconds": done - compiled}, b""

    def _compile(self, archive: bytes) -> None:
        import coremltools as ct

        with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
            if hasattr(tarfile, "data_filter"):
                packed.extractall(self._folder, filter="data")
            else:  # before Python 3.9.17
                packed.extractall(self._folder)
        package = f"{self._folder}/model.mlpackage"
        description = ct.utils.load_spec(package).description
        functions = list(description.functions) or [description]
        self._has_states = any(len(function.state) > 0 for function in functions)
        target = f"{self._folder}/model.mlmodelc"
        self._compiled = ct.models.utils.compile_model(package, target)

    def _reset(self, request: dict[str, Any], payload: bytes) -> Answer:
        units = request["units"]
        self._states[units] = self._models[units].make_state() if self._has_states else None
        return {}, b""

    def _write(self, request: dict[str, Any], payload: bytes) -> Answer:
        for name, array in _arrays(payload).items():
            self._states[request["units"]].write_state(name, array)
        return {}, b""

    def _read(self, request: dict[str, Any], payload: bytes) -> Answer:
        state = self._states[request["units"]]
        return {}, _stored({name: state.read_state(name) for name in request["names"]})

    def _run(self, request: dict[str, Any], payload: bytes) -> Answer:
        feeds = {name: _core_ml_value(array) for name, array in _arrays(payload).items()}
        self._last[request["units"]] = feeds
        found = self._predict(request["units"])
        told = {name: value for name, value in found.items() if isinstance(value, (dict, str))}
        arrays = {name: value for name, value in found.items() if name not in told}
        return {"told": told}, _stored(arrays)

    def _predict(self, units: str) -> dict[str, Any]:
        state, feeds = self._states[units], self._last[units]
        model = self._models[units]
        found: dict[str, Any] = (
            model.predict(feeds) if state is None else model.predict(feeds, state)
        )
        return found

    def _time(self, request: dict[str, Any], payload: bytes) -> Answer:
        times = []
        for _ in range(request["runs"]):
            began = time.perf_counter_ns()
            self._predict(request["units"])
            times.append(time.perf_counter_ns() - began)
        return {"nanoseconds": times}, b""

    def _plan(self, request: dict[str, Any], payload: bytes) -> Answer:
        import coremltools as ct
        from coremltools.models.compute_plan import MLComputePlan

        plan = MLComputePlan.load_from_path(
            path=self._compiled, compute_units=ct.ComputeUnit[request["units"]]
        )
        rows: list[dict[str, Any]] = []
        for function in plan.model_structure.program.functions.values():
            _list_operations(plan, function.block, rows)
        return {"operations": rows}, b""


def _arrays(payload: bytes) -> dict[str, Any]:
    import numpy as np

    with np.load(io.BytesIO(payload)) as stored:
        return dict(stored)


def _stored(named: dict[str, Any]) -> bytes:
    import numpy as np

    arrays: dict[str, Any] = {name: np.asarray(array) for name, array in named.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _core_ml_value(array: Any) -> Any:
    """Core ML's Python interface takes pictures as PIL images."""
    if array.dtype.name != "uint8":
        return array
    from PIL import Image

    pixels = array[0].transpose(1, 2, 0)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _list_operations(plan: Any, block: Any, rows: list[dict[str, Any]]) -> None:
    for operation in block.operations:
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
        if usage is not None:
            rows.append(
                {
                    "operator": operation.operator_name,
                    "outputs": [output.name for output in operation.outputs],
                    "preferred": _unit(usage.preferred_compute_device),
                    "supported": sorted(_unit(d) for d in usage.supported_compute_devices),
                    "cost": None if cost is None else cost.weight,
                }
            )
        for inner in operation.blocks:
            _list_operations(plan, inner, rows)


def _unit(device: Any) -> str:
    """`CPU`, `GPU` or `NeuralEngine`, out of `MLNeuralEngineComputeDevice` and the like."""
    return type(device).__name__[len("ML") : -len("ComputeDevice")]


def _chip() -> str:
    try:
        asked = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True
        )
    except OSError:
        return ""
    return asked.stdout.strip()


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer requests until the input ends."""
    with tempfile.TemporaryDirectory(prefix="edgewise-") as folder:
        agent = Agent(folder)
        for line in source:
            request = json.loads(line)
            payload = source.read(request["size"]) if request.get("size") else b""
            try:
                reply, attached = agent.answer(request, payload)
            except Exception as error:
                first = (str(error).strip().splitlines() or [""])[0]
                reply, attached = {"error": f"{type(error).__name__}: {first}"}, b""
            reply["size"] = len(attached)
            sink.write(json.dumps(reply).encode() + b"\n" + attached)
            sink.flush()


def main() -> None:
    """What libraries print goes to standard error: standard output is for answers."""
    # as an exception, so that files are deleted
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, sink)


if __name__ == "__main__":
    main()
