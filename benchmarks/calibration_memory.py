"""Calibration must not grow with its data: peak memory at 500 samples against 20, and its speed.

Memory: each count runs in a process of its own, on a synthetic depthwise CNN whose samples are made
one at a time; the figure is the process's peak resident set. Speed: seconds per sample of plain
float inference, of `collect_statistics`, of the same followed by `quantize`, and of
`onnxruntime.quantization.quantize_static` with its MinMax and Percentile calibrators, in
alternating rounds; ratios are of the medians. Setting up the session counts on every side. Ours run
at one thread, `quantize_static` on all cores, since it offers no choice.

    python benchmarks/calibration_memory.py [--model hub.onnx] [--size 96] [--rounds 3]
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

SAMPLES = (20, 500)
LIMIT = 1.10
TIMED_SAMPLES = 32


def synthetic_model(size: int) -> Any:
    """A hub model: 3 x size x size input, ten depthwise separable blocks, ten classes."""
    import numpy as np
    import onnx_ir as ir
    from onnx import TensorProto, helper, numpy_helper

    from edgewise.graph import prepare

    random = np.random.default_rng(0)
    nodes, constants = [], []

    def constant(array: Any) -> str:
        constants.append(numpy_helper.from_array(np.float32(array), f"c{len(constants)}"))
        return f"c{len(constants) - 1}"

    low, high = constant(0), constant(6)

    def convolve(source: str, shape: tuple[int, ...], **attributes: Any) -> str:
        fan_in = shape[1] * shape[2] * shape[3]
        weight = constant(random.normal(0, fan_in**-0.5, shape))
        inputs = [source, weight, constant(np.zeros(shape[0]))]
        name = f"t{len(nodes)}"
        nodes.append(helper.make_node("Conv", inputs, [name], **attributes))
        nodes.append(helper.make_node("Clip", [name, low, high], [f"{name}_act"]))
        return f"{name}_act"

    channels = 32
    value = convolve("image", (channels, 3, 3, 3), strides=[2, 2], pads=[1] * 4)
    for _ in range(10):
        value = convolve(value, (channels, 1, 3, 3), group=channels, pads=[1] * 4)
        value = convolve(value, (channels, channels, 1, 1))
    nodes.append(helper.make_node("GlobalAveragePool", [value], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    weight = constant(random.normal(0, 1, (channels, 10)))
    nodes.append(helper.make_node("Gemm", ["flat", weight], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "synthetic",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        constants,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return prepare(ir.from_proto(proto))


class RandomSource:
    """`count` random samples for the model's first input, made when they are asked for."""

    description, fingerprint, labelled = "random", "random", False
    class_names: tuple[str, ...] = ()

    def __init__(self, model: Any, count: int) -> None:
        self.findings: list[Any] = []
        self._count = count
        self._name = model.graph.inputs[0].name
        self._shape = [d if isinstance(d, int) else 1 for d in model.graph.inputs[0].shape]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Any:
        import numpy as np

        from edgewise.data.source import Sample

        random = np.random.default_rng(1)
        for index in range(self._count):
            array = random.standard_normal(self._shape, dtype=np.float32)
            yield Sample({self._name: array}, None, str(index))


def peak_megabytes(model_path: Path, samples: int) -> float:
    """Calibrate in a fresh process and give its peak resident set."""
    command = [sys.executable, __file__, "--child", str(samples), "--model", str(model_path)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(result.stdout)


def child(model_path: Path, samples: int) -> None:
    from edgewise.calibration import collect_statistics
    from edgewise.graph import load

    model = load(model_path)
    collect_statistics(model, RandomSource(model, samples))
    unit = 1 if sys.platform == "darwin" else 1024
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


def contenders(model_path: Path, folder: Path) -> dict[str, Callable[[], None]]:
    """What is timed, each over TIMED_SAMPLES samples."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, quantize_static

    from edgewise.calibration import NumberFormat, Scheme, collect_statistics, quantize
    from edgewise.graph import OrtSession, load

    logging.disable(logging.CRITICAL)
    model = load(model_path)
    source = RandomSource(model, TIMED_SAMPLES)
    weight = NumberFormat("int8", symmetric=True, granularity="per_channel", narrow_range=True)
    scheme = Scheme(
        "benchmark",
        "w8a8",
        activation=NumberFormat("int8", symmetric=False),
        weight=weight,
        quantized_ops=frozenset({"Conv", "Clip", "GlobalAveragePool", "Flatten", "Gemm"}),
        fold_activations=True,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.samples = iter(source)

        def get_next(self) -> dict[str, Any] | None:
            sample = next(self.samples, None)
            return None if sample is None else dict(sample.feeds)

    def infer() -> None:
        session = OrtSession(model, optimize="all")
        for sample in source:
            session.run(sample.feeds)

    def static(method: Any) -> None:
        with contextlib.redirect_stdout(io.StringIO()):  # its calibrators print
            quantize_static(
                model_path, folder / "q.onnx", Reader(), per_channel=True, calibrate_method=method
            )

    return {
        "float inference": infer,
        "collect_statistics": lambda: void(collect_statistics(model, source)),
        "collect and quantize": lambda: void(
            quantize(model, collect_statistics(model, source), scheme)
        ),
        "quantize_static MinMax": lambda: static(CalibrationMethod.MinMax),
        "quantize_static Percentile": lambda: static(CalibrationMethod.Percentile),
    }


def void(_: object) -> None:
    """Drop a result."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a hub model instead of the synthetic one")
    parser.add_argument("--size", type=int, default=96, help="picture size of the synthetic model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        child(arguments.model, arguments.child)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model_path = arguments.model or folder / "synthetic.onnx"
        if arguments.model is None:
            # built elsewhere: a child's peak includes what its parent held when it was started
            build = "import sys; sys.path.insert(0, sys.argv[1]); import calibration_memory as c; "
            build += "from edgewise.graph import save; "
            build += "save(c.synthetic_model(int(sys.argv[2])), sys.argv[3])"
            here = str(Path(__file__).parent)
            command = [sys.executable, "-c", build, here, str(arguments.size), str(model_path)]
            subprocess.run(command, check=True)
        few, many = (peak_megabytes(model_path, count) for count in SAMPLES)
        for count, value in zip(SAMPLES, (few, many), strict=True):
            print(f"peak memory, {count:4d} samples    {value:7.1f} MB")
        print(f"ratio                        {many / few:7.3f}   (limit {LIMIT:.2f})")

        timed: dict[str, list[float]] = {}
        for _ in range(arguments.rounds):
            for label, run in contenders(model_path, folder).items():
                start = time.perf_counter()
                run()
                timed.setdefault(label, []).append(time.perf_counter() - start)
        base = statistics.median(timed["float inference"])
        for label, seconds in timed.items():
            median = statistics.median(seconds)
            milliseconds = median / TIMED_SAMPLES * 1000
            print(f"{label:28s} {milliseconds:7.2f} ms/sample   {median / base:6.2f} x inference")
    return 0 if many <= LIMIT * few else 1


if __name__ == "__main__":
    sys.exit(main())
