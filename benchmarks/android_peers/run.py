"""Edgewise against TFLiteConverter and onnx2tf: emission, size and latency of int8 TFLite files.

All start from the same QDQ models (networks.py). Emission runs in a process per model and tool,
one after the other; latency is taken with one LiteRT runtime, the two files in turn, in blocks.
The peers need environments of their own, given by their Python: one with tensorflow and onnx, one
with onnx2tf 1.29.24. A peer that is not given is printed as not measured.

    python benchmarks/android_peers/run.py [--tensorflow PYTHON] [--onnx2tf PYTHON] [--folder DIR]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
NETWORKS = ("mobilenet_v2", "resnet_50", "efficientnet_lite0", "mobilenet_v3")
#: what the project asks of itself
MAX_SECONDS, MAX_PEAK_MB, MAX_LATENCY, MAX_SIZE = 1.0, 250, 1.03, 1.02
MIN_FASTER = {"tensorflow": 5.0, "onnx2tf": 50.0}
_EMISSIONS, _BLOCKS, _RUNS = 5, 12, 12
#: every tool may keep its compiled modules
_ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


@dataclass(frozen=True)
class Emission:
    """What the tool wrote, and the wall time and peak memory of its whole process."""

    path: Path
    seconds: float
    peak_bytes: float


def emit_edgewise(source: Path, folder: Path) -> Emission:
    script = [sys.executable, HERE / "edgewise_emit.py", source, folder / "edgewise"]
    return _measured(script, folder, "edgewise/model.tflite")


def emit_tensorflow(python: str, source: Path, folder: Path) -> Emission:
    script = [python, HERE / "tensorflow_peer.py", source, folder / "tensorflow.tflite"]
    return _measured(script, folder, "tensorflow.tflite")


def emit_onnx2tf(python: str, source: Path, folder: Path) -> Emission:
    """The command line as its users run it; it asks for calibration pictures in its folder."""
    pictures = np.random.default_rng(0).random((20, 128, 128, 3), np.float32)
    np.save(folder / "calibration_image_sample_data_20x128x128x3_float32.npy", pictures)
    command = [Path(python).parent / "onnx2tf", "-i", source, "-oiqt", "-o", folder / "onnx2tf"]
    return _measured(command, folder, "onnx2tf/*full_integer_quant.tflite")


def _measured(command: Sequence[object], folder: Path, product: str) -> Emission:
    """Wall time and peak memory of the whole process, start of its interpreter included."""
    with tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        words = [str(word) for word in command]
        process = subprocess.Popen(words, cwd=folder, stdout=said, stderr=said, env=_ENVIRONMENT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        found = sorted(folder.glob(product))
        if process.returncode or not found:
            said.seek(0)
            raise SystemExit(said.read().decode(errors="replace"))
    return Emission(found[0], seconds, usage.ru_maxrss * 1024)


def _middle(runs: list[Emission]) -> Emission:
    return sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]


def latency_ratio(ours: Path, theirs: Path, threads: int) -> tuple[float, float, float]:
    """Median milliseconds of both files, and the median over blocks of their ratio."""
    sessions = [_opened(path, threads) for path in (ours, theirs)]
    medians: list[list[float]] = [[], []]
    for block in range(_BLOCKS):
        for which in (0, 1) if block % 2 else (1, 0):
            medians[which].append(float(np.median(_timed(sessions[which]))))
    ratios = [mine / peer for mine, peer in zip(*medians, strict=True)]
    return *(float(np.median(m)) * 1e3 for m in medians), float(np.median(ratios))


def _opened(path: Path, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=threads)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        noise = np.random.default_rng(0).integers(-128, 128, detail["shape"])
        interpreter.set_tensor(detail["index"], noise.astype(detail["dtype"]))
    for _ in range(3):
        interpreter.invoke()
    return interpreter


def _timed(interpreter: Any) -> list[float]:
    seconds = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        interpreter.invoke()
        seconds.append(time.perf_counter() - start)
    return seconds


def row(cells: Sequence[object]) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def verdict(value: float, limit: float, *, least: bool = False) -> str:
    return "ok" if (value >= limit if least else value <= limit) else "MISSED"


def compare_emission(folder: Path, source: Path, peers: dict[str, str | None]) -> None:
    """The figures of one network, ours and every peer's."""
    emit_edgewise(source, folder)  # compiles Edgewise's modules, as pip did for the peers'
    mine = _middle([emit_edgewise(source, folder) for _ in range(_EMISSIONS)])
    peak = mine.peak_bytes / 2**20
    verdicts = verdict(mine.seconds, MAX_SECONDS), verdict(peak, MAX_PEAK_MB)
    row(["edgewise", f"{mine.seconds:.2f} s", verdicts[0], f"{peak:.0f} MB", verdicts[1]])
    for name, emit in (("tensorflow", emit_tensorflow), ("onnx2tf", emit_onnx2tf)):
        python = peers[name]
        if python is None:
            row([name, "not measured", "", "not measured", ""])
            continue
        runs = _EMISSIONS if name == "tensorflow" else 1
        theirs = _middle([emit(python, source, folder) for _ in range(runs)])
        faster = theirs.seconds / mine.seconds
        enough = verdict(faster, MIN_FASTER[name], least=True)
        times = f"{theirs.seconds:.1f} s ({faster:.1f}x ours)"
        row([name, times, enough, f"{theirs.peak_bytes / 2**20:.0f} MB", ""])


def compare_files(folder: Path, name: str, python: str) -> None:
    """Size and latency of our file and of TFLiteConverter's."""
    source = folder / f"{name}.qdq.onnx"
    mine, theirs = emit_edgewise(source, folder), emit_tensorflow(python, source, folder)
    size = mine.path.stat().st_size / theirs.path.stat().st_size
    cells: list[object] = [name, f"{size:.4f}", verdict(size, MAX_SIZE)]
    for threads in (1, 2):
        ours_ms, theirs_ms, ratio = latency_ratio(mine.path, theirs.path, threads)
        cells += [
            f"{ours_ms:.2f} / {theirs_ms:.2f} ms",
            f"{ratio:.3f}",
            verdict(ratio, MAX_LATENCY),
        ]
    row(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tensorflow", metavar="PYTHON")
    parser.add_argument("--onnx2tf", metavar="PYTHON")
    parser.add_argument("--folder", type=Path, help="keeps the networks for the next run")
    arguments = parser.parse_args()
    peers = {"tensorflow": arguments.tensorflow, "onnx2tf": arguments.onnx2tf}
    with tempfile.TemporaryDirectory() as scratch:
        folder = (arguments.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(HERE / "networks.py"), str(folder), *NETWORKS]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        print("Emission of mobilenet_v2 (224 x 224) from its QDQ model\n")
        row(["tool", "time", "", "peak memory", ""])
        row(["---"] * 5)
        compare_emission(folder, folder / "mobilenet_v2.qdq.onnx", peers)
        if peers["tensorflow"] is None:
            print("\nSize and latency against TFLiteConverter: not measured (--tensorflow)")
            return
        print("\nEdgewise's int8 file over TFLiteConverter's, same network and scales\n")
        row(["network", "size", "", "1 thread", "ratio", "", "2 threads", "ratio", ""])
        row(["---"] * 9)
        for name in NETWORKS:
            compare_files(folder, name, peers["tensorflow"])


if __name__ == "__main__":
    main()
