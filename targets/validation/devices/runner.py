"""Runs on the device: loads and runs ONNX and TFLite files for Edgewise.

It needs numpy, onnxruntime and ai-edge-litert, and nothing of Edgewise: the bundle has what it
needs. It speaks over standard input and output. A message is a line of JSON with a `size`, and so
many bytes after it. Requests, by `do`:

    hello                             what machine this is, and its status
    status                            temperature, governor and load, where they can be read
    put    file, offset, + bytes      the next piece of a file
    keep   file, digest               the file is whole, and has this SHA-256
    drop   file                       forget a file
    open   id, file, runtime, threads, outputs, options
                                      load a file into `onnxruntime` or `litert`
    run    id, tensors, + bytes       the outputs of every sample
    load   id, tensors, + bytes       the one sample that `time` runs
    time   id, runs                   nanoseconds of each of so many runs of the loaded sample
    count  id, warmup, runs           so many runs of the loaded sample between marks for the
                                      instruction counter, after as many of nothing
    graph  id                         the graph that ONNX Runtime makes of a file here
    profile  id, runs                 what each of its nodes takes in so many runs of the loaded
                                      sample
    close  id                         forget what was opened

`tensors` lists [sample, name, dtype, shape] of the arrays whose bytes follow, one after another,
each filled up to 16 bytes. An answer to what failed holds `error`, and its `kind`: `model` (the
runtime refuses the file), `run` (it fails at running it), `memory`, `space`, or `internal`.

Files are deleted from their folder as soon as they are made, and read through `/proc/self/fd`: they
are gone with this process, however it ends. It ends with its input, with the process that started
it, and after a long silence.

By hand, `python3 runner.py job.json` runs a file without a host. The job names, relative to itself,
`artifact` and `inputs` (.npz, by the names of the file), and where it wants, `outputs` (.npz),
`timings` (.json), `runtime`, `repetitions`, `warmup`, `threads` and `options`.
"""

from __future__ import annotations

import errno
import gc
import hashlib
import json
import os
import platform
import re
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

PROTOCOL = 3
#: seconds without a request after which nobody is thought to be there
SILENCE = 1800.0
_GLANCE = 5.0  # seconds between two looks whether the host is still there
_SETTLING = 32  # runs after which Python has specialized the bytecode between two marks
_NO_MEMORY = ("bad_alloc", "allocate memory", "out of memory")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_ORT_FILE = b"ORTM"
_ALIGNMENT = 16  # bytes: every array begins where memory of its own would
_ARM64 = "aarch64"
_EMULATED = "ARM64 programs are emulated here: nothing was timed"

Answer = tuple[dict[str, Any], bytes]
Sample = dict[str, Any]  # name -> array
NodeTimes = list[list[Any]]  # [name, operator, microseconds of each run]


class Failure(Exception):
    """What an answer tells of what failed."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        super().__init__(text)


class Gone(Exception):
    """The host is not there any more."""


class Runner:
    """Holds the files and what was opened of them."""

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        """`check` raises between two inferences where nobody waits for them."""
        self._check = check
        self._files: dict[str, BinaryIO] = {}
        self._opened: dict[str, OrtModel | LiteRtModel] = {}
        self._actions: dict[str, Callable[[dict[str, Any], bytes], Answer]] = {
            "close": self._close,
            "count": self._count,
            "drop": self._drop,
            "graph": self._graph,
            "hello": self._hello,
            "keep": self._keep,
            "load": self._load,
            "open": self._open,
            "profile": self._profile,
            "put": self._put,
            "run": self._run,
            "status": self._status,
            "time": self._time,
        }

    def answer(self, request: dict[str, Any], payload: bytes) -> Answer:
        try:
            with told_as("internal"):
                return self._actions[request["do"]](request, payload)
        except Failure as failure:
            return {"error": str(failure), "kind": failure.kind}, b""

    def _hello(self, request: dict[str, Any], payload: bytes) -> Answer:
        return {"protocol": PROTOCOL, **machine_facts(), **status()}, b""

    def _status(self, request: dict[str, Any], payload: bytes) -> Answer:
        return status(), b""

    def _put(self, request: dict[str, Any], payload: bytes) -> Answer:
        name = request["file"]
        if request["offset"] == 0:
            self._forget(name)
            self._files[name] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        file = self._files[name]
        if file.tell() != request["offset"]:
            raise Failure("internal", f"a piece of the file is missing at {file.tell()}")
        try:
            write_all(file.fileno(), payload)
        except OSError:
            self._forget(name)
            raise
        return {}, b""

    def _keep(self, request: dict[str, Any], payload: bytes) -> Answer:
        name = request["file"]
        file = self._files[name]
        file.seek(0)
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        if digest.hexdigest() != request["digest"]:
            self._forget(name)
            raise Failure("internal", "the file did not arrive as it was sent")
        return {}, b""

    def _drop(self, request: dict[str, Any], payload: bytes) -> Answer:
        self._forget(request["file"])
        return {}, b""

    def _forget(self, name: str) -> None:
        if name in self._files:
            self._files.pop(name).close()

    def _open(self, request: dict[str, Any], payload: bytes) -> Answer:
        path = f"/proc/self/fd/{self._files[request['file']].fileno()}"
        began = time.perf_counter()
        model = opened(
            path,
            request["runtime"],
            request["threads"],
            request["outputs"],
            request["options"],
        )
        self._opened[request["id"]] = model
        return {"load_seconds": time.perf_counter() - began}, b""

    def _run(self, request: dict[str, Any], payload: bytes) -> Answer:
        model = self._opened[request["id"]]
        results = []
        began = time.perf_counter()
        for sample in unpacked(request["tensors"], payload):
            self._check()
            with told_as("run"):
                results.append(model.run(sample))
        seconds = time.perf_counter() - began
        tensors, data = packed(results)
        return {"tensors": tensors, "seconds": seconds}, data

    def _load(self, request: dict[str, Any], payload: bytes) -> Answer:
        (sample,) = unpacked(request["tensors"], payload)
        with told_as("run"):
            self._opened[request["id"]].load(sample)
        return {}, b""

    def _time(self, request: dict[str, Any], payload: bytes) -> Answer:
        with told_as("run"):
            return {"nanoseconds": self._times(request["id"], request["runs"])}, b""

    def _times(self, identity: str, runs: int) -> list[int]:
        invoke = self._opened[identity].invoke
        times = []
        checked = time.perf_counter_ns()
        for _ in range(runs):
            began = time.perf_counter_ns()
            invoke()
            ended = time.perf_counter_ns()
            times.append(ended - began)
            if ended - checked > _GLANCE * 1e9:
                self._check()
                checked = ended
        return times

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

    def _graph(self, request: dict[str, Any], payload: bytes) -> Answer:
        with told_as("model"):
            return {}, self._ort(request).graph()

    def _profile(self, request: dict[str, Any], payload: bytes) -> Answer:
        with told_as("run"):
            return {"nodes": self._ort(request).profile(request["runs"], self._check)}, b""

    def _ort(self, request: dict[str, Any]) -> OrtModel:
        model = self._opened[request["id"]]
        if not isinstance(model, OrtModel):
            raise Failure("internal", "only ONNX Runtime tells of its nodes")
        return model

    def _close(self, request: dict[str, Any], payload: bytes) -> Answer:
        self._opened.pop(request["id"], None)
        return {}, b""


class OrtModel:
    """A file in ONNX Runtime's CPU provider."""

    def __init__(
        self, path: str, threads: int, outputs: Sequence[str] | None, options: dict[str, Any]
    ) -> None:
        import onnxruntime as ort

        self._ort = ort
        self._asked = path, threads, options
        self._session = self._made(self._options())
        self._outputs = [value.name for value in self._session.get_outputs()]
        if outputs is not None:
            check_names(outputs, self._outputs)
            self._outputs = list(outputs)
        for value in (*self._session.get_inputs(), *self._session.get_outputs()):
            if not value.type.startswith("tensor(") or value.type == "tensor(string)":
                raise Failure("model", f"'{value.name}' is a {value.type}: only numbers are run")
        self._binding: Any = None
        self._loaded: Sample = {}

    def run(self, sample: Sample) -> Sample:
        return dict(zip(self._outputs, self._session.run(self._outputs, sample), strict=True))

    def load(self, sample: Sample) -> None:
        self._loaded = sample
        self._binding = self._session.io_binding()
        for name, array in sample.items():
            self._binding.bind_cpu_input(name, array)
        for name in self._outputs:
            self._binding.bind_output(name)

    def invoke(self) -> None:
        self._session.run_with_iobinding(self._binding)

    def graph(self) -> bytes:
        """The optimized graph as ONNX, without its large constants."""
        with tempfile.TemporaryDirectory(prefix="edgewise-") as folder:
            path = Path(folder) / "graph.onnx"
            options = self._options()
            options.optimized_model_filepath = str(path)
            constants = "session.optimized_model_external_initializers_"
            options.add_session_config_entry(constants + "file_name", "constants")
            options.add_session_config_entry(constants + "min_size_in_bytes", "1024")
            self._made(options)
            return path.read_bytes()

    def profile(self, runs: int, check: Callable[[], None] = lambda: None) -> NodeTimes:
        """Microseconds of each node in each of so many runs, after one that does not count."""
        options = self._options()
        options.enable_profiling = True
        with tempfile.TemporaryDirectory(prefix="edgewise-") as folder:
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = self._made(options)
            (path,) = Path(folder).iterdir()
            written = path.open("rb")
        with written:
            for _ in range(runs + 1):
                check()
                session.run(self._outputs, self._loaded)
            session.end_profiling()
            return node_times(json.load(written), runs)

    def _options(self) -> Any:
        return ort_options(self._ort, *self._asked)

    def _made(self, options: Any) -> Any:
        return self._ort.InferenceSession(
            self._asked[0], options, providers=["CPUExecutionProvider"]
        )


def node_times(events: list[dict[str, Any]], runs: int) -> NodeTimes:
    """Out of what ONNX Runtime's profiler wrote of a run more. A node in a loop has several times a
    run, which are added up."""
    found: dict[tuple[str, str], list[int]] = {}
    for event in events:
        name, suffix, _ = event["name"].rpartition("_kernel_time")
        if event.get("cat") == "Node" and suffix:
            found.setdefault((name, event["args"]["op_name"]), []).append(event["dur"])
    told: NodeTimes = []
    for (name, kind), times in found.items():
        each = len(times) // (runs + 1)
        later = times[len(times) - each * runs :]
        told.append([name, kind, [sum(later[i : i + each]) for i in range(0, each * runs, each)]])
    return told


def ort_options(ort: Any, path: str, threads: int, options: dict[str, Any]) -> Any:
    """What the manifest says of the session; a file in ONNX Runtime's own format is known by its
    bytes, for its name is another here."""
    chosen = ort.SessionOptions()
    chosen.intra_op_num_threads = threads
    chosen.inter_op_num_threads = options.get("inter_op_num_threads", 1)
    chosen.enable_cpu_mem_arena = options.get("enable_cpu_mem_arena", True)
    level = options.get("graph_optimization_level", "ORT_ENABLE_ALL")
    chosen.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    mode = options.get("execution_mode", "ORT_SEQUENTIAL")
    chosen.execution_mode = getattr(ort.ExecutionMode, mode)
    chosen.log_severity_level = 4
    entries = dict(options.get("config", {}))
    with Path(path).open("rb") as file:
        if file.read(8)[4:] == _ORT_FILE:
            entries["session.load_model_format"] = "ORT"
    for key, value in entries.items():  # a second value for a key would be warned of
        chosen.add_session_config_entry(key, str(value))
    return chosen


class LiteRtModel:
    """A file in LiteRT's interpreter, with XNNPACK.

    Not its `CompiledModel`, which ends with an illegal instruction on Cortex-A53 and -A72.
    """

    def __init__(
        self, path: str, threads: int, outputs: Sequence[str] | None, options: dict[str, Any]
    ) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with its_own_words():
            self._interpreter = Interpreter(model_path=path, num_threads=threads)
            self._interpreter.allocate_tensors()
        found = self._interpreter.get_output_details()
        for detail in (*self._interpreter.get_input_details(), *found):
            if detail["dtype"] in (bytes, str) or detail["dtype"].__name__ in ("bytes_", "str_"):
                raise Failure("model", f"'{detail['name']}' holds text: only numbers are run")
        known = {detail["name"]: detail["index"] for detail in found}
        wanted = list(known) if outputs is None else outputs
        check_names(wanted, known)
        self._outputs = {name: known[name] for name in wanted}
        self.invoke = self._interpreter.invoke

    def run(self, sample: Sample) -> Sample:
        self.load(sample)
        self.invoke()
        return {name: self._interpreter.get_tensor(i) for name, i in self._outputs.items()}

    def load(self, sample: Sample) -> None:
        details = {detail["name"]: detail for detail in self._interpreter.get_input_details()}
        check_names(sample, details)
        other = [n for n, array in sample.items() if tuple(details[n]["shape"]) != array.shape]
        if other:
            with its_own_words():
                for name in other:
                    index, shape = details[name]["index"], list(sample[name].shape)
                    self._interpreter.resize_tensor_input(index, shape, strict=True)
                self._interpreter.allocate_tensors()
        for name, array in sample.items():
            self._interpreter.set_tensor(details[name]["index"], array)


def opened(
    path: str, runtime: str, threads: int, outputs: Sequence[str] | None, options: dict[str, Any]
) -> OrtModel | LiteRtModel:
    """A file, loaded. Raises Failure where the runtime refuses it."""
    kinds: dict[str, type[OrtModel] | type[LiteRtModel]] = {
        "litert": LiteRtModel,
        "onnxruntime": OrtModel,
    }
    with told_as("model"):
        return kinds[runtime](path, threads, outputs, options)


def check_names(wanted: Sequence[str] | Sample, known: Sequence[str] | Sample) -> None:
    missing = [name for name in wanted if name not in known]
    if missing:
        raise Failure("model", f"the file has no {', '.join(missing)}; it has {', '.join(known)}")


@contextmanager
def told_as(kind: str) -> Iterator[None]:
    """What fails is a Failure of this kind, unless memory or space ran out."""
    try:
        yield
    except (Failure, Gone):
        raise
    except MemoryError as error:
        raise Failure("memory", str(error) or "memory ran out") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NO_SPACE:
            raise Failure(
                "space", f"{os.strerror(error.errno)} in {tempfile.gettempdir()}"
            ) from error
        text = (str(error).strip().splitlines() or [""])[0]
        if any(words in text for words in _NO_MEMORY):
            raise Failure("memory", text) from error
        raise Failure(
            kind, f"{type(error).__name__}: {text}" if kind == "internal" else text
        ) from error


@contextmanager
def its_own_words() -> Iterator[None]:
    """LiteRT's errors say little; what it prints meanwhile says why, and is told with them."""
    with tempfile.TemporaryFile() as heard:
        saved = os.dup(2)
        os.dup2(heard.fileno(), 2)
        try:
            yield
        except (RuntimeError, ValueError) as error:
            heard.seek(0)
            lines = heard.read().decode(errors="replace").splitlines()
            said = [line for line in lines if line.startswith("ERROR")]
            raise RuntimeError(" ".join(f"{error} {' '.join(said[-1:])}".split())) from error
        finally:
            os.dup2(saved, 2)
            os.close(saved)


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


def machine_facts() -> dict[str, Any]:
    """What does not change, as far as the system tells it: `cpus` has the implementer and the part
    of every core, `max_mhz` the highest clock of every group of cores that share one."""
    memory = [line.split() for line in _text("/proc/meminfo").splitlines()[:1]]
    return {
        "machine": platform.machine(),
        "system": platform.release(),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        **cpu_facts(),
        "max_mhz": [mhz for mhz in (_mhz(p / "cpuinfo_max_freq") for p in _policies()) if mhz],
        "model": _text("/proc/device-tree/model").rstrip("\0\n"),
        "memory_bytes": int(memory[0][1]) * 1024 if memory else None,
        "versions": versions(),
    }


def cpu_facts() -> dict[str, Any]:
    """Out of `/proc/cpuinfo`: [implementer, part] of every core, the features of the first."""
    cpus: list[list[str]] = []
    features: list[str] = []
    for line in _text("/proc/cpuinfo").splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "processor":
            cpus.append(["", ""])
        elif key == "CPU implementer" and cpus:
            cpus[-1][0] = value
        elif key == "CPU part" and cpus:
            cpus[-1][1] = value
        elif key == "Features" and not features:
            features = value.split()
    return {"cpus": cpus, "features": features}


def is_emulated() -> bool:
    """Whether this is ARM64 code on another kernel: it tells what it was built for since Linux 6.1,
    and before that of the processor."""
    processor = re.match(r"cpu:type:(\w+)", _text("/sys/devices/system/cpu/modalias"))
    kernel = _text("/proc/sys/kernel/arch").strip() or (processor[1] if processor else "")
    return platform.machine() == _ARM64 and kernel not in ("", _ARM64)


def versions() -> dict[str, str]:
    """Of the runtimes, as the bundle tells, or the folders that installers leave beside them:
    nothing is loaded."""
    found: dict[str, str] = {}
    for folder in map(Path, sys.path):
        bundle = _text(folder.parent / "bundle.json") if folder.name == "site" else ""
        found = {**(json.loads(bundle)["versions"] if bundle else {}), **found}
        for path in folder.glob("*.dist-info"):
            name, _, version = path.name[: -len(".dist-info")].partition("-")
            found.setdefault(name.replace("_", "-").lower(), version)
    return {
        name: found[name] for name in ("ai-edge-litert", "numpy", "onnxruntime") if name in found
    }


def status() -> dict[str, Any]:
    """None where the system does not tell."""
    governors = {_text(policy / "scaling_governor").strip() for policy in _policies()} - {""}
    clocks = [mhz for mhz in (_mhz(p / "scaling_cur_freq") for p in _policies()) if mhz]
    load = _text("/proc/loadavg").split()
    flags = _text("/sys/devices/platform/soc/soc:firmware/get_throttled").strip()
    return {
        "temperature_c": temperature(),
        "governor": ", ".join(sorted(governors)) or None,
        "mhz": clocks,
        "load": float(load[0]) if load else None,
        "throttled": int(flags, 16) if flags else None,
        "peak_bytes": peak_bytes(),
    }


def peak_bytes() -> int | None:
    """The most memory that this process has had at once."""
    for line in _text("/proc/self/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def temperature() -> float | None:
    """The hottest zone of the processor, else of the whole device; some count in thousandths."""
    zones = []
    for zone in sorted(Path("/sys/class/thermal").glob("thermal_zone*")):
        value = _number(zone / "temp")
        if value is not None:
            degrees = value / 1000 if abs(value) >= 1000 else value
            zones.append((_text(zone / "type").lower(), degrees))
    sane = [(kind, degrees) for kind, degrees in zones if 0 < degrees < 150]
    cpus = [item for item in sane if any(word in item[0] for word in ("cpu", "soc", "cluster"))]
    return max((degrees for _, degrees in cpus or sane), default=None)


def _policies() -> list[Path]:
    return sorted(Path("/sys/devices/system/cpu/cpufreq").glob("policy*"))


def _mhz(path: Path) -> float | None:
    khz = _number(path)
    return None if khz is None else khz / 1000


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _number(path: str | Path) -> float | None:
    try:
        return float(_text(path))
    except ValueError:
        return None


def packed(samples: Sequence[Sample]) -> tuple[list[list[Any]], bytes]:
    """The arrays of all samples as a list of what they are, and their bytes. Types go by name:
    those that numpy only borrows, such as bfloat16, have no letter of their own."""
    import numpy as np

    tensors: list[list[Any]] = []
    data: list[Any] = []
    for index, sample in enumerate(samples):
        for name, value in sample.items():
            array = np.asarray(value, order="C")
            if array.dtype.hasobject or array.dtype.kind in "SU":
                raise Failure("model", f"'{name}' holds text: only numbers are run")
            if not array.dtype.isnative:
                array = array.astype(array.dtype.newbyteorder("="))
            tensors.append([index, name, array.dtype.name, list(array.shape)])
            data += [array.reshape(-1).view(np.uint8), bytes(-array.nbytes % _ALIGNMENT)]
    return tensors, b"".join(data)


def unpacked(tensors: Sequence[Sequence[Any]], data: bytes | bytearray) -> list[Sample]:
    """The samples that were packed. Raises Failure for a type that nothing here knows."""
    import numpy as np

    samples: list[Sample] = []
    start = 0
    for index, name, dtype, shape in tensors:
        kind = number_type(np, dtype)
        count = 1
        for dim in shape:
            count *= dim
        array = np.frombuffer(data, kind, count, start).reshape(shape)
        start += array.nbytes + -array.nbytes % _ALIGNMENT
        while len(samples) <= index:
            samples.append({})
        samples[index][name] = array
    return samples


def number_type(np: Any, name: str) -> Any:
    try:
        return np.dtype(name)
    except TypeError:
        pass
    try:
        import ml_dtypes
    except ImportError:
        raise Failure("model", f"Python here cannot give arrays of {name}") from None
    return np.dtype(getattr(ml_dtypes, name))


def write_all(descriptor: int, data: Any) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


class Watch:
    """Looks whether the host is still there: while waiting, by an alarm; between inferences, where
    it is asked."""

    def __init__(self, silence: float) -> None:
        self._silence, self._parent = silence, os.getppid()
        self._heard = time.monotonic()
        signal.signal(signal.SIGALRM, self._ring)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        self._heard = time.monotonic()
        glance = min(_GLANCE, self._silence)
        signal.setitimer(signal.ITIMER_REAL, glance, glance)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def check(self) -> None:
        """Raises Gone where nobody will read the answer."""
        line = select.poll()
        line.register(0, 0)
        if os.getppid() != self._parent or line.poll(0):
            raise Gone("the host is gone")

    def _ring(self, number: int, frame: object) -> None:
        self.check()
        if time.monotonic() - self._heard > self._silence:
            raise Gone("the host is silent")


def serve(source: BinaryIO, sink: int, watch: Watch) -> None:
    """Answer requests until the input ends."""
    runner = Runner(watch.check)
    while True:
        with watch.waiting():
            line = source.readline()
            if not line:
                return
            request = json.loads(line)
            payload = source.read(request["size"])
        reply, attached = runner.answer(request, payload)
        reply["size"] = len(attached)
        write_all(sink, json.dumps(reply).encode() + b"\n")
        write_all(sink, attached)


def run_job(path: Path) -> None:
    """A file without a host: outputs and times are written as the job says."""
    job = json.loads(path.read_text(encoding="utf-8"))
    import numpy as np

    artifact = path.parent / job["artifact"]
    runtime = job.get("runtime") or ("litert" if artifact.suffix == ".tflite" else "onnxruntime")
    with np.load(path.parent / job["inputs"]) as stored:
        sample = dict(stored)
    before = status()
    began = time.perf_counter()
    model = opened(str(artifact), runtime, job.get("threads", 1), None, job.get("options") or {})
    load_ms = (time.perf_counter() - began) * 1e3
    emulated = is_emulated()
    with told_as("run"):
        outputs = model.run(sample)
        times = [] if emulated else job_times(model, sample, job)
    if "outputs" in job:
        with whole(path.parent / job["outputs"]) as part:
            np.savez(part, **outputs)
    told = {
        "runtime": runtime,
        "threads": job.get("threads", 1),
        "load_ms": None if emulated else load_ms,
        "median_ms": float(np.median(times)) if times else None,
        "p90_ms": float(np.percentile(times, 90)) if times else None,
        "runs_ms": times,
        "reason": _EMULATED if emulated else None,
        "machine": machine_facts(),
        "before": before,
        "after": status(),
    }
    text = json.dumps(told, indent=2) + "\n"
    if "timings" in job:
        with whole(path.parent / job["timings"]) as part:
            part.write(text.encode())
    else:
        sys.stdout.write(text)


def job_times(model: OrtModel | LiteRtModel, sample: Sample, job: dict[str, Any]) -> list[float]:
    """Milliseconds of each repetition, after the warm-up."""
    model.load(sample)
    for _ in range(job.get("warmup", 5)):
        model.invoke()
    times = []
    for _ in range(job.get("repetitions", 50)):
        began = time.perf_counter()
        model.invoke()
        times.append((time.perf_counter() - began) * 1e3)
    return times


@contextmanager
def whole(path: Path) -> Iterator[Any]:
    """A file that takes its name when it is complete."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".edgewise-", delete=False) as part:
        try:
            yield part
            part.flush()
            Path(part.name).chmod(0o644)
            Path(part.name).replace(path)
        except BaseException:
            Path(part.name).unlink()
            raise


def main() -> None:
    """`[runner.py, job.json]`, or `[-c, SITE]` (and seconds of silence) from the bootstrap."""
    for name in ("SIGHUP", "SIGTERM"):
        signal.signal(getattr(signal, name), lambda number, frame: sys.exit(128 + number))
    # ONNX Runtime from 1.29 else writes into the user's home, and reports to Microsoft
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    if sys.argv[1].endswith(".json"):
        sys.path.append(str(Path(os.__file__).parents[2] / "site"))
        try:
            run_job(Path(sys.argv[1]))
        except (Failure, KeyError, OSError, ValueError) as error:
            sys.exit(f"{sys.argv[1]}: {error}")
        return
    sys.path.append(sys.argv[1])
    # numpy's BLAS starts threads that spin for seconds, on the cores that are measured
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    # what libraries print goes to standard error: standard output is for answers
    sink = os.dup(1)
    os.dup2(2, 1)
    watch = Watch(float(sys.argv[2]) if len(sys.argv) > 2 else SILENCE)
    try:
        serve(sys.stdin.buffer, sink, watch)
    except (BrokenPipeError, Gone):
        sys.exit(1)


if __name__ == "__main__":
    main()
