"""Counts the instructions of one inference of an ONNX or TFLite file, by class.

    python -m edgewise.targets.validation.devices.counter MODEL --cpu cortex-a76 [--cpu ...]

Inputs are normal noise, or small whole numbers where the file takes integers.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from edgewise.targets.base import Array
from edgewise.targets.validation.devices.address import EMULATED_CPUS
from edgewise.targets.validation.devices.connections import COUNTED, acquire, release
from edgewise.targets.validation.devices.counter.count import count_runs, fewest
from edgewise.targets.validation.devices.counter.device import Region


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--cpu", action="append", choices=EMULATED_CPUS)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    for cpu in chosen.cpu or ["cortex-a76"]:
        _show(cpu, _count(chosen.model, cpu, chosen.runs))


def _count(model: Path, cpu: str, runs: int) -> Region:
    feeds, outputs, runtime = _tflite(model) if model.suffix == ".tflite" else _onnx(model)
    device = f"{COUNTED}emulated:{cpu}"
    link = acquire(device)
    try:
        remote = link.open(model, runtime, threads=1, outputs=outputs)
        remote.load(feeds)
        return fewest(count_runs(remote, runs))
    finally:
        release(link)


def _show(cpu: str, region: Region) -> None:
    print(f"{cpu}: {region.total / 1e6:.3f} M instructions")
    for name, count in region.by_class.items():
        print(f"  {name:<10} {count / 1e6:10.3f} M  {count / region.total:6.1%}")


def _onnx(model: Path) -> tuple[dict[str, Array], list[str], str]:
    import onnxruntime as ort

    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    types = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
    feeds = {
        value.name: _noise(value.shape, types.get(value.type, value.type[len("tensor(") : -1]))
        for value in session.get_inputs()
    }
    return feeds, [value.name for value in session.get_outputs()], "onnxruntime"


def _tflite(model: Path) -> tuple[dict[str, Array], list[str], str]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(model_path=str(model))
    feeds = {d["name"]: _noise(d["shape"], d["dtype"]) for d in interpreter.get_input_details()}
    return feeds, [d["name"] for d in interpreter.get_output_details()], "litert"


def _noise(shape: Any, dtype: Any) -> Array:
    fixed = [int(dim) if not isinstance(dim, str | None) else 1 for dim in shape]
    generator = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return generator.standard_normal(fixed).astype(dtype)
    return generator.integers(0, 2, fixed).astype(dtype)


if __name__ == "__main__":
    main()
