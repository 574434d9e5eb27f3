"""Runs on the device: loads and runs ONNX and TFLite files for Edgewise.

It needs numpy, onnxruntime and ai-edge-litert, and nothing of Edgewise: the bundle has what it
needs. It speaks over standard input and output. A message is a line of JSON and,
where that has a `size`, so many bytes after it. Requests, by `do`:

    hello                             what machine this is
    status                            temperature, governor and load, where they can be read
    has    digest                     whether a file is here already
    put    digest, + bytes            keep a file
    open   id, digest, runtime, threads, outputs, options
                                      load a file into `onnxruntime` or `litert`
    run    id, tensors, + bytes       the outputs of every sample
    load   id, tensors, + bytes       the one sample that `time` runs
    time   id, runs                   nanoseconds of each of so many runs of the loaded sample
    count  id, warmup, runs           so many runs of the loaded sample between marks for the
                                      instruction counter, after as many of nothing
    close  id                         forget what was opened

`tensors` lists [sample, name, dtype, shape] of the arrays whose bytes follow, one after another. An
answer holds `error` where something failed. The end of the input ends the runner, and what it wrote
to disk is deleted.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

PROTOCOL = 1
_SETTLING = 32  # runs after which Python has specialized the bytecode between two marks

Answer = tuple[dict[str, Any], bytes]
Sample = dict[str, Any]  # name -> array


class Runner:
    """Holds the files and what was opened of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: dict[str, OrtModel | LiteRtModel] = {}

    def answer(self, request: dict[str, Any], payload: bytes) -> Answer:
        actions: dict[str, Callable[[dict[str, Any], bytes], Answer]] = {
            "close": self._close,
            "count": self._count,
            "has": self._has,
            "hello": self._hello,
            "load": self._load,
            "open": self._open,
            "put": self._put,
            "run": self._run,
            "status": self._status,
            "time": self._time,
        }
        return actions[request["do"]](request, payload)

    def _hello(self, request: dict[str, Any], payload: bytes) -> Answer:
        return {
            "protocol": PROTOCOL,
            "machine": platform.machine(),
            "system": platform.release(),
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            **cpu_facts(),
        }, b""

    def _status(self, request: dict[str, Any], payload: bytes) -> Answer:
        return status(), b""

    def _has(self, request: dict[str, Any], payload: bytes) -> Answer:
        return {"here": self._path(request["digest"]).exists()}, b""

    def _put(self, request: dict[str, Any], payload: bytes) -> Answer:
        path = self._path(request["digest"])
        part = path.with_suffix(".part")
        part.write_bytes(payload)
        part.replace(path)
        return {}, b""

    def _open(self, request: dict[str, Any], payload: bytes) -> Answer:
        kinds: dict[str, type[OrtModel] | type[LiteRtModel]] = {
            "onnxruntime": OrtModel,
            "litert": LiteRtModel,
        }
        began = time.perf_counter()
        model = kinds[request["runtime"]](
            str(self._path(request["digest"])),
            request["threads"],
            request["outputs"],
            request["options"],
        )
        self._opened[request["id"]] = model
        return {"load_seconds": time.perf_counter() - began}, b""

    def _run(self, request: dict[str, Any], payload: bytes) -> Answer:
        model = self._opened[request["id"]]
        results = [model.run(sample) for sample in unpacked(request["tensors"], payload)]
        tensors, data = packed(results)
        return {"tensors": tensors}, data

    def _load(self, request: dict[str, Any], payload: bytes) -> Answer:
        (sample,) = unpacked(request["tensors"], payload)
        self._opened[request["id"]].load(sample)
        return {}, b""

    def _time(self, request: dict[str, Any], payload: bytes) -> Answer:
        invoke = self._opened[request["id"]].invoke
        times = []
        for _ in range(request["runs"]):
            began = time.perf_counter_ns()
            invoke()
            times.append(time.perf_counter_ns() - began)
        return {"nanoseconds": times}, b""

    def _count(self, request: dict[str, Any], payload: bytes) -> Answer:
        invoke = self._opened[request["id"]].invoke
        gc.collect()
        gc.disable()
        try:
            for _ in range(_SETTLING):
                marked(nothing)
            for _ in range(request["warmup"]):
                marked(invoke)
            for _ in range(request["runs"]):
                marked(nothing)
            for _ in range(request["runs"]):
                marked(invoke)
        finally:
            gc.enable()
        return {}, b""

    def _close(self, request: dict[str, Any], payload: bytes) -> Answer:
        self._opened.pop(request["id"], None)
        return {}, b""

    def _path(self, digest: str) -> Path:
        return self._folder / digest


class OrtModel:
    """A file in ONNX Runtime's CPU provider."""

    def __init__(
        self, path: str, threads: int, outputs: Sequence[str], options: dict[str, Any]
    ) -> None:
        import onnxruntime as ort

        chosen = ort.SessionOptions()
        chosen.intra_op_num_threads = threads
        chosen.inter_op_num_threads = options.get("inter_op_num_threads", 1)
        chosen.enable_cpu_mem_arena = options.get("enable_cpu_mem_arena", True)
        level = options.get("graph_optimization_level", "ORT_ENABLE_ALL")
        chosen.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
        chosen.log_severity_level = 4
        for key, value in options.get("config", {}).items():
            chosen.add_session_config_entry(key, str(value))
        self._outputs = list(outputs)
        self._session = ort.InferenceSession(path, chosen, providers=["CPUExecutionProvider"])
        self._binding: Any = None

    def run(self, sample: Sample) -> Sample:
        return dict(zip(self._outputs, self._session.run(self._outputs, sample), strict=True))

    def load(self, sample: Sample) -> None:
        self._binding = self._session.io_binding()
        for name, array in sample.items():
            self._binding.bind_cpu_input(name, array)
        for name in self._outputs:
            self._binding.bind_output(name)

    def invoke(self) -> None:
        self._session.run_with_iobinding(self._binding)


class LiteRtModel:
    """A file in LiteRT's interpreter, with XNNPACK.

    Not its `CompiledModel`, which ends with an illegal instruction on Cortex-A53 and -A72.
    """

    def __init__(
        self, path: str, threads: int, outputs: Sequence[str], options: dict[str, Any]
    ) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_path=path, num_threads=threads)
        self._interpreter.allocate_tensors()
        details = self._interpreter.get_output_details()
        known = {detail["name"]: detail["index"] for detail in details}
        self._outputs = {name: known[name] for name in outputs}
        self.invoke = self._interpreter.invoke

    def run(self, sample: Sample) -> Sample:
        self.load(sample)
        self.invoke()
        return {name: self._interpreter.get_tensor(i) for name, i in self._outputs.items()}

    def load(self, sample: Sample) -> None:
        details = {detail["name"]: detail for detail in self._interpreter.get_input_details()}
        changed = False
        for name, array in sample.items():
            if tuple(details[name]["shape"]) != array.shape:
                self._interpreter.resize_tensor_input(details[name]["index"], array.shape, True)
                changed = True
        if changed:
            self._interpreter.allocate_tensors()
        for name, array in sample.items():
            self._interpreter.set_tensor(details[name]["index"], array)


def nothing() -> None:
    pass


def marked(act: Callable[[], None]) -> None:
    """Act between two calls that tell the counter (`counter/edgecount.c`) and do nothing else."""
    mark(-7700)
    act()
    mark(-7701)


def mark(descriptor: int) -> None:
    with suppress(OSError):
        os.close(descriptor)


def cpu_facts() -> dict[str, Any]:
    """What Linux tells of the processor: names of its parts, and the features of the first core."""
    facts: dict[str, Any] = {"cpu_parts": [], "features": []}
    for line in _text("/proc/cpuinfo").splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "Features" and not facts["features"]:
            facts["features"] = value.split()
        if key == "CPU part" and value not in facts["cpu_parts"]:
            facts["cpu_parts"].append(value)
    facts["model"] = _text("/proc/device-tree/model").rstrip("\0\n")
    return facts


def status() -> dict[str, Any]:
    """None where the system does not tell."""
    zones = [_number(f"/sys/class/thermal/thermal_zone{i}/temp") for i in range(32)]
    told = [zone / 1000 for zone in zones if zone is not None]
    cpu = "/sys/devices/system/cpu/cpu0/cpufreq/"
    frequency = _number(cpu + "scaling_cur_freq")
    load = _text("/proc/loadavg").split()
    return {
        "temperature_c": max(told, default=None),
        "governor": _text(cpu + "scaling_governor").strip() or None,
        "frequency_mhz": None if frequency is None else frequency / 1000,
        "load": float(load[0]) if load else None,
    }


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _number(path: str) -> float | None:
    try:
        return float(_text(path))
    except ValueError:
        return None


def packed(samples: Sequence[Sample]) -> tuple[list[list[Any]], bytes]:
    """The arrays of all samples as a list of what they are, and their bytes."""
    import numpy as np

    tensors, data = [], []
    for index, sample in enumerate(samples):
        for name, value in sample.items():
            array = np.ascontiguousarray(value)
            tensors.append([index, name, array.dtype.str, list(np.shape(value))])
            data.append(array.tobytes())
    return tensors, b"".join(data)


def unpacked(tensors: Sequence[Sequence[Any]], data: bytes) -> list[Sample]:
    """The samples that were packed."""
    import numpy as np

    samples: list[Sample] = []
    start = 0
    for index, name, dtype, shape in tensors:
        kind = np.dtype(dtype)
        count = 1
        for dim in shape:
            count *= dim
        array = np.frombuffer(data, kind, count, start).reshape(shape)
        start += count * kind.itemsize
        while len(samples) <= index:
            samples.append({})
        samples[index][name] = array
    return samples


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer requests until the input ends."""
    with tempfile.TemporaryDirectory(prefix="edgewise-") as folder:
        runner = Runner(Path(folder))
        for line in source:
            request = json.loads(line)
            payload = source.read(request["size"]) if request.get("size") else b""
            try:
                reply, attached = runner.answer(request, payload)
            except Exception as error:
                first = (str(error).strip().splitlines() or [""])[0]
                reply, attached = {"error": f"{type(error).__name__}: {first}"}, b""
            reply["size"] = len(attached)
            sink.write(json.dumps(reply).encode() + b"\n" + attached)
            sink.flush()


def main() -> None:
    """What libraries print goes to standard error: standard output is for answers."""
    sys.path.append(sys.argv[1])
    # numpy's BLAS starts threads that spin for seconds, on the cores that are measured
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    # a closed line ends the runner as an exception, so that its files are deleted
    for name in ("SIGHUP", "SIGTERM"):
        signal.signal(getattr(signal, name), lambda number, frame: sys.exit(128 + number))
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, sink)


if __name__ == "__main__":
    main()
