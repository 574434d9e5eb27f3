"""Float model in, model with integer weights and float activations out; no data is needed.

A weight W becomes integers q = round(W / s) (round to nearest) behind a DequantizeLinear that reads
them with the scales s and no zero point:

    per_channel   one scale for each output channel, max|W| of the channel / qmax
    per_block     one scale for each output channel and `block_size` values along the reduced axis;
                  where the axis is no multiple of the block, the weight falls back to per_channel

Only weights that a kernel of the target takes are quantized: constant matrices of Gemm and MatMul
with at least `MIN_ELEMENTS` values, below which integers save nothing. All others stay as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as common

from edgewise.calibration.float_form import name_nodes, to_float_form
from edgewise.calibration.operands import channel_axis, inputs_of_role, is_float
from edgewise.calibration.parameters import limits, symmetric_scales
from edgewise.calibration.placement import Placement, check_excluded
from edgewise.calibration.quantize import Quantized
from edgewise.calibration.scheme import IntegerType, NumberFormat, Scheme
from edgewise.errors import ModelError, UnsupportedPrecision
from edgewise.findings import Finding
from edgewise.graph import add_initializer, attribute, constant, is_quantized_model, node_label
from edgewise.graph.quantized import DEQUANTIZE

MIN_ELEMENTS = 256
_DTYPES: dict[IntegerType, npt.DTypeLike] = {"int4": ml_dtypes.int4, "int8": np.int8}
#: operators whose large constants are worth a remark when they stay in float
_WEIGHTED_OPS = frozenset(
    {"Conv", "ConvTranspose", "GRU", "Gather", "Gemm", "LSTM", "MatMul", "RNN"}
)


def quantize_weights(
    model: ir.Model, scheme: Scheme, *, exclude: Collection[str] = ()
) -> Quantized:
    """Put DequantizeLinear behind the integers of every weight that the scheme quantizes.

    Args:
        model: hub model, never changed.
        scheme: with a format for weights and none for activations.
        exclude: names of nodes to leave in float.

    Raises:
        UsageError: an excluded node does not exist.
        UnsupportedPrecision: the scheme quantizes activations, or wants weights of another form.
        ModelError: the model is quantized already, or nothing in it can be quantized.
    """
    number = _weight_format(scheme)
    if is_quantized_model(model):
        raise ModelError("the model is quantized already", remedy="Start from the float model.")
    work = ir.from_proto(ir.to_proto(model))
    common.ShapeInferencePass(check_type=True, strict_mode=False, data_prop=True)(work)
    name_nodes(work)
    check_excluded(work, exclude)
    chosen = frozenset(
        node.name or ""
        for node in work.graph
        if node.name not in exclude and _takes_integers(node, scheme)
    )
    if not chosen:
        raise ModelError(
            "nothing in the model can be quantized",
            why=f"{scheme.target} {scheme.precision} stores the weights of "
            f"{' and '.join(sorted(scheme.quantized_ops))} as integers, and the model has none "
            f"with {MIN_ELEMENTS} values or more",
            remedy="Choose a float precision.",
        )
    by_channel = replace(number, granularity="per_channel", block_size=0)
    to_float_form(work, Placement(chosen, ()), replace(scheme, weight=by_channel))
    findings = _remarks_on_floats(work, chosen, scheme)
    for node in work.graph:
        if node.name in chosen:
            findings += _quantize_weight(work.graph, node, number)
    common.TopologicalSortPass()(work)
    common.ShapeInferencePass(check_type=True, strict_mode=False, data_prop=True)(work)
    return Quantized(work, tuple(findings))


def _weight_format(scheme: Scheme) -> NumberFormat:
    number = scheme.weight
    if number is None or scheme.needs_statistics:
        raise UnsupportedPrecision(
            f"{scheme.target} {scheme.precision} does not quantize weights alone",
            remedy="Choose a precision such as w8 or w4.",
        )
    if number.dtype not in _DTYPES or not number.symmetric or number.granularity == "per_tensor":
        raise UnsupportedPrecision(
            f"{scheme.target} {scheme.precision} wants weights in a form that cannot be made",
            why="weights alone become symmetric int8 or int4, per channel or per block",
        )
    return number


def _takes_integers(node: ir.Node, scheme: Scheme) -> bool:
    if node.domain not in ("", "ai.onnx") or node.op_type not in scheme.quantized_ops:
        return False
    weights = inputs_of_role(node, "weight")
    array = constant(weights[0]) if len(weights) == 1 and weights[0] is node.inputs[1] else None
    if array is None or array.ndim != 2 or array.size < MIN_ELEMENTS:
        return False
    return bool(np.isfinite(array).all()) and attribute(node, "alpha", 1.0) != 0.0


def _quantize_weight(graph: ir.Graph, node: ir.Node, number: NumberFormat) -> list[Finding]:
    """Rewire the node's weight to a DequantizeLinear; the first node of a shared weight does it for
    all. Gives a finding where the weight falls back."""
    weight = node.inputs[1]
    array = constant(weight)
    if weight is None or array is None:
        return []  # an earlier node of the same weight has rewired this one
    findings = []
    axis = channel_axis(node, weight, replace(number, granularity="per_channel"))
    if axis is None:
        raise ValueError(f"the weight of '{node.name}' has no channels")
    obstacle = _block_obstacle(array, axis, number)
    if obstacle is not None:
        message = f"its weight has one scale per channel: {obstacle}"
        findings.append(Finding("calibration/block-fallback", "info", message, node_label(node)))
        number = replace(number, granularity="per_channel", block_size=0, scale_dtype="float32")
    integers, scales = round_to_nearest(array, axis, number)
    _rewire(graph, weight, integers, scales, axis, number)
    return findings


def _block_obstacle(array: npt.NDArray[Any], axis: int, number: NumberFormat) -> str | None:
    """Why a weight cannot have one scale per block; None when it can, or need not."""
    if number.granularity != "per_block":
        return None
    if array.shape[1 - axis] % number.block_size:
        return (
            f"{array.shape[1 - axis]} values are no multiple of the block size {number.block_size}"
        )
    largest = np.array([np.abs(array).max()], np.float32)
    if not np.isfinite(symmetric_scales(largest, number)).all():
        return f"{number.scale_dtype} does not hold its scales"
    return None


def round_to_nearest(
    array: npt.NDArray[Any], axis: int, number: NumberFormat
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
    """Integers of a matrix with output channels along `axis`, and scales.

    Scales have the shape (channels,), or per block that of the matrix with the other axis divided
    by the block size.
    """
    rows = np.moveaxis(array.astype(np.float32), axis, 0)
    block = number.block_size or rows.shape[1]
    blocks = rows.reshape(rows.shape[0], -1, block)
    scales = symmetric_scales(np.abs(blocks).max(axis=2), number)
    low, high = limits(number)
    steps = np.clip(np.rint(blocks / scales[..., None]), low, high)
    integers = np.moveaxis(steps.reshape(rows.shape), 0, axis).astype(_DTYPES[number.dtype])
    if number.granularity == "per_channel":
        return np.ascontiguousarray(integers), scales[:, 0]
    return np.ascontiguousarray(integers), np.ascontiguousarray(np.moveaxis(scales, 0, axis))


def _rewire(
    graph: ir.Graph,
    weight: ir.Value,
    integers: npt.NDArray[Any],
    scales: npt.NDArray[np.float32],
    axis: int,
    number: NumberFormat,
) -> None:
    readers = list(weight.uses())
    stored = add_initializer(graph, f"{weight.name}_quantized", integers)
    scale = add_initializer(graph, f"{weight.name}_scale", scales)
    attributes = [ir.AttrInt64("axis", axis)]
    if number.granularity == "per_block":
        attributes = [ir.AttrInt64("axis", 1 - axis), ir.AttrInt64("block_size", number.block_size)]
    dequantize = ir.Node(
        "",
        DEQUANTIZE,
        [stored, scale],
        attributes,
        outputs=[ir.Value(name=f"{weight.name}_dequantized", type=weight.type, shape=weight.shape)],
        name=f"{weight.name}_{DEQUANTIZE}",
    )
    graph.insert_before(graph[0], dequantize)
    for use in readers:
        use.node.replace_input_with(use.idx, dequantize.outputs[0])
    if weight.name is not None and not weight.is_graph_output():
        graph.initializers.pop(weight.name, None)


def _remarks_on_floats(model: ir.Model, chosen: Collection[str], scheme: Scheme) -> list[Finding]:
    """One finding on the weights that stay in float, with what they weigh."""
    sizes: dict[str, int] = {}
    nodes: Counter[str] = Counter()
    for node in model.graph:
        if node.name in chosen or node.op_type not in _WEIGHTED_OPS:
            continue
        large = [
            value
            for value in node.inputs
            if value is not None and is_float(value) and _elements(value) >= MIN_ELEMENTS
        ]
        nodes[node.op_type] += bool(large)
        sizes.update({value.name or "": 4 * _elements(value) for value in large})
    if not sizes:
        return []
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(nodes.items()) if count)
    return [
        Finding(
            "calibration/float-weights",
            "info",
            f"{sum(sizes.values()) / 1e6:.1f} MB of weights stay float32: {kinds}",
            remedy=f"{scheme.target} {scheme.precision} stores the weights of "
            f"{' and '.join(sorted(scheme.quantized_ops))} as integers; w8a8 and fp16 reach more.",
        )
    ]


def _elements(value: ir.Value) -> int:
    array = constant(value)
    return 0 if array is None else int(array.size)
