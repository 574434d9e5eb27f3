"""What a model may bring to TFLite: sizes, data types and weights, told before anything is lowered.

1. Every dimension of every input is a number, once the batch is one.
2. Computed tensors are of a type that TFLite's kernels know. There are none for float64, and for
   float16 and bfloat16 none that every device has; the precision fp16 is about stored weights.
3. The weights of a product are finite: one NaN or infinity reaches every output.
4. The file stays below 2 GiB, the most that a FlatBuffer's offsets reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.calibration.scheme import Scheme
from edgewise.errors import ModelError, UnsupportedOperator
from edgewise.graph import consumers, node_label
from edgewise.graph.quantized import DEQUANTIZE, QUANTIZE

#: the most bytes of constants; 16 MiB are left to the graph itself
_MOST_BYTES = 2**31 - 2**24

_KNOWN_TYPES = frozenset({
    ir.DataType.BOOL, ir.DataType.FLOAT, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64,
    ir.DataType.INT8, ir.DataType.UINT32, ir.DataType.UINT8,
})  # fmt: skip
_NAMES = {ir.DataType.DOUBLE: "float64", ir.DataType.FLOAT: "float32"}
_WIDE_FLOATS = frozenset({ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})

#: operators of products, and the inputs that may be their weights
_WEIGHTED = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "GRU": (1, 2, 3),
    "Gemm": (0, 1, 2),
    "LSTM": (1, 2, 3),
    "MatMul": (0, 1),
    "RNN": (1, 2, 3),
}
_Constant = Callable[[ir.Value | None], npt.NDArray[np.generic] | None]
#: bytes of a float32 weight in the precisions that one may go to
_SMALLER = {"fp16": 2.0, "w8a8": 1.0, "w8": 1.0, "w4": 0.5}


def check_inputs(graph: ir.Graph) -> None:
    """Cases 1 and 2 of the inputs. Raises ModelError; UnsupportedOperator names the reader."""
    for value in graph.inputs:
        if value.name in graph.initializers:
            continue
        reader = next(iter(consumers(value)), None)
        why = None if value.dtype is None else type_obstacle(value, "input")
        if why is not None and reader is not None:
            raise UnsupportedOperator(
                node_label(reader), reader.op_type, target="android", why=why[0], remedy=why[1]
            )
        if value.shape is not None:
            _check_dimensions(value, value.shape)


def _check_dimensions(value: ir.Value, shape: ir.Shape) -> None:
    free = [(position, dim) for position, dim in enumerate(shape) if not isinstance(dim, int)]
    if not free:
        return
    named = ", ".join(
        f"{position}" if dim.value is None else f"{position} ('{dim.value}')"
        for position, dim in free
    )
    flag = ",".join(
        str(dim) if isinstance(dim, int) else str(dim.value or "SIZE").upper() for dim in shape
    )
    many = len(free) > 1
    raise ModelError(
        "the shape must be static",
        where=f"input '{value.name}'",
        why=f"dimension{'s' if many else ''} {named} {'have' if many else 'has'} no size",
        remedy=f"Give numbers: --input-shape {value.name}={flag} of build and export, or "
        "[model] input_shapes.",
    )


def type_obstacle(value: ir.Value, role: str) -> tuple[str, str] | None:
    """Case 2: why a computed value is not for TFLite, and the way out; None where it is."""
    if value.dtype is None or value.dtype in _KNOWN_TYPES:
        return None
    name = _NAMES.get(value.dtype, value.dtype.name.lower())
    why = f"its {role} '{value.name}' is {name}, and TFLite has no kernels for that"
    if value.dtype in _WIDE_FLOATS:
        return why, "Export the model in float32 (in PyTorch: model.float())."
    return why, "Keep to float32, integers and bool in the exported graph."


def node_obstacle(node: ir.Node, constant: _Constant) -> tuple[str, str] | None:
    """Cases 2 and 3 of a node: why it is not for TFLite, and the way out; None where it is.

    `constant` gives the array of a value that is known now.
    """
    if node.op_type in (QUANTIZE, DEQUANTIZE):
        return None
    for role, value in _computed(node, constant):
        why = type_obstacle(value, role)
        if why is not None:
            return why
    for position in _WEIGHTED.get(node.op_type, ()):
        weights = constant(node.inputs[position]) if position < len(node.inputs) else None
        if weights is None or weights.dtype.kind != "f" or np.isfinite(weights).all():
            continue
        name = node.inputs[position]
        return (
            f"its weights '{'' if name is None else name.name}' hold NaN or infinity",
            "Export a model whose training did not diverge.",
        )
    return None


def _computed(node: ir.Node, constant: _Constant) -> Iterator[tuple[str, ir.Value]]:
    for role, values in (("input", node.inputs), ("output", node.outputs)):
        for value in values:
            if value is not None and constant(value) is None:
                yield role, value


def size_obstacle(node: ir.Node) -> tuple[str, str] | None:
    """Where a node's result has no size although its inputs do: that size is a matter of data."""
    inputs = [value for value in node.inputs if value is not None]
    if not all(_is_static(value) for value in inputs):
        return None
    unknown = [v for v in node.outputs if v.name and v.shape is not None and not _is_static(v)]
    if not unknown:
        return None
    return (
        f"the size of its output '{unknown[0].name}' depends on its data",
        "Leave it out of the exported graph, and do that step in the application.",
    )


def _is_static(value: ir.Value) -> bool:
    return value.shape is not None and all(isinstance(dim, int) for dim in value.shape)


def check_size(model: ir.Model, scheme: Scheme, offered: tuple[str, ...]) -> None:
    """Case 4, by the constants that the model's nodes read; their data are not looked at.

    `offered` are the target's precisions. Raises ModelError.
    """
    constants = [
        value.const_value
        for value in model.graph.initializers.values()
        if value.const_value is not None and (value.uses() or value.is_graph_output())
    ]
    floats = sum(t.size for t in constants if t.dtype == ir.DataType.FLOAT)
    others = sum(t.nbytes for t in constants if t.dtype != ir.DataType.FLOAT)
    needed = others + floats * (2 if scheme.precision == "fp16" else 4)
    if needed <= _MOST_BYTES:
        return
    fitting = [
        name
        for name, width in _SMALLER.items()
        if name in offered and name != scheme.precision and others + floats * width <= _MOST_BYTES
    ]
    raise ModelError(
        "the model is too large for a TFLite file",
        why=f"its constants take {needed / 2**30:.2f} GiB of at most 2 as {scheme.precision}",
        remedy=f"Ask for precision {' or '.join(fitting)}, or split the model."
        if fitting
        else "Split the model.",
    )
