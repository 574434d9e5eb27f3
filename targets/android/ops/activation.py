"""Activations, and functions of one element.

1. Relu, Clip with constant bounds   bounds, which the producer absorbs where it can (see qdq);
                                     alone: a QUANTIZE if scales differ, then a clamp if needed
2. kernels of the same meaning       ELU, EXP, GELU, HARD_SWISH, LEAKY_RELU, PRELU, ...
3. fixed output range                LOGISTIC, TANH; a QUANTIZE follows where the model differs
4. HardSigmoid                       alpha * clip(x + beta / alpha, 0, 1 / alpha); in int8 the
                                     clip is the saturation of the intermediate tensor
5. compositions                      Softplus, Softsign, Mish, Selu, Celu, ThresholdedRelu
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgewise.targets.android.builder import FLOAT32, INT8
from edgewise.targets.android.call import NO_ACTIVATION, Call
from edgewise.targets.android.layout import Value
from edgewise.targets.android.model import Quantization, Tensor
from edgewise.targets.android.ops.dtypes import compute, scalar
from edgewise.targets.android.ops.elementwise import ADD_LIMITS, MUL_LIMITS, inside

#: a sum rounded to steps twice as coarse as the output's is one step off in the output
_COARSEST_SUM = 2.0
#: what the int8 kernel of HARD_SWISH takes as the ratio of scales
_HARD_SWISH_LIMIT = 128.0

#: ONNX operator -> TFLite operator of the same meaning
UNARY_KINDS = {
    "Ceil": "CEIL",
    "Cos": "COS",
    "Elu": "ELU",
    "Exp": "EXP",
    "Floor": "FLOOR",
    "Gelu": "GELU",
    "HardSwish": "HARD_SWISH",
    "LeakyRelu": "LEAKY_RELU",
    "Log": "LOG",
    "Not": "LOGICAL_NOT",
    "Round": "ROUND",
    "Sigmoid": "LOGISTIC",
    "Sin": "SIN",
    "Sqrt": "SQRT",
    "Tanh": "TANH",
}


def no_obstacle(call: Call) -> str | None:
    """For operators whose int8 kernel takes any parameters."""
    return None


def hard_swish_obstacle(call: Call) -> str | None:
    source, wanted = call.operand(0).quantization, call.wanted()
    if source is None or wanted is None:
        return "its input or output is not quantized"
    if float(source.scale[0]) / float(wanted.scale[0]) >= _HARD_SWISH_LIMIT:
        return "the scale of its input over the scale of its output is 128 or more"
    return None


def bounds_obstacle(call: Call) -> str | None:
    if call.context.plan.bounds_of(call.node) is None:
        return "its bounds are computed"
    return None


def lower_bounds(call: Call) -> None:
    """Case 1."""
    bounds = call.context.plan.bounds_of(call.node)
    if bounds is None:
        _lower_computed_clip(call)
        return
    value = call.numbers(0)
    if not call.int8 and value.dtype != FLOAT32:
        _lower_computed_clip(call)
        return
    wanted = call.wanted()
    if wanted is not None:
        value = call.builder.quantize(value, wanted)
    call.finish(call.builder.clamp(value, bounds))


def _lower_computed_clip(call: Call) -> None:
    """Bounds that are tensors, or integers that no float holds; Relu of integers is one at 0."""
    value = call.numbers(0)
    if call.op_type == "Relu":
        limits = [("MAXIMUM", scalar(call, 0, value.dtype))]
    else:
        kinds = ((1, "MAXIMUM"), (2, "MINIMUM"))
        limits = [(kind, _scalar_operand(call, index)) for index, kind in kinds if call.has(index)]
    for kind, limit in limits:
        value = compute(call, kind, [value, limit], value.perm, value.shape)
    call.finish(value)


def _scalar_operand(call: Call, index: int) -> Value:
    """A bound, which some exporters write as a vector of one element."""
    return Value(call.builder.reshape(call.builder.linear(call.operand(index)).tensor, ()), ())


def lower_unary(call: Call) -> None:
    """Cases 2 and 3."""
    kind = UNARY_KINDS[call.op_type]
    x = call.numbers(0)
    if not call.int8 and x.dtype != FLOAT32:
        call.finish(compute(call, kind, [x], x.perm))
        return
    options: dict[str, Any] = {}
    if kind == "LEAKY_RELU":
        options["alpha"] = float(call.attribute("alpha", 0.01))
    elif kind == "GELU":
        options["approximate"] = call.attribute("approximate", "none") == "tanh"
    elif kind == "ELU" and call.attribute("alpha", 1.0) != 1.0:
        _lower_scaled_elu(call, x)
        return
    call.finish(call.write(kind, [x], x.perm, quantization=call.fixed_output(kind), **options))


def elu_obstacle(call: Call) -> str | None:
    return None if call.attribute("alpha", 1.0) == 1.0 else "TFLite's int8 ELU has alpha 1"


def hard_sigmoid_obstacle(call: Call) -> str | None:
    """The two steps must lie inside the ratios that ADD and MUL take."""
    source, wanted = call.operand(0).quantization, call.wanted()
    if source is None or wanted is None or float(call.attribute("alpha", 0.2)) <= 0:
        return "its alpha is not positive"
    shift, middle, factor = _hard_sigmoid_parameters(call)
    ratios = (source.scale[0] / middle.scale[0], shift.scale[0] / middle.scale[0])
    if not all(inside(float(ratio), ADD_LIMITS) for ratio in ratios):
        return "its input scale is out of range"
    ratio = float(middle.scale[0] * factor.scale[0] / wanted.scale[0])
    if not inside(ratio, MUL_LIMITS):
        return "its output scale is out of range"
    if ratio >= _COARSEST_SUM:
        return "its output has finer steps than its sum"
    return None


def _hard_sigmoid_parameters(call: Call) -> tuple[Quantization, Quantization, Quantization]:
    """Parameters of beta / alpha, of the clipped sum, and of alpha."""
    alpha, beta = float(call.attribute("alpha", 0.2)), float(call.attribute("beta", 0.5))
    return (
        Quantization.per_tensor(abs(beta / alpha) / 127 or 1.0, 0),
        Quantization.per_tensor(1 / alpha / 255, -128),
        Quantization.per_tensor(alpha / 127, 0),
    )


def lower_hard_sigmoid(call: Call) -> None:
    """Case 4."""
    alpha, beta = float(call.attribute("alpha", 0.2)), float(call.attribute("beta", 0.5))
    x = call.operand(0)
    builder = call.builder
    if not call.int8:
        scaled = binary(call, "MUL", x, builder.float_scalar(alpha))
        call.finish(builder.clamp(binary(call, "ADD", scaled, builder.float_scalar(beta)), (0, 1)))
        return
    shift, middle, factor = _hard_sigmoid_parameters(call)
    offset = builder.constant(shift.quantize(np.float32(beta / alpha)), quantization=shift)
    total = builder.add(
        "ADD", [x, offset], x.tensor.shape, INT8, middle, fusedActivationFunction=NO_ACTIVATION
    )
    slope = builder.constant(factor.quantize(np.float32(alpha)), quantization=factor)
    call.finish(call.write("MUL", [total, slope], x.perm, fusedActivationFunction=NO_ACTIVATION))


def binary(call: Call, kind: str, x: Value, other: Value | Tensor) -> Value:
    """A float operator of `x` and something that broadcasts to it."""
    return call.builder.like(kind, [x, other], x, fusedActivationFunction=NO_ACTIVATION)


def chain(call: Call, x: Value, kinds: Sequence[str]) -> Value:
    """Float functions of one element, applied in turn."""
    for kind in kinds:
        x = call.builder.like(kind, [x], x)
    return x


def prelu_obstacle(call: Call) -> str | None:
    stored = call.quantized_constant(1)
    if stored is None or not stored[1].per_tensor:
        return "its slopes are not quantized per tensor"
    return None


def lower_prelu(call: Call) -> None:
    x = call.operand(0)
    if call.constant(1) is not None:
        slope = call.constant_operand(1, x.perm, x.rank)
    else:
        slope = call.builder.reorder(call.builder.with_rank(call.operand(1), x.rank), x.perm)
    if not call.int8 and x.dtype != FLOAT32:
        below = compute(call, "LESS", [x, scalar(call, 0, x.dtype)], x.perm)
        bent = compute(call, "MUL", [x, slope], x.perm, x.shape)
        call.finish(call.write("SELECT_V2", [below, bent, x], x.perm))
        return
    if x.rank > 1 and slope.tensor.shape[0] == 1:  # the kernel wants no batch axis
        inner = _without_first_axis(call, slope.tensor)
        call.finish(call.write("PRELU", [x, inner], x.perm))
        return
    call.finish(call.write("PRELU", [x, slope], x.perm))


def _without_first_axis(call: Call, tensor: Tensor) -> Tensor:
    shape = tensor.shape[1:]
    if tensor.data is None or not (
        tensor.quantization is None or tensor.quantization.is_per_tensor
    ):
        return call.builder.reshape(tensor, shape)
    return call.builder.constant(tensor.data.reshape(shape), quantization=tensor.quantization)


def _lower_scaled_elu(call: Call, x: Value) -> None:
    call.finish(_elu(call, x, float(call.attribute("alpha", 1.0)), 1.0))


def lower_selu(call: Call) -> None:
    alpha = float(call.attribute("alpha", 1.67326319217681884765625))
    gamma = float(call.attribute("gamma", 1.05070102214813232421875))
    call.finish(_elu(call, call.operand(0), alpha * gamma, gamma))


def lower_celu(call: Call) -> None:
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1)) is alpha * elu(x / alpha)."""
    alpha = float(call.attribute("alpha", 1.0))
    if alpha <= 0:
        raise call.refuse(f"its alpha is {alpha}", "Use a positive alpha.")
    x, builder = call.operand(0), call.builder
    y = chain(call, binary(call, "MUL", x, builder.float_scalar(1 / alpha)), ["ELU"])
    call.finish(binary(call, "MUL", y, builder.float_scalar(alpha)))


def _elu(call: Call, x: Value, alpha: float, gamma: float) -> Value:
    """gamma * max(x, 0) + alpha * (exp(min(x, 0)) - 1)"""
    builder = call.builder
    positive = builder.like("RELU", [x], x)
    if gamma != 1:
        positive = binary(call, "MUL", positive, builder.float_scalar(gamma))
    negative = builder.like("MINIMUM", [x, builder.float_scalar(0.0)], x)
    curve = chain(call, negative, ["ELU"])
    return binary(call, "ADD", positive, binary(call, "MUL", curve, builder.float_scalar(alpha)))


def lower_softplus(call: Call) -> None:
    """log(1 + exp(x)) as max(x, 0) + log(1 + exp(-|x|)), which does not overflow."""
    x = call.operand(0)
    fall = chain(call, x, ["ABS", "NEG", "EXP"])
    bend = chain(call, binary(call, "ADD", fall, call.builder.float_scalar(1.0)), ["LOG"])
    call.finish(binary(call, "ADD", call.builder.like("RELU", [x], x), bend))


#: from here on tanh(softplus(x)) is 1 in float32
_MISH_END = 20.0


def lower_mish(call: Call) -> None:
    """x tanh(log(1 + e)) with e = exp(x) is x n / (n + 2) with n = e (e + 2)."""
    x, builder = call.operand(0), call.builder
    number = builder.float_scalar
    power = chain(call, builder.like("MINIMUM", [x, number(_MISH_END)], x), ["EXP"])
    n = binary(call, "MUL", power, binary(call, "ADD", power, number(2.0)))
    share = binary(call, "DIV", n, binary(call, "ADD", n, number(2.0)))
    call.finish(binary(call, "MUL", x, share))


def lower_softsign(call: Call) -> None:
    x = call.operand(0)
    below = binary(call, "ADD", chain(call, x, ["ABS"]), call.builder.float_scalar(1.0))
    call.finish(binary(call, "DIV", x, below))


def lower_thresholded_relu(call: Call) -> None:
    x = call.operand(0)
    builder = call.builder
    threshold = builder.float_scalar(float(call.attribute("alpha", 1.0)))
    above = builder.add("GREATER", [x, threshold], x.tensor.shape, np.dtype(np.bool_))
    call.finish(builder.like("SELECT_V2", [above, x, builder.float_scalar(0.0)], x))


def lower_reciprocal(call: Call) -> None:
    x = call.operand(0)
    one = call.builder.float_scalar(1.0)
    call.finish(call.builder.like("DIV", [one, x], x, fusedActivationFunction=NO_ACTIVATION))
