"""Proof that the bytes of a file hold the quantization of the QDQ model they were made from.

The bytes are parsed again and compared with the QDQ model as it was before any rewriting:
1. each QuantizeLinear and DequantizeLinear of an activation has the scale and the zero point that
   the QDQ model has at the tensor of that name, or, where a rewrite named it anew, some pair of it;
2. each quantized weight and bias is there, with its integers, scales, zero points, axis and blocks,
   behind DequantizeLinear or packed in a product, and read by the operator that it belongs to;
3. an operator with weights reads the tensors, and is followed by the quantization, that it has in
   the QDQ model; outputs of the graph come from the tensors that they come from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from edgewise.errors import InternalError
from edgewise.graph import TensorQuantization, constant, consumers, quantization_of
from edgewise.graph.matmul_nbits import unpack_matmul_nbits
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE
from edgewise.targets.arm.packed_products import DYNAMIC

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Stored:
    """A quantized constant."""

    integers: Array
    quantization: TensorQuantization

    def values(self) -> Array:
        """What the integers stand for, exactly."""
        return self.quantization.dequantize(self.integers)


@dataclass(frozen=True, slots=True)
class Promises:
    """What the file must keep. Tensors go by the names that they have in float."""

    #: by tensor; one that is quantized twice has both
    activations: dict[str, list[TensorQuantization]] = field(default_factory=dict)
    #: by the node that reads it and the position there
    weights: dict[tuple[str, int], Stored] = field(default_factory=dict)
    #: by the node with weights, or the output: the tensor that each activation comes from
    sources: dict[tuple[str, int], str] = field(default_factory=dict)
    #: by node with weights: the quantization behind it
    results: dict[str, TensorQuantization] = field(default_factory=dict)
    #: name of the stored integers of an activation -> name of the tensor
    float_names: dict[str, str] = field(default_factory=dict)

    @property
    def tensors(self) -> frozenset[str]:
        return frozenset(self.sources.values()) | frozenset(self.activations)


def promises_of(model: ir.Model) -> Promises:
    """What a QDQ model asks of a file; of a float model, next to nothing."""
    promises = Promises()
    for node in model.graph:
        if node.op_type == QUANTIZE and constant(node.inputs[0]) is None:
            promises.float_names[str(node.outputs[0].name)] = str(node.inputs[0].name)  # type: ignore[union-attr]
    for name, found in _activations(model.graph, promises.float_names):
        promises.activations.setdefault(name, []).append(found)
    for node in model.graph:
        stored = dict(_weights(node))
        for index, weight in stored.items():
            promises.weights[str(node.name), index] = weight
        if stored:
            promises.sources.update(_sources(node, promises.float_names))
            result = _result(node)
            if result is not None:
                promises.results[str(node.name)] = result
    promises.sources.update(_output_sources(model.graph, promises.float_names))
    return promises


def verify_file(content: bytes, promises: Promises) -> None:
    """Raises InternalError, naming the tensor or node, for the first promise that is broken."""
    model = ir.from_proto(onnx.load_model_from_string(content))
    _type_products(model)
    unpack_matmul_nbits(model)
    graph = model.graph
    pairs = [pair for found in promises.activations.values() for pair in found]
    for name, found in _activations(graph, promises.float_names):
        wanted = promises.activations.get(name, pairs)
        if not any(found.same_as(pair) for pair in wanted):
            _broken(f"tensor '{name}'", "another scale or zero point")
    nodes = {str(node.name): node for node in graph}
    for (name, index), stored in promises.weights.items():
        node = nodes.get(name)
        here = None if node is None else dict(_weights(node)).get(index)
        if here is None or not _same(here, stored):
            _broken(f"node '{name}'", f"another weight as input {index}")
    for name, wanted_result in promises.results.items():
        result = _result(nodes[name])
        if result is not None and not result.same_as(wanted_result):
            _broken(f"node '{name}'", "another quantization of its output")
    _check_sources(graph, promises)


def _type_products(model: ir.Model) -> None:
    """The types that `unpack_matmul_nbits` looks at, where the file does not tell them."""
    for node in model.graph:
        if node.op_type == "MatMulNBits" and node.inputs[0] is not None:
            node.inputs[0].dtype = node.inputs[0].dtype or ir.DataType.FLOAT


def _check_sources(graph: ir.Graph, promises: Promises) -> None:
    found = _output_sources(graph, promises.float_names)
    for node in graph:
        if any((str(node.name), index) in promises.weights for index in range(len(node.inputs))):
            found.update(_sources(node, promises.float_names))
    known = promises.tensors
    for key, source in found.items():
        wanted = promises.sources.get(key)
        if wanted is not None and source != wanted and source in known:
            _broken(f"'{key[0]}'", f"tensor '{source}' where '{wanted}' belongs")


def _activations(
    graph: ir.Graph, float_names: dict[str, str]
) -> Iterator[tuple[str, TensorQuantization]]:
    """Every quantization of a computed tensor, by the tensor's name in float."""
    for node in graph:
        value = node.inputs[0] if node.inputs else None
        if node.op_type in (QUANTIZE, DEQUANTIZE) and value is not None and constant(value) is None:
            name = str(value.name)
            yield float_names.get(name, name), quantization_of(node)


def _weights(node: ir.Node) -> Iterator[tuple[int, Stored]]:
    if node.op_type in (QUANTIZE, DEQUANTIZE):
        return
    if node.op_type == DYNAMIC:
        integers, scale = constant(node.inputs[1]), constant(node.inputs[2])
        if integers is not None and scale is not None:
            zero = np.zeros(scale.shape, integers.dtype)
            yield 1, Stored(integers, TensorQuantization(scale, zero, 1 if scale.ndim else None))
        return
    for index, value in enumerate(node.inputs):
        source = None if value is None else value.producer()
        if source is None or source.op_type != DEQUANTIZE:
            continue
        integers = constant(source.inputs[0])
        if integers is not None:
            yield index, Stored(integers, quantization_of(source))


def _sources(node: ir.Node, float_names: dict[str, str]) -> dict[tuple[str, int], str]:
    """The tensor behind each input that is no constant."""
    found = {}
    for index, value in enumerate(node.inputs):
        source = _origin(value, float_names)
        if source is not None:
            found[str(node.name), index] = source
    return found


def _output_sources(graph: ir.Graph, float_names: dict[str, str]) -> dict[tuple[str, int], str]:
    found = {}
    for index, value in enumerate(graph.outputs):
        source = _origin(value, float_names)
        if source is not None:
            found[f"output {value.name}", index] = source
    return found


def _origin(value: ir.Value | None, float_names: dict[str, str]) -> str | None:
    """The float tensor that a value was before it was quantized; None for a constant."""
    while value is not None:
        node = value.producer()
        if node is None or node.op_type not in (QUANTIZE, DEQUANTIZE):
            break
        value = node.inputs[0]
    if value is None or constant(value) is not None:
        return None
    return float_names.get(str(value.name), str(value.name))


def _result(node: ir.Node) -> TensorQuantization | None:
    """Of the only QuantizeLinear behind a node; None where there is another reader."""
    readers = consumers(node.outputs[0])
    if len(readers) != 1 or readers[0].op_type != QUANTIZE:
        return None
    return quantization_of(readers[0])


def _same(found: Stored, wanted: Stored) -> bool:
    """The same integers and parameters; or, where packing spread them over blocks or turned the
    matrix around, the same values from the same number of bits."""
    if found.quantization.same_as(wanted.quantization):
        return np.array_equal(found.integers, wanted.integers)
    if found.integers.dtype.itemsize != wanted.integers.dtype.itemsize:
        return False
    values, wished = found.values(), wanted.values()
    return np.array_equal(values, wished) or np.array_equal(values, wished.T)


def _broken(where: str, what: str) -> NoReturn:
    raise InternalError(
        "the finished file does not hold what the QDQ model says",
        where=where,
        why=f"it has {what}",
        remedy="Please report this with the model.",
    )
