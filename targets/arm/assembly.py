"""From any model to the graph of the file, in the order in which its parts are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import onnx_ir.passes.common as common

from edgewise.errors import ModelError
from edgewise.findings import Finding
from edgewise.graph import (
    activation_dtypes,
    constant,
    forget_known_ranges,
    node_label,
    prepare,
)
from edgewise.graph.matmul_nbits import unpack_matmul_nbits
from edgewise.graph.prepare import settle
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE
from edgewise.targets.arm.fusion import island_findings, optimize_as_on_arm
from edgewise.targets.arm.global_pool import mean_to_global_pool
from edgewise.targets.arm.half import compute_in_half, store_as_half
from edgewise.targets.arm.integer_pad import pad_in_integers
from edgewise.targets.arm.kernels import take_detours
from edgewise.targets.arm.matrix_kernels import choose_matrix_kernels
from edgewise.targets.arm.options import ArmOptions, fixed_shapes
from edgewise.targets.arm.packed_products import pack_products
from edgewise.targets.arm.schemes import DEFAULT_FORMAT, FORMATS

#: of models with integer activations, in this order
_REWRITES: tuple[Callable[[ir.Model], bool], ...] = (
    mean_to_global_pool,
    pad_in_integers,
    choose_matrix_kernels,
)
#: protobuf refuses messages of 2 GiB
_MOST_BYTES = 2_100_000_000


@dataclass(frozen=True, slots=True)
class Assembled:
    """The graph as it will be written, with what its making had to say. `format` is how activations
    and weights are stored, where activations are; `mixed` where no name of `FORMATS` fits."""

    model: ir.Model
    format: str | None
    findings: tuple[Finding, ...] = ()


def prepared(model: ir.Model, chosen: ArmOptions) -> ir.Model:
    """A copy in the form that all models have, with the sizes that the options fix.

    Raises UsageError for sizes that do not fit, and ModelError for what cannot be prepared.
    """
    ready = prepare(model, input_shapes=fixed_shapes(model, chosen.shapes), batch=chosen.batch)
    if chosen.accuracy_level is not None and unpack_matmul_nbits(ready):
        settle(ready)
    take_detours(ready)
    forget_known_ranges(ready)
    return ready


def assemble(ready: ir.Model, chosen: ArmOptions) -> Assembled:
    """Rewrites a prepared model. Raises ModelError."""
    quantized = bool(activation_dtypes(ready))
    findings: list[Finding] = []
    if quantized:
        for rewrite in _REWRITES:
            rewrite(ready)
    if chosen.accuracy_level is not None:
        pack_products(ready, chosen.accuracy_level)
    if chosen.compute is not None:
        if chosen.compute == "fp16":
            compute_in_half(ready)
        findings = store_as_half(ready)
    common.RemoveUnusedNodesPass()(ready)
    _check_size(ready)
    return Assembled(ready, _format_of(ready) if quantized else None, tuple(findings))


def file_findings(assembled: Assembled, chosen: ArmOptions) -> list[Finding]:
    """What ONNX Runtime makes of the file on ARM64. Raises ModelError where it refuses it."""
    model = assembled.model
    if assembled.format is None:
        optimize_as_on_arm(model)  # raises where the runtime refuses the model
        return list(assembled.findings)
    return [*assembled.findings, *_format_findings(assembled, chosen), *island_findings(model)]


def _format_of(model: ir.Model) -> str:
    found: dict[str, set[Any]] = {"activations": set(), "weights": set()}
    for node in model.graph:
        if node.op_type == QUANTIZE:
            found["activations"].add(node.outputs[0].dtype)
        elif node.op_type == DEQUANTIZE:
            stored = constant(node.inputs[0])
            if stored is not None and stored.dtype.itemsize == 1:
                found["weights"].add(ir.DataType.from_numpy(stored.dtype))
    for name, dtypes in FORMATS.items():
        wanted = [{ir.DataType[dtype.upper()]} for dtype in dtypes]
        if found["activations"] == wanted[0] and found["weights"] <= wanted[1]:
            return name
    return "mixed"


def _format_findings(assembled: Assembled, chosen: ArmOptions) -> list[Finding]:
    wanted = chosen.format or DEFAULT_FORMAT
    if assembled.format == wanted:
        return []
    activation = ir.DataType[FORMATS[wanted][0].upper()]
    odd = [
        node
        for node in assembled.model.graph
        if node.op_type == QUANTIZE and node.outputs[0].dtype is not activation
    ]
    return [
        Finding(
            f"arm/not-{wanted}",
            "warning",
            f"activations and weights are {assembled.format}, not {wanted}: which is fastest is a "
            "matter of the core, and other forms than those of the target were not verified",
            node=node_label(odd[0]) if odd else "",
            remedy="Quantize with the scheme of the arm target, and the same format.",
        )
    ]


def _check_size(model: ir.Model) -> None:
    needed = sum(
        value.const_value.nbytes
        for value in model.graph.initializers.values()
        if value.const_value is not None and value.dtype is not ir.DataType.STRING
    )
    if needed > _MOST_BYTES:
        raise ModelError(
            "the model is too large for one ONNX file",
            why=f"its constants take {needed / 2**30:.2f} GiB of at most 2",
            remedy="Ask for precision fp16, w8 or w4, or split the model.",
        )
