"""Float model in, model with integer weights and float activations out; no data is needed.

A weight W becomes integers q = round(W / s) (round to nearest) behind a DequantizeLinear that reads
them with the scales s and no zero point:

    per_channel   one scale for each output channel, max|W| of the channel / qmax
    per_block     one scale for each output channel and `block_size` values along the reduced axis;
                  where the axis is no multiple of the block, the weight falls back to per_channel

A scheme with a palette gives each weight few different values instead (see `palettes`).

Only weights of the scheme's operators are quantized: constant matrices of Gemm and MatMul, kernels
of convolutions, tables that Gather looks up, with at least `smallest_weight` values, below which
integers save nothing. All others stay as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnx_ir.passes.common as common

from edgewise.calibration.float_form import name_nodes, to_float_form
from edgewise.calibration.operands import is_float
from edgewise.calibration.palettes import mark_excluded, palettize
from edgewise.calibration.parameters import limits, symmetric_scales
from edgewise.calibration.placement import Placement, check_excluded
from edgewise.calibration.quantize import Quantized
from edgewise.calibration.scheme import IntegerType, NumberFormat, Palette, Scheme
from edgewise.calibration.weight_axes import Weight, weight_of
from edgewise.errors import ModelError, UnsupportedPrecision
from edgewise.findings import Finding
from edgewise.graph import (
    add_initializer,
    attribute,
    constant,
    forget_known_ranges,
    is_quantized_model,
    node_label,
)
from edgewise.graph.quantized import DEQUANTIZE

_DTYPES: dict[IntegerType, npt.DTypeLike] = {"int4": ml_dtypes.int4, "int8": np.int8}
#: operators whose large constants are worth a remark when they stay in float
_WEIGHTED_OPS = frozenset(
    {"Conv", "ConvTranspose", "GRU", "Gather", "Gemm", "LSTM", "MatMul", "RNN"}
)


def quantize_weights(
    model: ir.Model, scheme: Scheme, *, exclude: Collection[str] = ()
) -> Quantized:
    """Put DequantizeLinear behind the integers of every weight that the scheme quantizes, or give
    it the few values of a palette.

    Args:
        model: hub model, never changed.
        scheme: with a format for weights, or a palette, and none for activations.
        exclude: names of nodes to leave in float.

    Raises:
        UsageError: an excluded node does not exist.
        UnsupportedPrecision: the scheme quantizes activations, or wants weights of another form.
        ModelError: the model is quantized already, or nothing in it can be quantized.
    """
    number = None if scheme.palette is not None else _weight_format(scheme)
    if is_quantized_model(model):
        raise ModelError("the model is quantized already", remedy="Start from the float model.")
    work = ir.from_proto(ir.to_proto(model))
    common.ShapeInferencePass(check_type=True, strict_mode=False, data_prop=True)(work)
    name_nodes(work)
    check_excluded(work, exclude)
    chosen = frozenset(
        node.name or "" for node in work.graph if node.name not in exclude and _takes(node, scheme)
    )
    if not chosen:
        raise ModelError(
            "nothing in the model can be quantized",
            why=f"{scheme.target} {scheme.precision} stores the weights of "
            f"{' and '.join(sorted(scheme.quantized_ops))} as {_form(scheme)}, and the model has "
            f"none with {scheme.smallest_weight} values or more",
            remedy="Choose a float precision.",
        )
    findings = _remarks_on_floats(work, chosen, scheme)
    nodes = [node for node in work.graph if node.name in chosen]
    if number is not None:
        by_channel = replace(number, granularity="per_channel", block_size=0)
        products = frozenset(node.name or "" for node in nodes if node.op_type != "Gather")
        to_float_form(work, Placement(products, ()), replace(scheme, weight=by_channel))
        for node in nodes:
            findings += _quantize_weight(work.graph, node, number)
    elif scheme.palette is not None:
        _palettize_weights(work.graph, nodes, scheme.palette)
        mark_excluded(work, exclude)
    common.TopologicalSortPass()(work)
    common.ShapeInferencePass(check_type=True, strict_mode=False, data_prop=True)(work)
    forget_known_ranges(work)
    return Quantized(work, tuple(findings))


def _form(scheme: Scheme) -> str:
    return "integers" if scheme.palette is None else "tables"


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


def _takes(node: ir.Node, scheme: Scheme) -> bool:
    weight = weight_of(node) if node.op_type in scheme.quantized_ops else None
    array = None if weight is None else constant(weight.value)
    if array is None or array.size < scheme.smallest_weight:
        return False
    return bool(np.isfinite(array).all()) and attribute(node, "alpha", 1.0) != 0.0


def _palettize_weights(graph: ir.Graph, nodes: Iterable[ir.Node], palette: Palette) -> None:
    done: set[ir.Value] = set()
    for node in nodes:
        weight = weight_of(node)
        array = None if weight is None else constant(weight.value)
        if weight is None or array is None or weight.value in done:
            continue  # an earlier node of the same weight has given it its values
        few = palettize(array, weight.output, palette)
        new = add_initializer(graph, f"{weight.value.name}_palette", few)
        ir.convenience.replace_all_uses_with(weight.value, new, replace_graph_outputs=True)
        graph.initializers.pop(weight.value.name or "", None)
        done.add(new)


def _quantize_weight(graph: ir.Graph, node: ir.Node, number: NumberFormat) -> list[Finding]:
    """Rewire the node's weight to a DequantizeLinear; the first node of a shared weight does it for
    all. Gives a finding where the weight falls back."""
    weight = weight_of(node)
    array = None if weight is None else constant(weight.value)
    if weight is None or array is None:
        return []  # an earlier node of the same weight has rewired this one
    findings = []
    obstacle = _block_obstacle(array, weight.reduced, number)
    if obstacle is not None:
        message = f"its weight has one scale per channel: {obstacle}"
        findings.append(Finding("calibration/block-fallback", "info", message, node_label(node)))
        kept = number.scale_dtype if number.scale_dtype == "float16" else "float32"
        number = replace(number, granularity="per_channel", block_size=0, scale_dtype=kept)
    integers, scales = round_to_nearest(array, weight, number)
    _rewire(graph, weight, integers, scales, number)
    return findings


def _block_obstacle(
    array: npt.NDArray[Any], reduced: int | None, number: NumberFormat
) -> str | None:
    """Why a weight cannot have one scale per block; None when it can, or need not."""
    if number.granularity != "per_block":
        return None
    if reduced is None:
        return "its channels are in groups"
    if array.shape[reduced] % number.block_size:
        return (
            f"{array.shape[reduced]} values are no multiple of the block size {number.block_size}"
        )
    largest = np.array([np.abs(array).max()], np.float32)
    if not np.isfinite(symmetric_scales(largest, number)).all():
        return f"{number.scale_dtype} does not hold its scales"
    return None


def round_to_nearest(
    array: npt.NDArray[Any], weight: Weight, number: NumberFormat
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
    """Integers and scales of a weight.

    Scales have the shape (channels,), or per block that of the weight with the reduced axis divided
    by the block size. A block of a convolution takes in the whole window.
    """
    axis = array.ndim if number.granularity == "per_channel" else weight.reduced or 0
    shape = (*array.shape, 1)
    block = number.block_size or 1
    split = (*shape[:axis], shape[axis] // block, block, *shape[axis + 1 :])
    blocks = array.astype(np.float32).reshape(split)
    output = weight.output + (weight.output > axis)
    shared = tuple(i for i in range(len(split)) if i not in (output, axis))
    scales = symmetric_scales(np.abs(blocks).max(axis=shared, keepdims=True), number)
    low, high = limits(number)
    steps = np.clip(np.rint(blocks / scales), low, high)
    integers = np.ascontiguousarray(steps.reshape(array.shape).astype(_DTYPES[number.dtype]))
    if number.granularity == "per_channel":
        return integers, scales.reshape(-1)
    spread = np.broadcast_to(scales.take(0, axis + 1), (*split[: axis + 1], *split[axis + 2 :]))
    return integers, np.ascontiguousarray(spread[..., 0])


def _rewire(
    graph: ir.Graph,
    place: Weight,
    integers: npt.NDArray[Any],
    scales: npt.NDArray[np.float32],
    number: NumberFormat,
) -> None:
    weight = place.value
    readers = list(weight.uses())
    stored = add_initializer(graph, f"{weight.name}_quantized", integers)
    scale = add_initializer(graph, f"{weight.name}_scale", scales)
    attributes = [ir.AttrInt64("axis", place.output)]
    if number.granularity == "per_block" and place.reduced is not None:
        attributes = [
            ir.AttrInt64("axis", place.reduced),
            ir.AttrInt64("block_size", number.block_size),
        ]
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
            if value is not None and is_float(value) and _elements(value) >= scheme.smallest_weight
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
            f"{' and '.join(sorted(scheme.quantized_ops))} as {_form(scheme)}; w8a8 and fp16 reach"
            " more.",
        )
    ]


def _elements(value: ir.Value) -> int:
    array = constant(value)
    return 0 if array is None else int(array.size)
