"""QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear disappear.

1. Q of a computed tensor: the tensor itself stands for the integers.
2. Q of a constant (fake quantization of weights): a new constant, rounded to the grid.
3. DQ of constants: the constant that they stand for.
4. DQ of a tensor that something above made: the tensor that stands for it.
5. DynamicQuantizeLinear, and Q with computed scales: no range is known. The tensor stands for the
   integers, which are those of scale 1 and zero point 0: the algebra of what follows stays right.
6. DQ of other integers, such as those of a Cast: Cast, Sub and Mul, as the operator is defined.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgewise.exporters.quantized.lifting import Held, Lifted, unsupported
from edgewise.exporters.quantized.operands import is_quantized_input
from edgewise.exporters.quantized.saturation import saturated
from edgewise.graph import TensorQuantization, constant, quantization_of


def lift_quantize(lifted: Lifted, node: ir.Node) -> None:
    """Cases 1, 2 and 5."""
    source, output = node.inputs[0], node.outputs[0]
    if source is None:
        raise unsupported(node, "its input is absent")
    if constant(node.inputs[1]) is None:
        lifted.dynamic = True
        lifted.held[output] = Held(source, None)
        return
    parameters = quantization_of(node)
    array = constant(source)
    if array is not None:
        on_grid = parameters.dequantize(parameters.quantize(array.astype(np.float32)))
        source = lifted.replacement(source, on_grid)
        lifted.rounded.add(source)
    else:
        source = saturated(lifted, source, parameters)
    lifted.hold(output, source, parameters)


def lift_dequantize(lifted: Lifted, node: ir.Node) -> None:
    """Cases 3 to 6."""
    source, output = node.inputs[0], node.outputs[0]
    if source is None:
        raise unsupported(node, "its input is absent")
    held = lifted.held.get(source)
    if held is not None and held.parameters is None:  # case 5
        lifted.substitute(output, held.real)
        return
    parameters = quantization_of(node)
    computed = constant(source) is None and not is_quantized_input(source)
    if held is None and computed:
        lifted.substitute(output, _as_defined(lifted, node, source, parameters))
    else:
        lifted.substitute(output, lifted.real(source, parameters))


def lift_dynamic(lifted: Lifted, node: ir.Node) -> None:
    """Case 5."""
    source = node.inputs[0]
    if source is None:
        raise unsupported(node, "its input is absent")
    lifted.dynamic = True
    lifted.held[node.outputs[0]] = Held(source, None)
    name = node.name or "dynamic"
    for output, number in zip(node.outputs[1:], (np.float32(1.0), np.uint8(0)), strict=False):
        value = lifted.new_constant(f"{name}_{output.name}", np.array(number))
        output.replace_all_uses_with(value)


def _as_defined(
    lifted: Lifted, node: ir.Node, source: ir.Value, parameters: TensorQuantization
) -> ir.Value:
    if parameters.scale.ndim:
        raise unsupported(node, "its integers are computed, and it has a scale per channel")
    name = node.name or node.op_type
    zero = lifted.new_constant(f"{name}_zero", parameters.zero_point.astype(np.float32))
    scale = lifted.new_constant(f"{name}_scale", parameters.scale)
    cast = ir.AttrInt64("to", ir.DataType.FLOAT)
    value = lifted.add("Cast", [source], {"to": cast}, name=f"{name}_cast", before=node)[0]
    value = lifted.add("Sub", [value, zero], name=f"{name}_centred", before=node)[0]
    return lifted.add("Mul", [value, scale], name=f"{name}_scaled", before=node)[0]
