"""How long Edgewise's interpreter takes beside ONNX Runtime, which runs the fp32 model.

EfficientNet-Lite0 at 224 (the sample of the `[samples]` extra) as fp32, fp16 and w8a8 packages, all
in one process and in turns, so that what else the machine does falls on each alike. ONNX Runtime
runs as it does by default (fused, blocked layouts) and without optimizations, which is how the
interpreter has to run it: bits must not depend on whether anyone watches. Prints medians in
milliseconds and their ratio to the default; the last column is the time to load the package.

    python benchmarks/apple_interpreter.py [--threads 1 2] [--runs 15]
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx_ir as ir

from edgewise.calibration import collect_statistics, quantize
from edgewise.data.function import FunctionSource
from edgewise.data.source import InputSpec
from edgewise.exporters import export
from edgewise.graph import OrtSession
from edgewise.sample_models.efficientnet_lite0 import model
from edgewise.targets.apple import TARGET
from edgewise.targets.apple.interpreter import Interpreter

LIMIT = 8.0
PRECISIONS = ("fp32", "fp16", "w8a8")


def packages(folder: Path, x: Any) -> tuple[ir.Model, dict[str, Path]]:
    """The hub model, and a package for each precision."""
    spec = InputSpec("inputs", x.shape, x.dtype)
    examples = [{"inputs": x}, {"inputs": x[:, :, ::-1]}]
    source = FunctionSource(lambda: examples, [spec], description="noise")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library that traces the network
        hub = export(model(), example=source).model
    qdq = quantize(hub, collect_statistics(hub, source), TARGET.scheme("w8a8"))
    models = {"fp32": hub, "fp16": hub, "w8a8": qdq}
    return hub, {p: TARGET.emit(models[p], folder / p, p).path for p in PRECISIONS}


def in_turns(runs: int, contestants: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Median milliseconds of each, one run of each after another."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(runs + 1):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            if turn:  # the first one warms up
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: median(values) for name, values in times.items()}


def _run_on(model: OrtSession | Interpreter, x: Any) -> Callable[[], Any]:
    return partial(model.run, {model.input_names[0]: x})


def measure(hub: ir.Model, paths: dict[str, Path], x: Any, threads: int, runs: int) -> bool:
    """Print a table. Whether every package stays within the limit."""
    contestants = {
        "ONNX Runtime": _run_on(OrtSession(hub, threads=threads, optimize="all"), x),
        "without optimizations": _run_on(OrtSession(hub, threads=threads, optimize="none"), x),
    }
    loads = {}
    for name, path in paths.items():
        start = time.perf_counter()
        interpreter = Interpreter(path, threads=threads)
        loads[name] = time.perf_counter() - start
        contestants[name] = _run_on(interpreter, x)
    times = in_turns(runs, contestants)
    base = times["ONNX Runtime"]
    print(f"\nthreads {threads}\n{'':22s} {'ms':>8s} {'ratio':>7s} {'load, s':>9s}")
    for name, value in times.items():
        load = f"{loads[name]:9.2f}" if name in loads else ""
        print(f"{name:22s} {value:8.1f} {value / base:7.2f} {load}", flush=True)
    return all(times[name] <= LIMIT * base for name in paths)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()
    x = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        hub, paths = packages(Path(folder), x)
        within = [measure(hub, paths, x, n, arguments.runs) for n in arguments.threads]
    print(f"\nevery package at most {LIMIT:g} times: {'ok' if all(within) else 'MISSED'}")


if __name__ == "__main__":
    main()
