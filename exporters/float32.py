"""Models in float16, bfloat16 or float64 as models in float32.

Every target starts from float32 and chooses its own precision from there; statistics of calibration
are float32, too. Weights are the same numbers (of float64 the nearest ones), inputs and outputs are
float32 of the same names. The original still computes in its own type: it is fed with the rounded
inputs, and half the digits are expected of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from edgewise.exporters.opened import Array, OpenedModel
from edgewise.exporters.parity import HALF_TOLERANCE
from edgewise.findings import Finding

#: by type, the tolerance of the comparison; None: that of float32
_TOLERANCES: Mapping[ir.DataType, float | None] = {
    ir.DataType.BFLOAT16: 5 * HALF_TOLERANCE,  # three bits less than float16
    ir.DataType.FLOAT16: HALF_TOLERANCE,
    ir.DataType.DOUBLE: None,
}
#: attributes that name a type
_TYPES = ("dtype", "output_dtype", "to")
_Result = TypeVar("_Result")


def in_float32(opened: OpenedModel) -> OpenedModel:
    """The same for a model that has no other floats; else one on a copy."""
    if not _types(opened.model):
        return opened
    model = ir.from_proto(ir.to_proto(opened.model))
    common.InlinePass()(model)
    found = sorted(_types(model), key=list(_TOLERANCES).index)
    taken = {str(v.name): v.dtype for v in model.graph.inputs if v.dtype in _TOLERANCES}
    _widen(model)
    layers = opened.open_layers
    return replace(
        opened,
        model=model,
        open_runner=lambda: _with_own_types(opened.open_runner(), taken),
        open_layers=None if layers is None else lambda: _with_own_types(layers(), taken),
        findings=(*opened.findings, _finding(found)),
        tolerance=opened.tolerance or _TOLERANCES[found[0]],
    )


def _types(model: ir.Model) -> set[ir.DataType]:
    """The other floats among declared values, constants and types that nodes ask for."""
    graphs = [*model.graphs(), *(function.graph for function in model.functions.values())]
    found: set[ir.DataType | None] = set()
    for graph in graphs:
        values = [*graph.inputs, *graph.outputs, *graph.initializers.values()]
        for node in graph:
            values += node.outputs
            for attr in node.attributes.values():
                if attr.type == ir.AttributeType.INT and attr.name in _TYPES:
                    found.add(ir.DataType(attr.as_int()))
                elif attr.type == ir.AttributeType.TENSOR and not attr.is_ref():
                    found.add(attr.as_tensor().dtype)
        found |= {value.dtype for value in values}
    return {dtype for dtype in _TOLERANCES if dtype in found}


def _widen(model: ir.Model) -> None:
    for graph in model.graphs():
        for value in (*graph.inputs, *graph.outputs):
            _declare(value)
        for value in graph.initializers.values():
            if value.const_value is not None and value.const_value.dtype in _TOLERANCES:
                value.const_value = _as_float32(value.const_value)
            _declare(value)
        for node in graph:
            for value in node.outputs:
                _declare(value)
            for name, attr in node.attributes.items():
                if attr.type == ir.AttributeType.INT and name in _TYPES:
                    if ir.DataType(attr.as_int()) in _TOLERANCES:
                        node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.FLOAT))
                elif attr.type == ir.AttributeType.TENSOR and attr.as_tensor().dtype in _TOLERANCES:
                    node.attributes[name] = ir.AttrTensor(name, _as_float32(attr.as_tensor()))


def _declare(value: ir.Value) -> None:
    if value.dtype in _TOLERANCES:
        value.dtype = ir.DataType.FLOAT


def _as_float32(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    with np.errstate(over="ignore"):  # of float64 beyond the range: infinity, as a Cast gives
        return ir.tensor(tensor.numpy().astype(np.float32), name=tensor.name)


def _with_own_types(
    run: Callable[[Mapping[str, Array]], _Result], taken: Mapping[str, ir.DataType | None]
) -> Callable[[Mapping[str, Array]], _Result]:
    """Runs on inputs of the original's types."""

    def rounding(feeds: Mapping[str, Array]) -> _Result:
        return run(
            {
                name: array if (dtype := taken.get(name)) is None else array.astype(dtype.numpy())
                for name, array in feeds.items()
            }
        )

    return rounding


def _finding(found: list[ir.DataType]) -> Finding:
    names = " and ".join(dtype.name.lower().replace("double", "float64") for dtype in found)
    return Finding(
        "export/float32",
        "info",
        f"the source has tensors of {names}; they are float32 in the hub model, its inputs and "
        "outputs too: each target makes its own precision of that",
    )
