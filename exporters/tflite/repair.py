"""Rewrites of a file's tables, so that tf2onnx reads what LiteRT runs.

tf2onnx 1.17 takes names for identities and gets these wrong or refuses them (each found by
comparing its result with LiteRT's, see the tests):
1. tensors of one name, or without: each gets a name of its own. A tensor of the border has the
   name of the border;
2. sizes that are free in the file but not asked for: fixed;
3. FULLY_CONNECTED of an input of more than two dimensions that it flattens: the bias is lost.
   A RESHAPE before it flattens the input;
4. SOFTMAX with `beta` other than 1: the result is scaled in the place of the input. A MUL before
   it scales the input;
5. the fused activation RELU_N1_TO_1 is dropped: an operator of its own; that one and RELU_0_TO_1
   are unknown: MAXIMUM and MINIMUM;
6. weights of operators that quantize their other input at run time (`asymmetric_quantize_inputs`):
   the input stays in float, as it does for symmetric ones;
7. int4 constants: int8 ones of the same values; in blocks: float32 ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgewise.exporters.tflite.file import (
    Table,
    data,
    each_operator,
    indices,
    operator_name,
    operators,
    text,
)

_LIMITS = {"RELU_N1_TO_1": (-1.0, 1.0), "RELU_0_TO_1": (0.0, 1.0)}


def name_tensors(model: Table, border: Mapping[int, str]) -> None:
    """Case 1. `border`: the names of inputs and outputs of the first graph, by tensor."""
    taken = set(border.values())
    for number, graph in enumerate(model.subgraphs):
        graph.name = f"graph_{number}"
        for index, tensor in enumerate(graph.tensors):
            if number == 0 and index in border:
                tensor.name = border[index]
                continue
            stem = name = text(tensor.name) or f"tensor_{index}"
            count = 2
            while name in taken:
                name, count = f"{stem}_{count}", count + 1
            taken.add(name)
            tensor.name = name


def fix_sizes(graph: Table, shapes: Mapping[int, Sequence[int]]) -> None:
    """Case 2. Raises nothing: a tensor without a known shape keeps its own."""
    for index, tensor in enumerate(graph.tensors):
        tensor.shapeSignature = None
        if index in shapes:
            tensor.shape = np.asarray(shapes[index], np.int32)


def repair(model: Table) -> None:
    """Cases 3 to 7, in all graphs."""
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            _widen_int4(model, graph, tensor)
        for operator in operators(graph):
            if hasattr(operator.builtinOptions, "asymmetricQuantizeInputs"):
                operator.builtinOptions.asymmetricQuantizeInputs = False
            name = operator_name(model, operator)
            if name == "FULLY_CONNECTED":
                _flatten_input(model, graph, operator)
            elif name == "SOFTMAX":
                _scale_input(model, graph, operator)
            _separate_activation(model, graph, operator)
    for graph, operator in list(each_operator(model)):
        name = operator_name(model, operator)
        if name in _LIMITS:
            _write_limits(model, graph, operator, *_LIMITS[name])


def _flatten_input(model: Table, graph: Table, operator: Table) -> None:
    source, weights = (graph.tensors[i] for i in indices(operator.inputs)[:2])
    if operator.builtinOptions.keepNumDims or len(source.shape) == 2:
        return
    width = int(weights.shape[1])
    rows = int(np.prod(source.shape)) // width
    flat = _like(graph, source, (rows, width), "flat")
    sizes = _constant(model, graph, np.asarray([-1, width], np.int32), f"{text(source.name)}_sizes")
    options = schema.ReshapeOptionsT()
    options.newShape = [-1, width]
    _insert_before(model, graph, operator, "RESHAPE", (indices(operator.inputs)[0], sizes), flat)
    _options_of(graph, operator, -1).builtinOptions = options
    _options_of(graph, operator, -1).builtinOptionsType = schema.BuiltinOptions.ReshapeOptions


def _scale_input(model: Table, graph: Table, operator: Table) -> None:
    beta = operator.builtinOptions.beta
    if beta == 1.0:
        return
    index = indices(operator.inputs)[0]
    source = graph.tensors[index]
    scaled = _real_like(graph, source, "scaled")
    factor = _constant(model, graph, np.asarray(beta, np.float32), f"{text(source.name)}_beta")
    _insert_before(model, graph, operator, "MUL", (index, factor), scaled)
    _options_of(graph, operator, -1).builtinOptions = schema.MulOptionsT()
    _options_of(graph, operator, -1).builtinOptionsType = schema.BuiltinOptions.MulOptions
    operator.builtinOptions.beta = 1.0


def _separate_activation(model: Table, graph: Table, operator: Table) -> None:
    kind = getattr(operator.builtinOptions, "fusedActivationFunction", None)
    if kind != schema.ActivationFunctionType.RELU_N1_TO_1:
        return
    output = indices(operator.outputs)[0]
    before = _real_like(graph, graph.tensors[output], "before_activation")
    operator.outputs = np.asarray([before], np.int32)
    operator.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.NONE
    added = _operator(model, "RELU_N1_TO_1", (before,), output)
    graph.operators.insert(graph.operators.index(operator) + 1, added)


def _write_limits(model: Table, graph: Table, operator: Table, low: float, high: float) -> None:
    (source,), (output,) = indices(operator.inputs), indices(operator.outputs)
    stem = text(graph.tensors[output].name)
    raised = _real_like(graph, graph.tensors[output], "raised")
    bounds = [
        _constant(model, graph, np.asarray(bound, np.float32), f"{stem}_{side}")
        for side, bound in (("low", low), ("high", high))
    ]
    place = graph.operators.index(operator)
    maximum = _operator(model, "MAXIMUM", (source, bounds[0]), raised)
    minimum = _operator(model, "MINIMUM", (raised, bounds[1]), output)
    for added in (maximum, minimum):
        added.builtinOptions = schema.MaximumMinimumOptionsT()
        added.builtinOptionsType = schema.BuiltinOptions.MaximumMinimumOptions
    graph.operators[place : place + 1] = [maximum, minimum]


def _widen_int4(model: Table, graph: Table, tensor: Table) -> None:
    packed = data(model, tensor)
    if tensor.type != schema.TensorType.INT4 or packed is None:
        return
    count = int(np.prod(tensor.shape))
    pairs = packed.view(np.int8)
    low, high = (pairs << 4) >> 4, pairs >> 4  # the low half of a byte comes first
    numbers = np.stack([low, high], axis=-1).reshape(-1)[:count].reshape(tensor.shape)
    blocks = tensor.quantization.details
    if isinstance(blocks, schema.BlockwiseQuantizationT):
        scales = graph.tensors[blocks.scales]
        raw = data(model, scales)
        assert raw is not None
        factors = raw.view(np.float16).reshape(scales.shape).astype(np.float32)
        spread = np.repeat(factors, blocks.blockSize, axis=-1)
        _set_data(model, tensor, numbers * spread)
        tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
        return
    _set_data(model, tensor, numbers)
    tensor.type = schema.TensorType.INT8


def _like(graph: Table, tensor: Table, shape: Sequence[int], what: str) -> int:
    """A new tensor of the same type and quantization. Gives its index."""
    made = schema.TensorT()
    made.shape = np.asarray(shape, np.int32)
    made.type, made.quantization, made.buffer = tensor.type, tensor.quantization, 0
    return _add(graph, made, f"{text(tensor.name)}_{what}")


def _real_like(graph: Table, tensor: Table, what: str) -> int:
    """A new float32 tensor of the same shape: between integers it is not rounded."""
    made = schema.TensorT()
    made.shape, made.type, made.buffer = tensor.shape, schema.TensorType.FLOAT32, 0
    return _add(graph, made, f"{text(tensor.name)}_{what}")


def _constant(model: Table, graph: Table, array: npt.NDArray[Any], name: str) -> int:
    made = schema.TensorT()
    made.shape = np.asarray(array.shape, np.int32)
    made.type = schema.TensorType.INT32 if array.dtype == np.int32 else schema.TensorType.FLOAT32
    _set_data(model, made, array)
    return _add(graph, made, name)


def _set_data(model: Table, tensor: Table, array: npt.NDArray[Any]) -> None:
    """A buffer of the tensor's own: others may share the old one."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.buffer = len(model.buffers) - 1


def _add(graph: Table, tensor: Table, stem: str) -> int:
    taken = {text(other.name) for other in graph.tensors}
    name, count = stem, 2
    while name in taken:
        name, count = f"{stem}_{count}", count + 1
    tensor.name = name
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _operator(model: Table, name: str, inputs: Sequence[int], output: int) -> Table:
    code = getattr(schema.BuiltinOperator, name)
    entry = schema.OperatorCodeT()
    entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, min(code, 127), 1
    model.operatorCodes.append(entry)
    made = schema.OperatorT()
    made.opcodeIndex = len(model.operatorCodes) - 1
    made.inputs, made.outputs = np.asarray(inputs, np.int32), np.asarray([output], np.int32)
    return made


def _insert_before(
    model: Table, graph: Table, operator: Table, name: str, inputs: Sequence[int], output: int
) -> None:
    """A new operator, whose result the old one reads as its first input."""
    graph.operators.insert(graph.operators.index(operator), _operator(model, name, inputs, output))
    operator.inputs = np.asarray([output, *indices(operator.inputs)[1:]], np.int32)


def _options_of(graph: Table, operator: Table, offset: int) -> Table:
    return graph.operators[graph.operators.index(operator) + offset]
