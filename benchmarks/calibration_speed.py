"""How long calibration takes, beside plain inference and beside ONNX Runtime's own calibrators.

For MobileNetV2-224 (or another hub model), in rounds that run everything in turn over the same
samples, which lie in memory:

    float inference      an `OrtSession` over the samples
    ours, per method     `collect_statistics`, and the range of every tensor by the method; all
                         methods read the same statistics: a second one costs its ranges alone
    ours, inserting Q/DQ `quantize_for` a target, counted apart
    static               the calibrators of `onnxruntime.quantization`, as `quantize_static` calls
                         them; and all of `quantize_static`, inserting Q/DQ included

Every side starts with the model as its interface takes it, in memory or on disk. Inference and ours
run at one thread; theirs runs on all cores, since it offers no choice, and is compared with ours on
all cores, which is what `edgewise calibrate` does. Figures are ratios to float
inference of the same round, the median over rounds: of wall time, or of the CPU seconds of all
threads, which other work on the machine disturbs less. Peak memory is that of a process of its own
with 32 samples, and of one with eight times as many. Exit code 1 where a limit is missed.

    python benchmarks/calibration_speed.py [--model hub.onnx] [--rounds 3] [--no-static]
                                           [--clock wall|cpu]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SAMPLES = 32
MORE_SAMPLES = 256
#: limits: times float inference, times faster than `quantize_static`, growth of memory
MINMAX, HISTOGRAM = 2.5, 4.0
FASTER = {"minmax": 3.0, "percentile": 6.0, "entropy": 6.0}
GROWTH = 1.10
STATIC = {"minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}


class Pictures:
    """Normal noise for the first input: in memory, or made when it is asked for."""

    description, fingerprint, labelled = "noise", "noise", False
    class_names: tuple[str, ...] = ()

    def __init__(self, model: Any, count: int, *, keep: bool) -> None:
        self.findings: list[Any] = []
        self._count = count
        self._name = model.graph.inputs[0].name
        self._shape = [d if isinstance(d, int) else 1 for d in model.graph.inputs[0].shape]
        self._kept = list(self._made()) if keep else None

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        return iter(self._made() if self._kept is None else self._kept)

    def _made(self) -> Iterator[Any]:
        import numpy as np

        from edgewise.data.source import Sample

        random = np.random.default_rng(1)
        for index in range(self._count):
            array = random.standard_normal(self._shape, dtype=np.float32)
            yield Sample({self._name: array}, None, str(index))


def build_mobilenet(path: Path) -> None:
    """The hub model of MobileNetV2 with batch normalization that fits noise."""
    import torch
    from arm_instructions import MobileNetV2

    import edgewise

    torch.manual_seed(0)
    model = MobileNetV2()
    with torch.no_grad():
        for _ in range(3):
            model.train()(torch.randn(4, 3, 224, 224))
    edgewise.export(model.eval(), input_shapes={"image": (1, 3, 224, 224)}, out=path)


class Contest:
    """One round after another, each with every contender."""

    def __init__(self, path: Path, folder: Path, *, static: bool, clock: str) -> None:
        from edgewise.calibration import METHODS
        from edgewise.graph import load

        self.path, self.folder = path, folder
        self.model = load(path)
        self.source = Pictures(self.model, SAMPLES, keep=True)
        self.methods = tuple(METHODS)
        self.static = STATIC if static else {}
        self.clock = time.perf_counter if clock == "wall" else time.process_time
        self.seconds: dict[str, list[float]] = {}

    def round(self) -> None:
        from edgewise.calibration import METHODS, Recipe, collect_statistics
        from edgewise.calibration.quantize_for import quantize_for
        from edgewise.stages import available_threads
        from edgewise.targets import get

        self._timed("float inference", self._infer)
        found = self._timed("collect", lambda: collect_statistics(self.model, self.source))
        cores = available_threads()
        self._timed(
            "collect, all cores",
            lambda: collect_statistics(self.model, self.source, threads=cores),
        )
        for name in self.methods:
            chosen = METHODS[name]
            self._timed(
                f"ranges {name}",
                lambda chosen=chosen: [chosen(own, 99.99) for own in found.tensors.values()],
            )
        scheme = get("arm").scheme("w8a8")
        self._timed("insert", lambda: quantize_for(self.model, found, scheme, Recipe()))
        for name, method in self.static.items():
            self._timed(f"static {name}", lambda method=method: self._calibrate_static(method))
            self._timed(f"whole {name}", lambda method=method: self._quantize_static(method))

    def ratio(self, *labels: str, of: str = "float inference") -> float:
        """The median over rounds of what the labels take together."""
        rounds = zip(*(self.seconds[label] for label in labels), strict=True)
        pairs = zip(map(sum, rounds), self.seconds[of], strict=True)
        return statistics.median(took / base for took, base in pairs)

    def _timed(self, label: str, run: Callable[[], Any]) -> Any:
        start = self.clock()
        result = run()
        self.seconds.setdefault(label, []).append(self.clock() - start)
        return result

    def _infer(self) -> None:
        from edgewise.graph import OrtSession

        session = OrtSession(self.model, optimize="all")
        for sample in self.source:
            session.run(sample.feeds)

    def _reader(self) -> Any:
        from onnxruntime.quantization import CalibrationDataReader

        samples = iter(self.source)

        class Reader(CalibrationDataReader):  # type: ignore[misc]
            def get_next(self) -> dict[str, Any] | None:
                sample = next(samples, None)
                return None if sample is None else dict(sample.feeds)

        return Reader()

    def _calibrate_static(self, method: str) -> None:
        from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

        with contextlib.redirect_stdout(io.StringIO()):  # they print
            calibrator = create_calibrator(
                self.path,
                augmented_model_path=str(self.folder / "augmented.onnx"),
                calibrate_method=getattr(CalibrationMethod, method),
            )
            calibrator.collect_data(self._reader())
            calibrator.compute_data()

    def _quantize_static(self, method: str) -> None:
        from onnxruntime.quantization import CalibrationMethod, quantize_static

        with contextlib.redirect_stdout(io.StringIO()):
            quantize_static(
                self.path,
                self.folder / "static.onnx",
                self._reader(),
                per_channel=True,
                calibrate_method=getattr(CalibrationMethod, method),
            )


def peak_megabytes(path: Path, samples: int) -> float:
    """Calibrate in a fresh process and give its peak resident set."""
    command = [sys.executable, __file__, "--child", str(samples), "--model", str(path)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def child(path: Path, samples: int) -> None:
    from edgewise.calibration import collect_statistics
    from edgewise.graph import load

    model = load(path)
    collect_statistics(model, Pictures(model, samples, keep=False))
    unit = 1 if sys.platform == "darwin" else 1024
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


def shown(contest: Contest) -> bool:
    """Print the table; whether every limit is kept."""
    base = statistics.median(contest.seconds["float inference"])
    print(f"float inference of {SAMPLES} samples: {base:.2f} s; below, times that")
    heads = (
        "ours",
        "limit",
        "all cores",
        "static",
        "faster",
        "limit",
        "with Q/DQ",
        "whole",
        "faster",
    )
    print(f"{'method':16s}" + "".join(f"{head:>10s}" for head in heads))
    kept = True
    for name in contest.methods:
        ours = contest.ratio("collect", f"ranges {name}")
        limit = MINMAX if name in ("minmax", "moving_average") else HISTOGRAM
        kept &= ours <= limit
        figures = [ours, limit]
        if name in contest.static:
            theirs, whole = contest.ratio(f"static {name}"), contest.ratio(f"whole {name}")
            wide = contest.ratio("collect, all cores", f"ranges {name}")
            both = contest.ratio("collect, all cores", f"ranges {name}", "insert")
            kept &= theirs / wide >= FASTER[name]
            figures += [wide, theirs, theirs / wide, FASTER[name], both, whole, whole / both]
        print(f"{name:16s}" + "".join(f"{figure:10.2f}" for figure in figures))
    print(f"inserting Q/DQ: {contest.ratio('insert'):.2f}")
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a hub model instead of MobileNetV2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-static", action="store_true", help="leave quantize_static out")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.build is not None:
        build_mobilenet(arguments.build)
        return 0
    if arguments.child is not None:
        child(arguments.model, arguments.child)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = arguments.model or folder / "mobilenet.onnx"
        if arguments.model is None:
            # elsewhere: a child's peak includes what its parent held when it was started
            subprocess.run([sys.executable, __file__, "--build", str(path)], check=True)
        few, many = (peak_megabytes(path, count) for count in (SAMPLES, MORE_SAMPLES))
        logging.disable(logging.CRITICAL)
        static = not arguments.no_static
        contest = Contest(path, folder, static=static, clock=arguments.clock)
        for _ in range(arguments.rounds):
            contest.round()
        kept = shown(contest)
    print(f"peak memory: {few:.0f} MB with {SAMPLES} samples, {many:.0f} MB with {MORE_SAMPLES}")
    return 0 if kept and many <= GROWTH * few else 1


if __name__ == "__main__":
    sys.exit(main())
