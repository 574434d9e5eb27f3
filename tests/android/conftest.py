"""Small models, emitted and compared with ONNX Runtime, for every android test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from feed_source import FeedSource
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgewise import calibration
from edgewise.graph import OrtSession, prepare
from edgewise.targets.android import TARGET
from edgewise.targets.android.boundary import Ends
from edgewise.targets.android.legalize import legalize
from edgewise.targets.android.lower import lower
from edgewise.targets.base import Artifact, EmitOptions

Array = np.ndarray[Any, Any]


def node(op_type: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Any:
    return helper.make_node(
        op_type, list(inputs), list(outputs), name=f"n_{outputs[0]}", **attributes
    )


def model(
    nodes: Sequence[Any],
    inputs: Mapping[str, Array],
    outputs: Mapping[str, Any],
    constants: Mapping[str, Array] | None = None,
    opset: int = 21,
) -> ir.Model:
    """A model whose input types come from sample arrays; output values are numpy dtypes."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [
            helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for k, v in inputs.items()
        ],
        [
            helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(np.dtype(t)), None)
            for k, t in outputs.items()
        ],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    return ir.from_proto(proto)


def quantized(source: ir.Model, feeds: Sequence[Mapping[str, Array]], folder: Path) -> ir.Model:
    """The model through onnxruntime's own static quantization: QDQ, S8S8, per channel."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(feeds)

        def get_next(self) -> Mapping[str, Array] | None:
            return next(self._left, None)

    onnx.save(ir.to_proto(source), folder / "float.onnx")
    quantize_static(
        str(folder / "float.onnx"),
        str(folder / "qdq.onnx"),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
    )
    return ir.from_proto(onnx.load(folder / "qdq.onnx"))


@dataclass(frozen=True)
class Run:
    """What the artifact gave, what ONNX Runtime gave, and what was written."""

    artifact: Artifact
    outputs: dict[str, Array]
    expected: dict[str, Array]

    @property
    def error(self) -> float:
        """Largest difference over all outputs."""
        return max(_difference(self.outputs[k], v) for k, v in self.expected.items())

    @property
    def lsb(self) -> float:
        """Largest difference in steps of each output's scale."""
        return max(
            _difference(self.outputs[t.name], self.expected[t.name]) / (t.scale or 1e-12)
            for t in self.artifact.manifest.outputs
        )

    def rules(self) -> list[str]:
        return [finding.rule for finding in self.artifact.findings]


def _difference(found: Array, expected: Array) -> float:
    assert found.shape == expected.shape and found.dtype == expected.dtype
    if not expected.size:
        return 0.0
    return float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max())


def kinds(source: ir.Model, *, float_io: bool = False) -> list[str]:
    """The TFLite operators that a model lowers to, in order."""
    lowered = lower(*legalize(source), ends=Ends("float" if float_io else "int8"))
    assert not lowered.refusals
    return [operator.kind for operator in lowered.graph.operators]


@pytest.fixture
def execute(tmp_path: Path) -> Callable[..., Run]:
    """Emit a model, run it in LiteRT, and run the same model in ONNX Runtime, or in the ONNX
    project's reference implementation where ONNX Runtime does not know an operator or a mode."""

    def run(
        source: ir.Model,
        feeds: Mapping[str, Array],
        precision: str = "fp32",
        *,
        options: EmitOptions | None = None,
        reference: bool = False,
    ) -> Run:
        artifact = TARGET.emit(source, tmp_path / "out", precision, options=options)
        session = TARGET.open(artifact)
        outputs = session.run(feeds)
        session.close()
        if reference:
            return Run(artifact, outputs, _by_reference(source, feeds))
        expected = OrtSession(source, optimize="none").run(feeds)
        return Run(artifact, outputs, expected)

    return run


def _by_reference(source: ir.Model, feeds: Mapping[str, Array]) -> dict[str, Array]:
    names = [str(value.name) for value in source.graph.outputs]
    found = ReferenceEvaluator(ir.to_proto(source)).run(names, dict(feeds))
    return dict(zip(names, map(np.asarray, found), strict=True))


@pytest.fixture
def quantize(tmp_path: Path) -> Callable[..., ir.Model]:
    def run(source: ir.Model, *feeds: Mapping[str, Array]) -> ir.Model:
        return quantized(source, feeds, tmp_path)

    return run


def calibrated(
    source: ir.Model, feeds: Sequence[Mapping[str, Array]], precision: str = "w8a8"
) -> ir.Model:
    """The model as the scheme of this target quantizes it."""
    hub = prepare(source)
    return calibration.quantize(
        hub, calibration.collect_statistics(hub, FeedSource(feeds)), TARGET.scheme(precision)
    )


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def int8_model(
    operator: Any,
    inputs: Mapping[str, Array],
    output: tuple[float, int],
    *,
    input_parameters: Mapping[str, tuple[float, int]] | None = None,
    constants: Mapping[str, Array] | None = None,
    weights: Mapping[str, tuple[Array, Array, int]] | None = None,
    storage: Any = np.int8,
    weight_zero_point: int = 0,
    activation: tuple[str, list[str]] | None = None,
) -> ir.Model:
    """One operator between hand-made Q and DQ nodes, with chosen scales and zero points.

    Args:
        inputs: sample arrays; each one goes through Q and DQ.
        output: scale and zero point of the output, which goes through Q and DQ.
        input_parameters: per input; measured from the sample otherwise.
        constants: unquantized initializers.
        weights: name -> (integers, scales, axis), an initializer read through a DQ.
        activation: an operator and its constant inputs between the operator and its Q.
    """
    nodes, initializers = [], dict(constants or {})

    def pair(source: str, target: str, parameters: tuple[float, int]) -> None:
        initializers[f"{target}_s"] = np.float32(parameters[0])
        initializers[f"{target}_z"] = np.array(parameters[1], storage)
        names = [f"{target}_s", f"{target}_z"]
        nodes.append(node("QuantizeLinear", [source, *names], [f"{target}_q"]))
        nodes.append(node("DequantizeLinear", [f"{target}_q", *names], [target]))

    renamed = {name: f"{name}_dq" for name in inputs}
    for name, array in inputs.items():
        found = (input_parameters or {}).get(name) or measured(array, storage)
        pair(name, renamed[name], found)
    for name, (integers, scales, axis) in (weights or {}).items():
        initializers |= {
            f"{name}_int": integers,
            f"{name}_s": np.asarray(scales, np.float32),
            f"{name}_z": np.full(np.shape(scales), weight_zero_point, integers.dtype),
        }
        names = [f"{name}_int", f"{name}_s", f"{name}_z"]
        nodes.append(node("DequantizeLinear", names, [name], axis=axis))
    operator.input[:] = [renamed.get(name, name) for name in operator.input]
    result = operator.output[0]
    operator.output[0] = f"{result}_f"
    operator.name = f"n_{result}_f"
    nodes.append(operator)
    if activation is not None:
        operator.output[0] = f"{result}_raw"
        operator.name = f"n_{result}_raw"
        nodes.append(node(activation[0], [f"{result}_raw", *activation[1]], [f"{result}_f"]))
    pair(f"{result}_f", result, output)
    return model(nodes, inputs, {result: np.float32}, initializers)


def measured(array: Array, storage: Any = np.int8) -> tuple[float, int]:
    """Scale and zero point that cover an array and zero, as min-max calibration gives them."""
    limits = np.iinfo(storage)
    low, high = min(float(array.min()), 0.0), max(float(array.max()), 0.0)
    scale = (high - low) / 255 or 1.0
    return scale, int(np.clip(round(limits.min - low / scale), limits.min, limits.max))


class Kit:
    """Makers of small models, for tests that cannot import this file (import mode importlib)."""

    float_tolerance = 1e-5
    int8_tolerance = 1.001  # one step, and the float32 error of dividing by the scale

    node = staticmethod(node)
    model = staticmethod(model)
    int8_model = staticmethod(int8_model)
    measured = staticmethod(measured)
    kinds = staticmethod(kinds)
    calibrated = staticmethod(calibrated)


@pytest.fixture(scope="session")
def kit() -> Kit:
    return Kit()
