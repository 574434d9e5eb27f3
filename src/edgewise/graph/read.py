"""Questions that every lowering asks of a node or a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.errors import ModelError


def node_label(node: ir.Node) -> str:
    """The node's name for messages; its first output's name when it has none."""
    if node.name:
        return node.name
    return next((out.name for out in node.outputs if out.name), f"<{node.op_type}>")


def attribute(node: ir.Node, name: str, default: Any = None) -> Any:
    """A plain Python value of an attribute: int, float, str, a list of them, or the IR tensor."""
    attr = node.attributes.get(name)
    if attr is None or attr.value is None:
        return default
    if attr.type in (ir.AttributeType.INTS, ir.AttributeType.FLOATS, ir.AttributeType.STRINGS):
        return list(attr.value)
    return attr.value


def constant(value: ir.Value | None) -> npt.NDArray[Any] | None:
    """The array of an initializer, or None for an absent input or a computed value."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def consumers(value: ir.Value) -> list[ir.Node]:
    """The nodes that read the value, each once, in graph order of registration."""
    return list(dict.fromkeys(use.node for use in value.uses()))


def static_shape(value: ir.Value) -> tuple[int, ...]:
    """The value's shape when every dimension is a number.

    Raises:
        ModelError: the shape is unknown or has symbolic dimensions.
    """
    shape = value.shape
    if shape is None or not all(isinstance(dim, int) for dim in shape):
        found = "unknown" if shape is None else f"[{', '.join(map(_dim, shape))}]"
        raise ModelError(
            "the shape must be static",
            where=f"tensor '{value.name}'",
            why=f"its shape is {found}",
            remedy="Give fixed input shapes: [model] input_shapes, or --input-shape of `edgewise "
            "build` and `edgewise export`.",
        )
    return tuple(int(dim) for dim in shape)  # type: ignore[arg-type]  # all ints, checked above


def _dim(size: int | ir.SymbolicDim) -> str:
    """A size as a user knows it: a number, a name, or a question mark."""
    if isinstance(size, int):
        return str(size)
    return "?" if size.value is None else str(size.value)


def resolve_pads(
    node: ir.Node,
    spatial: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[list[int], list[int]]:
    """Begin and end padding per spatial axis of a convolution or pooling, `auto_pad` resolved.

    SAME_UPPER and SAME_LOWER follow the ONNX operator specification: the output has
    `ceil(input / stride)` elements, an odd element of padding goes to the end (UPPER) or to the
    beginning (LOWER).

    Raises:
        ModelError: SAME with a stride so much larger than the window that the formula asks for
            negative padding at the beginning. ONNX Runtime then skips elements; TensorFlow, TFLite
            and Core ML do not.
    """
    auto_pad = attribute(node, "auto_pad", "NOTSET")
    rank = len(kernel)
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        sizes = np.asarray(spatial)
        steps = np.asarray(strides)
        window = (np.asarray(kernel) - 1) * np.asarray(dilations) + 1
        total = (-(-sizes // steps) - 1) * steps + window - sizes
        if (total < (-1 if auto_pad == "SAME_UPPER" else -2)).any():
            raise ModelError(
                f"auto_pad {auto_pad} means different things to different runtimes here",
                where=f"node '{node_label(node)}' ({node.op_type})",
                why="the stride exceeds the window so far that the padding would be negative",
                remedy="Export the model with explicit padding.",
            )
        total = np.maximum(total, 0)
        small, large = total // 2, total - total // 2
        begin, end = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
        return [int(p) for p in begin], [int(p) for p in end]
    if auto_pad == "VALID":
        return [0] * rank, [0] * rank
    pads = attribute(node, "pads") or [0] * 2 * rank
    return [int(p) for p in pads[:rank]], [int(p) for p in pads[rank:]]
