"""Integer forms of Neg, Div and Pow, by kernels that take any scales (LiteRT 2.3, XNNPACK).

  1. Neg                  0 - x; 0 is the zero point of x
  2. Div by one number    x * (1 / number), which int8 holds exactly: 127 steps of its own scale
  3. Pow by two           x * x
TFLite's own int8 NEG wants one scale on both sides, and its DIV fails on a divisor of 0.
"""

from __future__ import annotations

import numpy as np

from edgewise.targets.android.builder import INT8
from edgewise.targets.android.call import NO_ACTIVATION, Call
from edgewise.targets.android.layout import Value
from edgewise.targets.android.model import Quantization, Tensor
from edgewise.targets.android.ops.elementwise import ADD_LIMITS, MUL_LIMITS

#: of divisors whose reciprocal, in 127 steps, has a scale that float32 holds
_SMALLEST = 1e-30


def neg_obstacle(call: Call) -> str | None:
    if _scale(call) / _wanted_scale(call) >= ADD_LIMITS[1]:
        return "the scale of its input over the scale of the output is 256 or more"
    return None


def div_obstacle(call: Call) -> str | None:
    divisor = call.constant(1)
    if divisor is None or divisor.ndim > len(call.shape(0)):
        return "its divisor is computed"
    number = float(divisor.flat[0])
    if not (divisor == number).all() or not _SMALLEST <= abs(number) <= 1 / _SMALLEST:
        return "its divisor is not one number other than 0"
    return _product_obstacle(call, abs(1 / number) / 127)


def pow_obstacle(call: Call) -> str | None:
    exponent = call.constant(1)
    if exponent is None or exponent.size != 1 or float(exponent.reshape(())) != 2:
        return "its exponent is not 2"
    return _product_obstacle(call, _scale(call))


def lower_neg(call: Call) -> None:
    """Case 1."""
    x = call.operand(0)
    parameters = _parameters(x)
    zero = call.builder.constant(parameters.zero_point[0].astype(INT8), quantization=parameters)
    call.finish(call.write("SUB", [zero, x], x.perm, fusedActivationFunction=NO_ACTIVATION))


def lower_div(call: Call) -> None:
    """Case 2."""
    factor = 1 / float(call.known(1, "divisor").flat[0])
    parameters = Quantization.per_tensor(abs(factor) / 127, 0)
    steps = call.builder.constant(parameters.quantize(np.float32(factor)), quantization=parameters)
    _multiply(call, steps)


def lower_pow(call: Call) -> None:
    """Case 3."""
    _multiply(call, call.operand(0).tensor)


def _multiply(call: Call, factor: Tensor) -> None:
    x = call.operand(0)
    activation = call.fused_activation()
    call.finish(call.write("MUL", [x, factor], x.perm, fusedActivationFunction=activation))


def _product_obstacle(call: Call, other: float) -> str | None:
    if _scale(call) * other / _wanted_scale(call) >= MUL_LIMITS[1]:
        return "the product of input scales over the scale of the output is 256 or more"
    return None


def _scale(call: Call) -> float:
    return float(_parameters(call.operand(0)).scale[0])


def _parameters(x: Value) -> Quantization:
    if x.quantization is None:
        raise AssertionError("the input of an integer kernel is quantized")
    return x.quantization


def _wanted_scale(call: Call) -> float:
    wanted = call.wanted()
    if wanted is None:
        raise AssertionError("the output of an integer kernel is quantized")
    return float(wanted.scale[0])
