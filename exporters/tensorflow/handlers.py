"""Operators that tf2onnx does not write, or writes in a roundabout way.

1. `Erfc(x)` = 1 - Erf(x), and of `-x c`, as in Keras' exact GELU, 1 + Erf(x c).
2. `SelectV2(condition, x, y)` is ONNX' Where, which broadcasts as it does; tf2onnx 1.17 spells it
   out in multiplications for integers, since older ONNX Runtimes lacked them. Keras wraps the
   indices of each Embedding in one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def _complementary_error_function(context: Any, node: Any, name: str, args: Any) -> None:
    data, negative = node.input[0], False
    product = node.inputs[0]
    if product.type == "Mul" and product.inputs[0].type == "Neg":  # Erf(-x) = -Erf(x)
        inner = product.inputs[0].input[0]
        data, negative = context.make_node("Mul", [inner, product.input[1]]).output[0], True
    erf = context.make_node("Erf", [data]).output[0]
    dtype = {1: np.float32, 10: np.float16, 11: np.float64}[context.get_dtype(node.output[0])]
    one = context.make_const(f"{name}/one", np.ones((), dtype)).output[0]
    _replace(context, node, "Add" if negative else "Sub", [one, erf])


def _select(context: Any, node: Any, name: str, args: Any) -> None:
    _replace(context, node, "Where", list(node.input))


def _replace(context: Any, node: Any, op_type: str, inputs: list[str]) -> None:
    shapes, dtypes = [context.get_shape(node.output[0])], [context.get_dtype(node.output[0])]
    outputs = list(node.output)
    context.remove_node(node.name)
    context.make_node(
        op_type, inputs, outputs=outputs, name=node.name, shapes=shapes, dtypes=dtypes
    )


#: operator of TensorFlow -> what writes it, and arguments for that
HANDLERS: Mapping[str, tuple[Callable[[Any, Any, str, Any], None], list[Any]]] = {
    "Erfc": (_complementary_error_function, []),
    "SelectV2": (_select, []),
}
