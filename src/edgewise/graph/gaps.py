"""What onnx leaves out when it infers shapes and upgrades models (onnx 1.23).

1. GroupNormalization and MeanVarianceNormalization have no shape inference; their output has the
   shape of their input.
2. Opset 21 gives GroupNormalization a scale and bias per channel, opset 18 has them per group. The
   version converter changes the number, but not the operands.
"""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as common

_SAME_SHAPE = ("GroupNormalization", "MeanVarianceNormalization")


def give_missing_shapes(model: ir.Model) -> bool:
    """Case 1, in place; tells whether a shape became known, from which others may follow."""
    found = False
    for node in model.graph.all_nodes():
        if node.op_type in _SAME_SHAPE and node.domain == "" and node.inputs[0] is not None:
            output, shape = node.outputs[0], node.inputs[0].shape
            if output.shape is None and shape is not None:
                output.shape = ir.Shape(list(shape))
                found = True
    return found


def repeat_group_parameters(model: ir.Model) -> None:
    """Case 2, in place, for a model of opset 18 to 20."""
    nodes = [node for node in model.graph.all_nodes() if node.op_type == "GroupNormalization"]
    if not nodes:
        return
    infer = common.ShapeInferencePass(check_type=True, strict_mode=False, data_prop=True)
    infer(model)
    while give_missing_shapes(model):
        infer(model)
    for node in nodes:
        x, groups = node.inputs[0], node.attributes["num_groups"].as_int()
        channels = None if x is None or x.shape is None else x.shape[1]
        if not isinstance(channels, int) or channels == groups or node.graph is None:
            continue
        for index in (1, 2):
            value = node.inputs[index]
            if value is not None:
                node.replace_input_with(index, _repeated(node, value, groups, channels))


def _repeated(node: ir.Node, value: ir.Value, groups: int, channels: int) -> ir.Value:
    """(groups,) as (channels,), each number as often as its group has channels."""
    graph = node.graph
    assert graph is not None
    for op_type, numbers in (
        ("Unsqueeze", [1]),
        ("Expand", [groups, channels // groups]),
        ("Reshape", [channels]),
    ):
        operand = ir.node("Constant", [], attributes={"value_ints": numbers})
        step = ir.node(op_type, [value, operand.outputs[0]])
        graph.insert_before(node, [operand, step])
        value = step.outputs[0]
    return value
