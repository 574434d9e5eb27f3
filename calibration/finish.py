"""From what onnxruntime.quantization gives to the QDQ model that targets read."""

from __future__ import annotations

from collections.abc import Collection

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common

from edgewise.errors import InternalError
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE


def finish(
    proto: onnx.ModelProto, original: ir.Model, *, fused: Collection[str], markers: Collection[str]
) -> ir.Model:
    """The QDQ model: pairs inside fused operators and requantization markers gone, nodes sorted,
    shapes inferred, and the original model's description restored.

    Args:
        proto: what `insert_qdq` gave.
        original: the float model.
        fused: names of the tensors that a fused activation reads.
        markers: names of the Identity nodes that mark requantizations.
    """
    model = ir.from_proto(proto)
    nodes = {node.name: node for node in model.graph}
    for name in sorted(markers):
        _bypass(model.graph, nodes[name])
    values = {value.name: value for node in model.graph for value in node.outputs}
    for name in sorted(fused):
        _remove_pair(model.graph, values[name])
    common.RemoveUnusedNodesPass()(model)
    common.TopologicalSortPass()(model)
    _restore_description(model, original)
    infer_shapes(model)
    return model


def infer_shapes(model: ir.Model) -> None:
    """Types and shapes of what the model lacks them for, in place."""
    common.ShapeInferencePass(check_type=True, strict_mode=False, data_prop=True)(model)


def _bypass(graph: ir.Graph, identity: ir.Node) -> None:
    """DequantizeLinear -> Identity -> QuantizeLinear loses its middle."""
    source = identity.inputs[0]
    if source is None:
        raise InternalError("a requantization marker lost its input", where=str(identity.name))
    identity.outputs[0].replace_all_uses_with(source)
    graph.remove(identity, safe=True)


def _remove_pair(graph: ir.Graph, tensor: ir.Value) -> None:
    """tensor -> Q -> DQ -> activation becomes tensor -> activation."""
    quantize = [use.node for use in tensor.uses()]
    dequantize = [use.node for q in quantize for use in q.outputs[0].uses()]
    if [n.op_type for n in quantize + dequantize] != [QUANTIZE, DEQUANTIZE]:
        raise InternalError("a fused tensor is not quantized once", where=f"tensor '{tensor.name}'")
    dequantize[0].outputs[0].replace_all_uses_with(tensor)
    graph.remove([*dequantize, *quantize], safe=True)


def _restore_description(model: ir.Model, original: ir.Model) -> None:
    model.producer_name, model.producer_version = original.producer_name, original.producer_version
    model.doc_string, model.domain = original.doc_string, original.domain
    model.ir_version, model.model_version = original.ir_version, original.model_version
    model.metadata_props.clear()
    model.metadata_props.update(original.metadata_props)
    model.opset_imports.clear()
    model.opset_imports.update(original.opset_imports)
