"""Checks of a lowered graph before it is written.

The runtime accepts many wrong files in silence (bytes copied between tensors of different scale, a
bias of the wrong scale, weights quantized along the wrong axis), so every rule is checked here:
  1. every operator reads constants, graph inputs, or what an earlier operator wrote, and each
     tensor is written once; every output is written
  2. shapes are static and positive, constants have the shape and dtype of their tensor, and
     quantization is that of the tensor's dtype
  3. operators that move quantized data keep scale and zero point
  4. kernels with a prescribed output range have it
  5. int8 weights: zero point 0, values in -127..127, scales along the right axis
  6. a bias is there, int32, with scale s_input * s_weight (float32) and zero point 0; beside int16
     activations it is int64, or int32 where an option says so and no sum can leave 32 bits
  7. s_input * s_weight / s_output is below 256
  8. activations are per tensor, with a zero point that int8 or uint8 holds; that of int16 is 0
  9. there is a kernel for int16 where activations are
 10. a body keeps all rules; what it takes and gives has the form of its operator's operands; what
     goes round in a loop keeps its form, and a body hands on an input only at its own position
 11. integer weights beside float activations are int8 or int4 constants of FULLY_CONNECTED, by rule
     5 or with float16 scales of the blocks' shape, and the bias is float32
 12. scales are normal float32 numbers; those of ADD and SUB stay inside what does not abort the
     process: below 2**100, and those of inputs below 256 times that of the output
 13. comparisons read no 8-bit integers, whose kernels want scales
 14. no kernel that works in place overwrites what others still read (see `shared_memory`)
A broken rule is a defect of the lowering, never of the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgewise.errors import InternalError
from edgewise.targets.android.kinds import INT16_VERSIONS, SAME_SCALE_KINDS, fixed_output
from edgewise.targets.android.model import (
    INT4,
    INT8,
    INT16,
    INT32,
    INT64,
    Graph,
    Operator,
    Tensor,
)
from edgewise.targets.android.narrow_bias import NARROW_VERSIONS, OPTION, sums_fit
from edgewise.targets.android.ops.elementwise import ADD_LIMITS, LARGEST_SCALE
from edgewise.targets.android.ops.weights import BIAS_DTYPES, REQUANTIZATION_LIMIT
from edgewise.targets.android.shared_memory import overwriting

#: kind -> (position of input, weights and bias, axis of the weights' output channels)
WEIGHTED: dict[str, tuple[int, int, int, int]] = {
    "CONV_2D": (0, 1, 2, 0),
    "DEPTHWISE_CONV_2D": (0, 1, 2, 3),
    "FULLY_CONNECTED": (0, 1, 2, 0),
    "TRANSPOSE_CONV": (2, 1, 3, 0),
}
_COMPARISONS = frozenset({
    "EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL",
})  # fmt: skip
_ZERO_POINTS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (0, 0)}


def verify(graph: Graph) -> None:
    """Raises InternalError that names the operator, its node, and the broken rule."""
    for operator, problem in problems(graph):
        raise InternalError(
            f"a lowered operator is not valid: {problem}",
            where=f"node '{operator.origin}' ({operator.kind})" if operator else "graph",
            remedy="Please report this with the model.",
        )


def problems(graph: Graph) -> Iterator[tuple[Operator | None, str]]:
    """Every broken rule, in graph order."""
    known = set(graph.inputs)
    for operator in graph.operators:
        for tensor in operator.inputs:
            if tensor.data is None and tensor not in known:
                yield operator, f"it reads '{tensor.name}' before anything writes it"
        for tensor in operator.outputs:
            if tensor in known or tensor.data is not None:
                yield operator, f"it writes '{tensor.name}' again"
            known.add(tensor)
        for tensor in (*operator.inputs, *operator.outputs):
            if operator.kind != "FILL" and tensor.data is None and min(tensor.shape, default=1) < 1:
                yield operator, f"tensor '{tensor.name}' has the shape {tensor.shape}"
            yield from ((operator, text) for text in _tensor_problems(tensor))
        yield from ((operator, text) for text in _quantization_problems(operator))
        yield from ((operator, text) for text in _body_problems(operator))
        for body in operator.bodies.values():
            yield from problems(body)
    for position, tensor in overwriting(graph):
        yield graph.operators[position], f"it overwrites '{tensor.name}', which others read"
    for tensor in graph.outputs:
        if tensor not in known:
            yield None, f"output '{tensor.name}' is never written"


def _body_problems(operator: Operator) -> Iterator[str]:
    """Kernels copy operands into a body and results out of it byte by byte."""
    for option, body in operator.bodies.items():
        taken = operator.inputs[1:] if operator.kind == "IF" else operator.inputs
        given = operator.outputs
        if option == "condSubgraphIndex":
            if [(tensor.shape, tensor.dtype.name) for tensor in body.outputs] != [((), "bool")]:
                yield "its condition does not give one bool"
            given = tuple(body.outputs)
        for what, outer, inner in (("takes", taken, body.inputs), ("gives", given, body.outputs)):
            if not _alike(outer, inner):
                yield f"a body {what} something else than it does"
        if operator.kind == "WHILE" and not _alike(operator.inputs, operator.outputs):
            yield "what goes round changes its form"
        places = {tensor: position for position, tensor in enumerate(body.inputs)}
        for position, tensor in enumerate(body.outputs):
            if places.get(tensor, position) != position:
                yield f"a body hands on its input {places[tensor]} as output {position}"


def _alike(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    """Whether bytes may be copied between tensors of these forms."""
    return len(first) == len(second) and all(
        one.shape == two.shape
        and one.dtype == two.dtype
        and (one.quantization is two.quantization or _same_parameters(one, two))
        for one, two in zip(first, second, strict=True)
    )


def _same_parameters(one: Tensor, two: Tensor) -> bool:
    return one.quantization is not None and one.quantization.same_as(two.quantization)


def _tensor_problems(tensor: Tensor) -> Iterator[str]:
    if tensor.data is not None and (
        tensor.data.shape != tensor.shape or tensor.data.dtype != tensor.dtype
    ):
        yield f"constant '{tensor.name}' is not of its tensor's shape and dtype"
    quantization = tensor.quantization
    if quantization is not None and quantization.dtype != tensor.dtype:
        yield f"'{tensor.name}' is {tensor.dtype} with the quantization of {quantization.dtype}"
    if quantization is None or tensor.data is not None:
        return
    limits = _ZERO_POINTS.get(tensor.dtype.name)
    if limits is None:
        yield f"activation '{tensor.name}' is quantized as {tensor.dtype}"
    elif not quantization.is_per_tensor:
        yield f"activation '{tensor.name}' has one scale per channel"
    elif not limits[0] <= quantization.zero_point[0] <= limits[1]:
        yield f"zero point {quantization.zero_point[0]} of '{tensor.name}' is out of range"
    elif not np.finfo(np.float32).tiny <= quantization.scale[0] < np.inf:
        yield f"scale {quantization.scale[0]} of '{tensor.name}' is not positive and normal"


def _quantization_problems(operator: Operator) -> Iterator[str]:
    stored = operator.stored_dtype
    if operator.kind in _COMPARISONS and operator.inputs[0].dtype in (np.int8, np.uint8):
        yield "it compares 8-bit integers"
    if stored is None:
        yield from _hybrid_problems(operator)
        return
    if stored == INT16 and operator.kind not in INT16_VERSIONS:
        yield "there is no kernel for int16"
    if operator.kind in SAME_SCALE_KINDS:
        yield from _same_scale_problems(operator)
    if operator.kind in ("ADD", "SUB"):
        yield from _sum_problems(operator)
    prescribed = fixed_output(operator.kind, stored)
    if prescribed is not None:
        scale, zero_point = prescribed
        found = operator.outputs[0].quantization
        if found is None or (float(found.scale[0]), int(found.zero_point[0])) != (
            scale,
            zero_point,
        ):
            yield f"its output must have scale {scale} and zero point {zero_point}"
    if operator.kind in WEIGHTED:
        yield from _weight_problems(operator, *WEIGHTED[operator.kind])


def _same_scale_problems(operator: Operator) -> Iterator[str]:
    out = operator.outputs[0].quantization
    for tensor in operator.inputs:
        if tensor.quantization is not None and not tensor.quantization.same_as(out):
            yield f"'{tensor.name}' and the output differ in scale or zero point"


def _sum_problems(operator: Operator) -> Iterator[str]:
    """Rule 12."""
    tensors = (*operator.inputs, *operator.outputs)
    scales = [float(t.quantization.scale[0]) for t in tensors if t.quantization is not None]
    if max(scales) >= LARGEST_SCALE or max(scales) / scales[-1] >= ADD_LIMITS[1]:
        yield f"the kernel cannot compute with its scales {scales}"


def _weight_problems(
    operator: Operator, source: int, weights: int, bias: int, axis: int
) -> Iterator[str]:
    if len(operator.inputs) <= max(source, weights, bias):
        yield "it has no bias"
        return
    data, kernel, offset = (operator.inputs[i] for i in (source, weights, bias))
    out = operator.outputs[0].quantization
    if data.quantization is None or kernel.quantization is None or out is None:
        yield "its input, weights and output must all be quantized"
        return
    scale = kernel.quantization
    if kernel.dtype != np.int8 or kernel.data is None or kernel.data.min(initial=0) < -127:
        yield "its weights must be int8 constants in -127..127"
    if scale.zero_point.any():
        yield "its weights have a zero point"
    if not scale.is_per_tensor and (scale.axis, scale.scale.size) != (axis, kernel.shape[axis]):
        yield f"its weights are quantized along axis {scale.axis}, not {axis}"
    product = (data.quantization.scale * scale.scale).astype(np.float32)
    found = offset.quantization
    wanted = BIAS_DTYPES[operator.stored_dtype or INT8]
    if wanted == INT64 and operator.options.get(OPTION) == schema.TensorType.INT32:
        wanted = INT32
        if operator.kind not in NARROW_VERSIONS or not sums_fit(kernel, offset):
            yield "its sums may leave the 32 bits of its bias"
    if offset.dtype != wanted or found is None or found.zero_point.any():
        yield f"its bias must be {wanted} with zero point 0"
    elif not np.array_equal(found.scale, product):
        yield "the scale of its bias is not that of input times weights"
    if float(product.max() / out.scale[0]) >= REQUANTIZATION_LIMIT:
        yield "the scale of input times weights over output is 256 or more"


def _hybrid_problems(operator: Operator) -> Iterator[str]:
    """Rule 11."""
    quantized = [
        tensor
        for tensor in operator.inputs
        if tensor.data is not None and (tensor.quantization or tensor.blocks) is not None
    ]
    if not quantized or operator.kind == "DEQUANTIZE":
        return
    if operator.kind != "FULLY_CONNECTED" or quantized != [operator.inputs[1]]:
        yield "only weights of FULLY_CONNECTED are quantized beside float activations"
        return
    weights, bias = operator.inputs[1:3]
    if weights.dtype not in (INT4, INT8) or weights.data is None:
        yield "its weights must be int4 or int8 constants"
    elif weights.dtype == INT8 and weights.data.min(initial=0) < -127:
        yield "its weights must be in -127..127"
    if bias.dtype != np.float32 or bias.quantization is not None:
        yield "its bias must be float32"
    if weights.blocks is not None:
        scales, rows = weights.blocks.scales, weights.shape[0]
        shape = (rows, weights.shape[1] // weights.blocks.size)
        if weights.dtype != INT4 or scales.dtype != np.float16 or scales.shape != shape:
            yield f"its block scales must be float16 of the shape {shape}"
    elif weights.quantization is not None:
        scale = weights.quantization
        if scale.zero_point.any():
            yield "its weights have a zero point"
        if not scale.is_per_tensor and (scale.axis, scale.scale.size) != (0, weights.shape[0]):
            yield f"its weights are quantized along axis {scale.axis}, not 0"
