"""Edgewise against the other ways to a Core ML package: coverage, correctness, size and cost.

1. onnx2coreml, on the ONNX project's node tests and on the networks of tests/networks: both convert
   to fp32, and both packages run, as written to disk, in Edgewise's interpreter.
2. coremltools from PyTorch, on EfficientNet-Lite0 with its trained weights: operations and bytes.
3. Emission of the QDQ model of EfficientNet-Lite0 as a process: time, memory, weights.

onnx2coreml needs an environment of its own, given by its Python; without it the peer is printed as
not measured.

    python benchmarks/apple_peers/run.py [--onnx2coreml PYTHON] [--folder DIR] [--only PART]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from opponents import Task, agree, hub, networks, node_tests

import edgewise
from edgewise.errors import EdgewiseError
from edgewise.graph import save
from edgewise.targets import get
from edgewise.targets.apple.interpreter import Interpreter

HERE = Path(__file__).resolve().parent
NOT_MEASURED = "not measured"
#: what the project asks of itself
MAX_SECONDS, MAX_PEAK_MB, MAX_WEIGHTS, MAX_SIZE = 5.0, 600, 0.27, 1.02
_EMISSIONS = 5
_VERDICTS = ("right", "wrong", "not converted", "converted, cannot run here")


@dataclass(frozen=True)
class Score:
    """How often each verdict was given."""

    counts: Mapping[str, int]

    def cells(self) -> list[str]:
        return [str(self.counts.get(verdict, 0)) for verdict in _VERDICTS]


def compare_coverage(tasks: Iterable[Task], folder: Path, peer: str | None) -> list[str]:
    """Two rows of the table: ours, and the peer's."""
    known: list[Task] = []
    folder.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        (folder / f"{task.name}.onnx").write_bytes(task.model)
        known.append(task)
    ours = Score(Counter(_our_verdict(task, folder) for task in known))
    rows = [_row("Edgewise", len(known), ours.cells())]
    if peer is None:
        return [*rows, _row("onnx2coreml", len(known), [NOT_MEASURED] * len(_VERDICTS))]
    subprocess.run([peer, HERE / "onnx2coreml_peer.py", folder], check=True, capture_output=True)
    status = json.loads((folder / "status.json").read_text("utf-8"))
    theirs = Score(Counter(_peer_verdict(task, folder, status) for task in known))
    return [*rows, _row("onnx2coreml", len(known), theirs.cells())]


def _row(tool: str, total: int, cells: list[str]) -> str:
    return f"| {' | '.join([tool, str(total), *cells])} |"


def _our_verdict(task: Task, folder: Path) -> str:
    from edgewise.graph import is_quantized_model
    from edgewise.targets.apple.legalize import legalize
    from edgewise.targets.apple.table import is_known

    target, source = get("apple"), folder / f"{task.name}.onnx"
    try:
        quantized = is_quantized_model(legalize(source, is_known).model)
        precision, exact = ("w8a8", {"compute": "fp32"}) if quantized else ("fp32", {})
        options = edgewise.targets.EmitOptions(options=exact)
        artifact = target.emit(source, folder / task.name, precision, options=options)
        found = target.open(artifact).run(task.feeds)
    except EdgewiseError:
        return "not converted"
    right = all(agree(found[name], array, task) for name, array in task.expected.items())
    return "right" if right else "wrong"


def _peer_verdict(task: Task, folder: Path, status: Mapping[str, str]) -> str:
    """Its inputs and outputs are in the model's order; inputs get the types that it declares."""
    if status[task.name]:
        return "not converted"
    try:
        program = Interpreter(folder / f"{task.name}.mlpackage")
        arrays = zip(program.inputs, task.feeds.values(), strict=True)
        feeds = {
            spec.name: np.asarray(array, spec.dtype).reshape(
                array.shape or tuple(1 for _ in spec.shape)
            )
            for spec, array in arrays
        }
        found = program.run(feeds)
    except (EdgewiseError, ValueError):
        return "converted, cannot run here"
    pairs = zip(found.values(), task.expected.values(), strict=True)
    return "right" if all(agree(mine, other, task) for mine, other in pairs) else "wrong"


# ---- against coremltools from PyTorch


def compare_with_pytorch(folder: Path) -> list[str]:
    """fp16 packages of one trained network by both ways: operations and bytes."""
    ours = get("apple").emit(hub("efficientnet_lite0"), folder / "fp16", "fp16").path
    theirs = folder / "from_pytorch.mlpackage"
    peer = [sys.executable, HERE / "coremltools_peer.py", theirs]
    subprocess.run(peer, check=True, capture_output=True)
    rows = []
    for name, path in (("Edgewise from ONNX", ours), ("coremltools from PyTorch", theirs)):
        rows.append(f"| {name} | {len(_operations(path))} | {_bytes(path):,} |")
    ratio = _bytes(ours) / _bytes(theirs)
    return [*rows, "", f"Size ratio {ratio:.4f} (target: within {MAX_SIZE - 1:.0%})."]


def _operations(package: Path) -> list[str]:
    """Types of what is computed: constants and casts at the ends of the program left out."""
    from edgewise.targets.apple._coremltools import ct

    spec = ct.utils.load_spec(str(package))
    main = spec.mlProgram.functions["main"]
    block = main.block_specializations[main.opset]
    kinds = [operation.type for operation in block.operations]
    return [kind for kind in kinds if kind not in ("const", "cast", "identity")]


def _bytes(package: Path) -> int:
    return sum(path.stat().st_size for path in package.rglob("*") if path.is_file())


# ---- emission


def measure_emission(folder: Path) -> list[str]:
    """The command line on a QDQ model, whole processes, with compiled modules."""
    qdq = _qdq(folder)
    command = [sys.executable, "-m", "edgewise", "emit", qdq, "--target", "apple"]
    runs = [_measured([*command, "--out", folder / f"w8a8-{k}"]) for k in range(_EMISSIONS)]
    seconds, peak = sorted(runs)[_EMISSIONS // 2]
    fp32 = get("apple").emit(folder / "hub.onnx", folder / "fp32", "fp32").path
    w8a8 = next((folder / "w8a8-0").glob("*.mlpackage"))
    weights = "Data/com.apple.CoreML/weights/weight.bin"
    share = (w8a8 / weights).stat().st_size / (fp32 / weights).stat().st_size
    return [
        f"| {seconds:.1f} s (target {MAX_SECONDS:g}) | {peak:.0f} MB (target {MAX_PEAK_MB})"
        f" | {share:.3f} (target {MAX_WEIGHTS}) |"
    ]


def _qdq(folder: Path) -> Path:
    save(hub("efficientnet_lite0"), folder / "hub.onnx")
    pictures = np.random.default_rng(3).standard_normal((8, 3, 14, 14), np.float32)
    np.savez(folder / "calibration.npz", inputs=pictures.repeat(16, 2).repeat(16, 3))
    statistics = edgewise.calibrate(folder / "hub.onnx", folder / "calibration.npz")
    path = folder / "model.qdq.onnx"
    edgewise.quantize(folder / "hub.onnx", statistics, target="apple", out=path)
    return path


def _measured(command: list[Any]) -> tuple[float, float]:
    """Wall seconds and peak megabytes of a process."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    words = [sys.executable, HERE / "measured.py", *command]
    done = subprocess.run(
        [str(word) for word in words], env=environment, check=True, capture_output=True
    )
    seconds, peak = json.loads(done.stdout)
    return seconds, peak / 1e6


def print_coverage(folder: Path, peer: str | None) -> None:
    head = f"| Tool | Models | {' | '.join(_VERDICTS)} |\n| --- |{' ---: |' * 5}"
    for title, tasks in (("Node tests", node_tests()), ("Networks", networks())):
        print(f"## {title}\n\n{head}")
        found = compare_coverage(tasks, folder / title.replace(" ", "_"), peer)
        print("\n".join(found), "\n", flush=True)


def print_pytorch(folder: Path) -> None:
    print("## EfficientNet-Lite0, fp16\n")
    print("| Package | Operations | Bytes |\n| --- | ---: | ---: |")
    print("\n".join(compare_with_pytorch(folder)), "\n", flush=True)


def print_emission(folder: Path) -> None:
    print("## Emission of the QDQ model of EfficientNet-Lite0\n")
    print("| Whole process | Peak memory | Weights over fp32 |\n| ---: | ---: | ---: |")
    print("\n".join(measure_emission(folder)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--onnx2coreml", metavar="PYTHON", help="of an environment that has it")
    parser.add_argument("--folder", type=Path, help="where models and packages are kept")
    parser.add_argument("--only", choices=("coverage", "pytorch", "emission"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if arguments.only in (None, "coverage"):
            print_coverage(folder, arguments.onnx2coreml)
        if arguments.only in (None, "pytorch"):
            print_pytorch(folder)
        if arguments.only in (None, "emission"):
            print_emission(folder)


if __name__ == "__main__":
    main()
