"""The full-size figure: EfficientNet-Lite0 from PyTorch to three validated INT8 artifacts.

Runs `edgewise build` in a process of its own and prints its stage times, its peak memory and, per
target, accuracy, size and latency against the limits that the project sets itself. Needs the
`[samples]` extra and a folder of pictures with a `labels.csv` (columns file, class, split).

    python benchmarks/efficientnet_lite0.py PICTURES [--out DIR]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SOURCE = "edgewise.sample_models.efficientnet_lite0:model"
MIN_SPEEDUP = {"android": 1.8, "arm": 1.1}
BEFORE_VALIDATION = ("export", "calibration", "validation")


def build(pictures: Path, out: Path) -> tuple[dict[str, Any], float, float]:
    """The report, the wall time in seconds and the peak resident memory in bytes."""
    command = [
        sys.executable, "-m", "edgewise", "build", SOURCE,
        "--calibration", f"{pictures}/labels.csv#split=calib",
        "--evaluation", f"{pictures}/labels.csv#split=eval",
        "--resize", "256", "--crop", "224", "--mean", "127", "--std", "128",
        "--target", "android", "--target", "apple", "--target", "arm",
        "--precision", "w8a8", "--threads", "1", "--out", str(out), "--json",
    ]  # fmt: skip
    start = time.perf_counter()
    run = subprocess.run(command, capture_output=True, text=True)
    wall = time.perf_counter() - start
    if run.returncode not in (0, 1):
        raise SystemExit(run.stderr)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return json.loads(run.stdout), wall, peak


def row(name: str, value: float | None, limit: str, ok: bool) -> None:
    shown = "not measured" if value is None else f"{value:.4g}"
    print(f"{name:34s} {shown:>14s}   {limit:>10s}  {'ok' if ok else 'MISSED'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        report, wall, peak = build(arguments.pictures, arguments.out or Path(scratch) / "dist")
    row("whole build, s", wall, "<= 240", wall <= 240)
    other = sum(
        seconds
        for stage, seconds in report["timings"].items()
        if not any(word in stage for word in BEFORE_VALIDATION)
    )
    row("without export/calib/validation, s", other, "<= 10", other <= 10)
    row("peak memory, GB", peak / 1e9, "<= 2", peak <= 2e9)
    for name, target in report["targets"].items():
        accuracy, latency = target["accuracy"], target["latency"]
        row(f"{name} fp32 top-1", accuracy["fp32"], "", True)
        row(f"{name} drop", accuracy["drop"], "<= 0.010", accuracy["drop"] <= 0.010)
        share = target["size_bytes"] / target["size_fp32_bytes"]
        row(f"{name} size / fp32", share, "<= 0.30", share <= 0.30)
        limit = MIN_SPEEDUP.get(name)
        if limit is None:
            print(f"{name} latency: {latency['reason']}")
        else:
            row(f"{name} speed-up", latency["speedup"], f">= {limit}", latency["speedup"] >= limit)
    for stage, seconds in report["timings"].items():
        print(f"  {stage:32s} {seconds:8.2f} s")


if __name__ == "__main__":
    main()
