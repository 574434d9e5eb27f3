"""The one place that calls onnxruntime.quantization.

Its QDQQuantizer walks the graph and decides with one class per operator where Q and DQ go, and
how weights and biases are stored. It is steered with what it offers:
1. `nodes_to_quantize` limits it to the placed nodes. A Relu or Clip in that list whose input has no
   other reader is removed, so only the ones to fold are in it.
2. `TensorQuantOverrides` prescribes scale and zero point of every activation and weight.
3. `quantize_activation_tensor` marks the tensors of placed nodes before the walk, since some
   operator classes quantize a node only where they find its input marked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from edgewise.calibration.scheme import IntegerType, NumberFormat, QuantParams
from edgewise.calibration.weights import WeightParameters
from edgewise.errors import InternalError

#: dtype -> member of onnxruntime.quantization.QuantType
INTEGER_TYPES: Mapping[IntegerType, str] = {
    "int8": "QInt8",
    "uint8": "QUInt8",
    "int16": "QInt16",
    "uint16": "QUInt16",
}


@dataclass(frozen=True, slots=True)
class Steering:
    """Everything that onnxruntime.quantization is told.

    `mark` lists activations to quantize beyond what the operator classes find; `parameters` covers
    every activation of the model, float constants among them.
    """

    activation: NumberFormat
    weight: NumberFormat
    nodes: tuple[str, ...]
    mark: tuple[str, ...]
    parameters: Mapping[str, QuantParams]
    weights: Mapping[str, WeightParameters]


def insert_qdq(proto: onnx.ModelProto, steering: Steering) -> onnx.ModelProto:
    """Insert Q and DQ; consumes `proto`, whose value_info must give the type of every tensor.

    Raises:
        InternalError: onnxruntime.quantization refused the plan.
    """
    with _quiet():
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.calibrate import TensorData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        types = {name: getattr(QuantType, enum) for name, enum in INTEGER_TYPES.items()}
        # The quantizer would otherwise write the model to a temporary folder to infer its shapes.
        proto.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")
        unused = TensorData(lowest=np.float32(0.0), highest=np.float32(1.0))
        wanted = set(steering.nodes)
        try:
            quantizer = QDQQuantizer(
                proto,
                per_channel=steering.weight.granularity == "per_channel",
                reduce_range=False,
                weight_qType=types[steering.weight.dtype],
                activation_qType=types[steering.activation.dtype],
                tensors_range=dict.fromkeys(steering.parameters, unused),
                nodes_to_quantize=list(steering.nodes),
                nodes_to_exclude=[],
                op_types_to_quantize=sorted(
                    {node.op_type for node in proto.graph.node if node.name in wanted}
                ),
                extra_options={
                    "ActivationSymmetric": steering.activation.symmetric,
                    "WeightSymmetric": steering.weight.symmetric,
                    "TensorQuantOverrides": _overrides(steering),
                },
            )
            for name in steering.mark:
                quantizer.quantize_activation_tensor(name)
            result = quantizer.quantize_model()
        except Exception as error:  # it raises ValueError, TypeError, AssertionError and more
            raise InternalError(
                "onnxruntime.quantization refused the plan", why=f"{type(error).__name__}: {error}"
            ) from error
    if not isinstance(result, onnx.ModelProto):
        raise InternalError("onnxruntime.quantization gave no model")
    return result


def _overrides(steering: Steering) -> dict[str, list[dict[str, Any]]]:
    overrides = {
        name: [_override(parameters, steering.activation)]
        for name, parameters in steering.parameters.items()
    }
    for name, weight in steering.weights.items():
        axis = {} if weight.axis is None else {"axis": weight.axis}
        overrides[name] = [
            _override(channel, steering.weight) | axis for channel in weight.channels
        ]
    return overrides


def _override(parameters: QuantParams, number: NumberFormat) -> dict[str, Any]:
    return {
        "scale": np.array(parameters.scale, np.float32),
        "zero_point": np.array(parameters.zero_point, number.dtype),
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the root logger, which that package writes to, and leave it as it was."""
    root = logging.getLogger()
    silent = logging.NullHandler()
    disabled = root.manager.disable
    root.addHandler(silent)  # without a handler, logging.warning would install one for good
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(disabled)
        root.removeHandler(silent)
