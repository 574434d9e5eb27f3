"""Which node tests of the ONNX project are run, and which of their inputs become constants.

Taken: models of one node of the domain ai.onnx, whose tensors are all of a type that the target's
kernels compute with. Left out: training, random numbers, sequences, optionals, decoding of image
files, what asks for a locale of the machine (StringNormalizer), and the tests that hold the body of
a function spread out.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

_COMMON = frozenset({"float32", "int32", "int64", "int8", "uint8", "bool"})
_OTHERS = {"float16", "float64", "int16", "object", "uint16", "uint32", "uint64"}
#: target -> types of its tensors
DTYPES = {"android": _COMMON, "apple": _COMMON, "arm": _COMMON | _OTHERS}
LEFT_OUT = frozenset({"Bernoulli", "ImageDecoder", "Multinomial", "Optional", "StringNormalizer"})

#: operator -> inputs that a deployed model holds as constants: weights, axes, shapes, bounds
PARAMETERS: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,),
    "BatchNormalization": (1, 2, 3, 4),
    "BlackmanWindow": (0,),
    "CausalConvWithState": (1, 2),
    "CenterCropPad": (1,),
    "Clip": (1, 2),
    "Col2Im": (1, 2),
    "Compress": (1,),
    "ConstantOfShape": (0,),
    "Conv": (1, 2),
    "ConvInteger": (1, 2, 3),
    "ConvTranspose": (1, 2),
    "CumProd": (1,),
    "CumSum": (1,),
    "DFT": (1, 2),
    "DeformConv": (1, 3),
    "DequantizeLinear": (1, 2),
    "Dropout": (1, 2),
    "Expand": (1,),
    "GRU": (1, 2, 3),
    "Gemm": (1, 2),
    "GroupNormalization": (1, 2),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "InstanceNormalization": (1, 2),
    "LSTM": (1, 2, 3, 7),
    "LayerNormalization": (1, 2),
    "Loop": (0, 1),
    "MatMulInteger": (1, 2, 3),
    "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1, 2, 3, 4),
    "NonMaxSuppression": (2, 3, 4),
    "OneHot": (1, 2),
    "PRelu": (1,),
    "Pad": (1, 2, 3),
    "QLinearConv": (1, 2, 3, 4, 5, 6, 7, 8),
    "QLinearMatMul": (1, 2, 3, 4, 5, 6, 7),
    "QuantizeLinear": (1, 2),
    "RMSNormalization": (1,),
    "RNN": (1, 2, 3),
    "Range": (0, 1, 2),
    "ReduceL1": (1,),
    "ReduceL2": (1,),
    "ReduceLogSum": (1,),
    "ReduceLogSumExp": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceProd": (1,),
    "ReduceSum": (1,),
    "ReduceSumSquare": (1,),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "STFT": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Trilu": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}


@dataclass(frozen=True)
class Case:
    """A model whose inputs are only data, with arrays for them and what must come out."""

    name: str
    operator: str
    model: onnx.ModelProto
    feeds: dict[str, np.ndarray[Any, Any]]
    expected: dict[str, np.ndarray[Any, Any]]
    rtol: float
    atol: float


def cases(target: str) -> Iterator[Case]:
    """Every test selected for a target with its first data set, in the ONNX project's order."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():  # making the data divides by zero on purpose
        warnings.simplefilter("ignore", RuntimeWarning)
        tests = load_model_tests(kind="node")
    for test in tests:
        if test.model is not None and test.data_sets and _is_selected(test.model, target):
            yield _case(test)


def _is_selected(model: onnx.ModelProto, target: str) -> bool:
    graph = model.graph
    if len(graph.node) != 1:
        return False
    node = graph.node[0]
    if node.domain not in ("", "ai.onnx") or node.op_type in LEFT_OUT or _trains(node):
        return False
    known = DTYPES[target]
    return all(_is_tensor_of_type(value, known) for value in (*graph.input, *graph.output))


def _trains(node: onnx.NodeProto) -> bool:
    """Training mode: an attribute, or the third input of Dropout."""
    if any(a.name == "training_mode" and a.i for a in node.attribute):
        return True
    return node.op_type == "Dropout" and len(node.input) > 2 and bool(node.input[2])


def _is_tensor_of_type(value: onnx.ValueInfoProto, known: frozenset[str]) -> bool:
    if not value.type.HasField("tensor_type"):
        return False
    code = value.type.tensor_type.elem_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(code) if code else None
    return dtype is not None and dtype.name in known


def _case(test: Any) -> Case:
    model = onnx.ModelProto()
    model.CopyFrom(test.model)
    graph, node = model.graph, model.graph.node[0]
    inputs, outputs = test.data_sets[0]
    arrays = {v.name: _array(a) for v, a in zip(graph.input, inputs, strict=True)}
    positions = PARAMETERS.get(node.op_type, ())
    constants = {node.input[i] for i in positions if i < len(node.input) and node.input[i]}
    kept = [value for value in graph.input if value.name not in constants]
    del graph.input[:]
    graph.input.extend(kept)
    graph.initializer.extend(
        numpy_helper.from_array(arrays[name], name) for name in sorted(constants)
    )
    return Case(
        name=test.name.removeprefix("test_"),
        operator=node.op_type,
        model=model,
        feeds={value.name: arrays[value.name] for value in kept},
        expected={v.name: _array(a) for v, a in zip(graph.output, outputs, strict=True)},
        rtol=max(test.rtol, 1e-3),
        atol=max(test.atol, 1e-5),
    )


def _array(data: Any) -> np.ndarray[Any, Any]:
    """Some tests hold messages in place of arrays."""
    return numpy_helper.to_array(data) if isinstance(data, onnx.TensorProto) else np.asarray(data)
