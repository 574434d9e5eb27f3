"""A quantized model as the float model that it stands for, and what its source chose per tensor.

Read are, in the order of the graph:
1. QuantizeLinear and DequantizeLinear around float operators (QDQ), of activations, of weights, and
   as fake quantization, see `pairs`;
2. operators that move integers, see `movers`;
3. operators on integers with scales, see `qoperators`;
4. products of integers, see `integer_products`;
5. MatMulNBits, whose weights are blocks of integers: the float matrix.

Weights come out exactly as the integers say, `(q - z) s` in float32. Rounding and saturation of
activations are left out; their scales and zero points are what comes out beside the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir
import onnx_ir.passes.common as common

from edgewise.errors import ModelError
from edgewise.exporters.quantized.constants import move_constant
from edgewise.exporters.quantized.integer_products import (
    lift_cast,
    lift_integer_product,
    lift_product_to_float,
)
from edgewise.exporters.quantized.lifting import Lifted, unsupported
from edgewise.exporters.quantized.movers import lift_mover, moves_integers, spread_through_movers
from edgewise.exporters.quantized.operands import FLOAT_OPERATORS, is_op
from edgewise.exporters.quantized.pairs import lift_dequantize, lift_dynamic, lift_quantize
from edgewise.exporters.quantized.qoperators import lift_qoperator
from edgewise.findings import Finding
from edgewise.graph import TensorQuantization, constant, node_label, prepare
from edgewise.graph.matmul_nbits import unpack_matmul_nbits

_PAIRS = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
_PRODUCTS = ("MatMulInteger", "ConvInteger")
_PRODUCTS_TO_FLOAT = ("MatMulIntegerToFloat", "DynamicQuantizeMatMul")
#: nothing else says that a model is quantized
_QUANTIZED = (*_PAIRS, *_PRODUCTS, *_PRODUCTS_TO_FLOAT, *FLOAT_OPERATORS, "MatMulNBits")
#: of ONNX Runtime, without a float form here
_UNKNOWN = (
    "DynamicQuantizeLSTM",
    "GatherBlockQuantized",
    "MatMulBnb4",
    "QAttention",
    "QEmbedLayerNormalization",
    "QMoE",
    "QOrderedMatMul",
)

#: what onnxruntime.quantization notes in the metadata of a model
_BOOKKEEPING = "onnx.infer"


@dataclass(frozen=True, slots=True)
class FloatForm:
    """The float model, and by name of its values (activations and weights) how the source stored
    them. `dynamic` tells that the source also quantizes activations with computed scales."""

    model: ir.Model
    ranges: Mapping[str, TensorQuantization]
    findings: tuple[Finding, ...]
    #: by name: the inputs and outputs of integers, which are float now
    inputs: Mapping[str, TensorQuantization]
    outputs: Mapping[str, TensorQuantization]
    dynamic: bool = False


def is_quantized_source(model: ir.Model) -> bool:
    """Whether any operator stores or reads numbers as integers with a scale."""
    return any(is_op(node, *_QUANTIZED, *_UNKNOWN) for node in model.graph.all_nodes())


def float_form(model: ir.Model) -> FloatForm:
    """The float form of a quantized model, which is never changed.

    Names of nodes, inputs, outputs and float tensors survive; integer inputs and outputs become
    float ones of the same name.

    Raises ModelError: it cannot be prepared, or integers are computed with in a way that has no
    float form.
    """
    work = prepare(model)
    work.metadata_props.pop(_BOOKKEEPING, None)
    _check_bodies(work)
    unpack_matmul_nbits(work)
    lifted = Lifted(work)
    for node in list(work.graph):
        _lift(lifted, node)
    lifted.lift_outputs()
    spread_through_movers(lifted)
    common.RemoveUnusedNodesPass()(work)
    _check_left(work, lifted)
    common.TopologicalSortPass()(work)
    initializers = set(work.graph.initializers.values())
    ranges = {
        value.name or "": known
        for value, known in lifted.known.items()
        if value.uses() or value.is_graph_output() or value in initializers
    }
    return FloatForm(
        work,
        ranges,
        (*lifted.findings, *_summary(lifted, ranges)),
        lifted.inputs,
        lifted.outputs,
        lifted.dynamic,
    )


def _lift(lifted: Lifted, node: ir.Node) -> None:
    if is_op(node, *_UNKNOWN):
        raise unsupported(node, "it computes with integers of its own")
    if is_op(node, "QuantizeLinear"):
        lift_quantize(lifted, node)
    elif is_op(node, "DequantizeLinear"):
        lift_dequantize(lifted, node)
    elif is_op(node, "DynamicQuantizeLinear"):
        lift_dynamic(lifted, node)
    elif is_op(node, *FLOAT_OPERATORS):
        lift_qoperator(lifted, node)
    elif is_op(node, *_PRODUCTS):
        lift_integer_product(lifted, node)
    elif is_op(node, *_PRODUCTS_TO_FLOAT):
        lift_product_to_float(lifted, node)
    elif moves_integers(lifted, node):
        lift_mover(lifted, node)
    elif is_op(node, "Cast") and node.inputs[0] in lifted.held:
        lift_cast(lifted, node)
    else:
        move_constant(lifted, node)


def _check_bodies(model: ir.Model) -> None:
    for node in model.graph.all_nodes():
        if node.graph is not model.graph and is_op(node, *_QUANTIZED, *_UNKNOWN):
            raise unsupported(node, "it is in the body of an If, a Loop or a Scan")


def _check_left(model: ir.Model, lifted: Lifted) -> None:
    """What still reads integers of a quantized tensor, nothing knows how to read as floats."""
    for node in model.graph.all_nodes():
        for value in node.inputs:
            if value is not None and value in lifted.held and lifted.held[value].real is not value:
                raise ModelError(
                    f"{node.op_type} reads the integers of a quantized tensor",
                    where=f"node '{node_label(node)}'",
                    why="it has no float form",
                    remedy="Give the float model that the quantized one was made from.",
                )


def _summary(lifted: Lifted, ranges: Mapping[str, TensorQuantization]) -> list[Finding]:
    known = {value for value in lifted.known if value.name in ranges}
    activations = sum(constant(value) is None for value in known)
    used = {value for value in lifted.rounded if value.uses() or value.is_graph_output()}
    weights = len(used | {value for value in known if constant(value) is not None})
    findings = [
        Finding(
            "export/quantized",
            "info",
            f"the source is quantized: {_told(weights, 'weight keeps', 'weights keep')} the "
            f"rounding that {'it' if weights < 2 else 'they'} had, in every precision, and "
            + _told(
                activations, "activation has a scale of its", "activations have scales of their"
            )
            + " own",
        )
    ]
    if lifted.dynamic:
        findings.append(
            Finding(
                "export/quantized",
                "info",
                "the source chooses scales of activations for each input; the hub model computes "
                "these in float",
                remedy="Give data to calibrate with for precisions with integer activations.",
            )
        )
    return findings


def _told(count: int, one: str, many: str) -> str:
    return f"{count or 'no'} {one if count < 2 else many}"
