"""The network that is trained: the target's QDQ model, computed by torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from edgewise.calibration.parameters import limits
from edgewise.calibration.scheme import QMAX, QMIN, NumberFormat
from edgewise.calibration.weight_search import least_error_magnitudes
from edgewise.errors import ModelError, UsageError
from edgewise.graph import constant, node_label, quantization_of
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE
from edgewise.qat.fake_quantize import (
    LearnedScale,
    QuantizedActivation,
    QuantizedWeight,
    round_to_steps,
)
from edgewise.qat.operators import OPERATORS, as_sequence, as_tensor
from edgewise.qat.template import Bias, Group, Template, Weight

#: see `edgewise.calibration.weights`
_LARGEST_BIAS = 2.0**30


@dataclass(frozen=True, slots=True)
class _Step:
    """One node: names of what it reads ("" for nothing) and gives."""

    kind: str
    attributes: dict[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    label: str


class QuantizedNetwork(nn.Module):
    """Computes what the integers of the target will, with gradients.

    `forward` takes the inputs of the hub model, in order or by name, and gives its output, or a
    tuple of them. Parameters are the float weights and biases, and the logarithms of the learned
    scales, which `scales()` gives on their own. Batch normalization is folded into the layers, with
    the statistics that it had. Training and evaluation mode are the same.
    """

    def __init__(self, template: Template, weight_bits: int) -> None:
        super().__init__()
        self.template = template
        scheme = template.scheme
        if scheme.activation is None or scheme.weight is None:
            raise ValueError("the scheme has no integer activations")
        self._weight_keys = {key: i for i, key in enumerate(template.weights)}
        self._bias_keys = {key: i for i, key in enumerate(template.biases)}
        self._vector_keys = {name: i for i, name in enumerate(template.vectors)}
        self._group_keys = {key: i for i, key in enumerate(template.groups)}
        self.activations = nn.ModuleList(
            _activation(group, scheme.activation) for group in template.groups.values()
        )
        self.weights = nn.ModuleList(
            _weight(weight, scheme.weight, weight_bits) for weight in template.weights.values()
        )
        self.biases = nn.ParameterList(as_tensor(b.values) for b in template.biases.values())
        self.vectors = nn.ParameterList(as_tensor(v) for v in template.vectors.values())
        self._steps = [_step(node) for node in template.model.graph]
        self._inputs = [value.name or "" for value in template.model.graph.inputs]
        self._outputs = [value.name or "" for value in template.model.graph.outputs]
        self._constants = self._register_constants()

    def forward(self, *inputs: Tensor, **named: Tensor) -> Tensor | tuple[Tensor, ...]:
        """See the class. Raises UsageError where inputs are missing, or unknown."""
        values = self._given(inputs, named)
        for name, index in self._vector_keys.items():
            values[name] = self.vectors[index]
        for name, buffer in self._constants.items():
            values[name] = getattr(self, buffer)
        for step in self._steps:
            results = self._run(step, values)
            values.update(zip(step.outputs, results, strict=False))
        outputs = tuple(values[name] for name in self._outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def scales(self) -> list[nn.Parameter]:
        """The logarithms of the learned scales, for an optimizer that gives them another rate."""
        found = [m.log2_change for m in self.modules() if isinstance(m, LearnedScale)]
        return [parameter for parameter in found if parameter.requires_grad]

    def scale_of(self, key: str) -> Tensor:
        """The scale of a group of activations, shape ()."""
        activation = self.activations[self._group_keys[key]]
        assert isinstance(activation, QuantizedActivation)
        scale: Tensor = activation.scale()
        return scale

    def weight_and_scale(self, key: str) -> tuple[QuantizedWeight, Tensor]:
        """A weight, and its scale at present, one or one per channel."""
        weight = self._weight(key)
        return weight, weight.scale(self._floor(key))

    def _weight(self, key: str) -> QuantizedWeight:
        weight = self.weights[self._weight_keys[key]]
        assert isinstance(weight, QuantizedWeight)
        return weight

    def bias(self, key: str) -> Tensor:
        """The float values of a bias."""
        bias: Tensor = self.biases[self._bias_keys[key]]
        return bias

    def vector(self, name: str) -> Tensor:
        """A trained float constant."""
        vector: Tensor = self.vectors[self._vector_keys[name]]
        return vector

    def _given(self, inputs: Sequence[Tensor], named: dict[str, Tensor]) -> dict[str, Tensor]:
        values = {**dict(zip(self._inputs, inputs, strict=False)), **named}
        if len(inputs) + len(named) != len(self._inputs) or set(values) != set(self._inputs):
            names = ", ".join(self._inputs)
            raise UsageError(f"the network takes {names}", why="inputs are missing, or unknown")
        return values

    def _run(self, step: _Step, values: dict[str, Tensor]) -> Sequence[Tensor]:
        key = step.outputs[0]
        if key in self._weight_keys:
            return [self._weight(key)(self._floor(key))]
        if key in self._bias_keys:
            return [self._rounded_bias(key)]
        if step.kind == QUANTIZE:
            group = self._group_keys[self.template.pairs[key]]
            return [self.activations[group](values[step.inputs[0]])]
        if step.kind == DEQUANTIZE:
            return [values[step.inputs[0]]]
        read = [values[name] if name else None for name in step.inputs]
        try:
            return as_sequence(OPERATORS[step.kind](step.attributes, *read))
        except ModelError as error:
            raise ModelError(str(error.what), where=f"node '{step.label}'") from error

    def _floor(self, key: str) -> Tensor | None:
        """The least scale of a weight with which the bias fits into half of int32."""
        floors = [
            self.bias(name).detach().abs() / (_LARGEST_BIAS * self.scale_of(bias.group).detach())
            for name, bias in self.template.biases.items()
            if bias.weight == key
        ]
        if not floors:
            return None
        floor = torch.stack([f.max() for f in floors]).max()
        weight = self._weight(key)
        if weight.axis is None or len(floors) > 1:
            return floor
        return floors[0] if floors[0].numel() == weight.scale.initial.numel() else floor

    def _rounded_bias(self, key: str) -> Tensor:
        bias: Bias = self.template.biases[key]
        step = self.scale_of(bias.group) * self.weight_and_scale(bias.weight)[1]
        largest = int(np.iinfo(np.int32).max)
        return round_to_steps(self.bias(key), step.detach(), -largest, largest)

    def _register_constants(self) -> dict[str, str]:
        """Constants that stay: by name, the buffer that holds them."""
        found: dict[str, str] = {}
        read = {name for step in self._steps for name in step.inputs if name}
        trained = self._weight_keys.keys() | self._bias_keys.keys()
        for name, value in self.template.model.graph.initializers.items():
            array = constant(value)
            if name in read and name not in self._vector_keys and array is not None:
                found[name] = f"constant_{len(found)}"
                self.register_buffer(found[name], as_tensor(array), persistent=False)
        for node in self.template.model.graph:
            stored = constant(node.inputs[0]) if node.op_type == DEQUANTIZE else None
            key = node.outputs[0].name or ""
            if stored is not None and key not in trained:
                real = quantization_of(node).dequantize(stored)
                source = node.inputs[0].name or "" if node.inputs[0] else ""
                self.register_buffer(found[source], as_tensor(real), persistent=False)
        return found


def _activation(group: Group, number: NumberFormat) -> QuantizedActivation:
    found = group.quantization
    zero_point = int(found.zero_point)
    low, high = QMIN[number.dtype] - zero_point, QMAX[number.dtype] - zero_point
    half = number.scale_dtype == "float16"
    return QuantizedActivation(
        LearnedScale(found.scale, half=half, learned=group.learned, ceiling=group.ceiling),
        low,
        high,
    )


def _weight(weight: Weight, number: NumberFormat, bits: int) -> QuantizedWeight:
    found = weight.quantization
    limit = min(limits(number)[1], 2 ** (bits - 1) - 1) if QMIN[number.dtype] < 0 else 127
    scale, axis = found.scale, None if found.per_tensor else found.axis
    if limit < 127:
        magnitudes = least_error_magnitudes(weight.values, axis, limit)
        dead = magnitudes <= 0.0
        scale = (magnitudes / limit).astype(np.float32).reshape(found.scale.shape)
        scale = np.where(dead.reshape(scale.shape), found.scale, scale)
    half = number.scale_dtype == "float16"
    return QuantizedWeight(weight.values, LearnedScale(scale, half=half, learned=True), axis, limit)


def _step(node: ir.Node) -> _Step:
    if node.op_type not in (*OPERATORS, QUANTIZE, DEQUANTIZE) or node.domain not in ("", "ai.onnx"):
        raise ModelError(
            f"{node.op_type} cannot be trained",
            where=f"node '{node_label(node)}'",
            why="it has no torch form here",
            remedy="Train the part of the model in front of it.",
        )
    attributes = {name: _plain(attribute) for name, attribute in node.attributes.items()}
    return _Step(
        node.op_type,
        attributes,
        tuple("" if value is None else value.name or "" for value in node.inputs),
        tuple(value.name or "" for value in node.outputs),
        node_label(node),
    )


def _plain(attribute: Any) -> Any:
    value = attribute.value
    return list(value) if isinstance(value, tuple | list) else value
