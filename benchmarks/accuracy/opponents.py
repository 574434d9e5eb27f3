"""What other tools make of the same float model and data, in a process of its own for each.

1. `onnxruntime.quantization.quantize_static` with its defaults, for each of its methods MinMax,
   Entropy and Percentile, on the hub model; the result runs in ONNX Runtime. The last two keep all
   activations of all samples in memory, so that they get as many samples as fit `_MOST_BYTES`.
2. `ai-edge-quantizer` with its recipe `static_wi8_ai8`, on the float .tflite of the same hub model,
   where the package is installed; the result runs in LiteRT.

    python -m benchmarks.accuracy.opponents TOOL FOLDER -- SOURCE --evaluation DATA ...

FOLDER is what `edgewise build` with the arguments behind `--` has written. Prints one number.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from benchmarks.source_metric import read_project

from edgewise.calibration import Statistics
from edgewise.config import Project
from edgewise.data import DataSource
from edgewise.graph import load
from edgewise.hub_data import open_for
from edgewise.plan import data_settings, metric_of
from edgewise.targets import get
from edgewise.targets.validation.baseline import observe

Arrays = dict[str, npt.NDArray[Any]]
Run = Callable[[Mapping[str, npt.NDArray[Any]]], Arrays]

_MOST_BYTES = 2_000_000_000


class Bench:
    """The float model, its calibration data and the way to its metric."""

    def __init__(self, project: Project, folder: Path) -> None:
        self.folder, self.project = folder, project
        self.hub_path = folder / "stages" / "hub.onnx"
        self.hub = load(self.hub_path)
        self.statistics = Statistics.load(folder / "stages" / "statistics.npz")

    def data(self, spec: str | None) -> DataSource:
        if spec is None:
            raise SystemExit("the command names no data")
        return open_for(self.hub, spec, data_settings(self.project.data))

    def calibration(self, most: int | None = None) -> Iterator[Arrays]:
        for sample in islice(self.data(self.project.data.calibration), most):
            yield dict(sample.feeds)

    def few(self) -> int:
        """How many samples' activations fit into `_MOST_BYTES`."""
        values = sum(tensor.count for tensor in self.statistics.tensors.values())
        return max(1, _MOST_BYTES // (4 * values // self.statistics.samples))

    def metric(self, run: Run) -> float:
        metric = metric_of(self.project.data)
        if metric is None:
            raise SystemExit("the command names no metric")
        source = self.data(self.project.data.evaluation)
        return metric.compute([observe(metric, run(sample.feeds), sample) for sample in source])


def onnxruntime(bench: Bench, method: str) -> float:
    """Case 1."""
    import onnxruntime as ort
    from onnxruntime.quantization import CalibrationMethod, quantize_static

    class Reader:
        def __init__(self, feeds: Iterator[Arrays]) -> None:
            self.get_next = lambda: next(feeds, None)

    chosen = getattr(CalibrationMethod, method)
    reader = Reader(bench.calibration(None if method == "MinMax" else bench.few()))
    quantized = bench.folder / f"onnxruntime-{method}.onnx"
    quantize_static(bench.hub_path, quantized, reader, calibrate_method=chosen)
    session = ort.InferenceSession(quantized, providers=["CPUExecutionProvider"])
    names = [str(value.name) for value in bench.hub.graph.outputs]
    inputs = {value.name for value in session.get_inputs()}

    def run(feeds: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        found = session.run(names, {key: feeds[key] for key in inputs})
        return dict(zip(names, found, strict=True))

    return bench.metric(run)


def ai_edge_quantizer(bench: Bench) -> float:
    """Case 2."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    floating = get("android").emit(bench.hub, bench.folder / "ai-edge", "fp32").path
    tool = quantizer.Quantizer(str(floating), recipe.static_wi8_ai8())
    runner = Interpreter(model_path=str(floating)).get_signature_runner()
    wanted = {key: tuple(value["shape"]) for key, value in runner.get_input_details().items()}
    (key,) = Interpreter(model_path=str(floating)).get_signature_list()
    samples = [_arranged(feeds, wanted) for feeds in bench.calibration()]
    result = tool.quantize(tool.calibrate({key: samples}, num_threads=1))
    quantized = Interpreter(model_content=bytes(result.quantized_model), num_threads=1)
    signature = quantized.get_signature_runner()

    def run(feeds: Mapping[str, npt.NDArray[Any]]) -> Arrays:
        found = signature(**_converted(_arranged(feeds, wanted), signature.get_input_details()))
        details = signature.get_output_details()
        return {
            str(value.name): _hub_order(_real(found[value.name], details[value.name]), value)
            for value in bench.hub.graph.outputs
        }

    return bench.metric(run)


def _arranged(feeds: Mapping[str, npt.NDArray[Any]], wanted: Mapping[str, Any]) -> Arrays:
    """Channels last where the file has them so."""
    arranged = {}
    for name, shape in wanted.items():
        array = feeds[name]
        if array.shape != shape and array.ndim == 4:
            array = array.transpose(0, 2, 3, 1)
        arranged[name] = np.ascontiguousarray(
            array.astype(np.int32, copy=False) if array.dtype == np.int64 else array
        )
    return arranged


def _converted(feeds: Arrays, details: Mapping[str, Any]) -> Arrays:
    """In the type that the quantized file reads."""
    found = {}
    for name, array in feeds.items():
        scale, zero = details[name]["quantization"]
        dtype = details[name]["dtype"]
        if scale and dtype != array.dtype:
            limits = np.iinfo(dtype)
            array = np.clip(np.rint(array / scale) + zero, limits.min, limits.max).astype(dtype)
        found[name] = array
    return found


def _real(array: npt.NDArray[Any], detail: Mapping[str, Any]) -> npt.NDArray[Any]:
    scale, zero = detail["quantization"]
    if array.dtype == np.float32 or not scale:
        return array
    return ((array.astype(np.float32) - zero) * scale).astype(np.float32)


def _hub_order(array: npt.NDArray[Any], value: ir.Value) -> npt.NDArray[Any]:
    shape = () if value.shape is None else tuple(value.shape)
    if array.ndim == 4 and all(isinstance(size, int) for size in shape[1:]):
        wanted = tuple(int(size) for size in shape[1:] if isinstance(size, int))
        if array.shape[1:] != wanted and array.transpose(0, 3, 1, 2).shape[1:] == wanted:
            return array.transpose(0, 3, 1, 2)
    return array


TOOLS: Mapping[str, Callable[[Bench], float]] = {
    "ORT MinMax": lambda bench: onnxruntime(bench, "MinMax"),
    "ORT Entropy": lambda bench: onnxruntime(bench, "Entropy"),
    "ORT Percentile": lambda bench: onnxruntime(bench, "Percentile"),
    "ai-edge-quantizer": ai_edge_quantizer,
}


def main() -> None:
    tool, folder, dashes, *arguments = sys.argv[1:]
    if dashes != "--":
        raise SystemExit(__doc__)
    print(TOOLS[tool](Bench(read_project(arguments), Path(folder))))


if __name__ == "__main__":
    main()
