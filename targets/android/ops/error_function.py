"""Erf, for which TFLite has no operator.

erf(x) / x is a smooth function of z = x^2, so that for |x| up to 3.95, where erf reaches 1 in
float32, erf(x) = x P(z) / Q(z) with two polynomials of degree 5. Their coefficients come from a
least squares fit of the relative error, reweighted until it is level (2e-8 in exact arithmetic,
4e-7 in float32); all of them are positive, so that neither sum cancels.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgewise.targets.android.call import NO_ACTIVATION, Call
from edgewise.targets.android.layout import Value
from edgewise.targets.android.ops.activation import binary

_LIMIT = 3.95
#: from the constant up
_NUMERATOR = (
    1.1283791065216064, 0.19154992699623108, 0.052875399589538574, 0.003808146109804511,
    0.00028468758682720363, 2.0259137727407506e-06,
)  # fmt: skip
_DENOMINATOR = (
    1.0, 0.5030893683433533, 0.11455946415662766, 0.015055058524012566,
    0.0011707224184647202, 3.783185456995852e-05,
)  # fmt: skip


def lower_erf(call: Call) -> None:
    builder = call.builder
    x = _between(call, call.operand(0), _LIMIT)
    z = binary(call, "MUL", x, x)
    upper = binary(call, "MUL", _polynomial(call, z, _NUMERATOR), x)
    lower = _polynomial(call, z, _DENOMINATOR)
    ratio = builder.like("DIV", [upper, lower], x, fusedActivationFunction=NO_ACTIVATION)
    call.finish(_between(call, ratio, 1.0))


def _between(call: Call, x: Value, limit: float) -> Value:
    """NaN stays NaN: of two numbers that do not compare, the kernels take the second."""
    builder = call.builder
    x = builder.like("MAXIMUM", [builder.float_scalar(-limit), x], x)
    return builder.like("MINIMUM", [builder.float_scalar(limit), x], x)


def _polynomial(call: Call, z: Value, coefficients: Sequence[float]) -> Value:
    """Horner's scheme."""
    number = call.builder.float_scalar
    total = binary(call, "MUL", z, number(coefficients[-1]))
    for coefficient in reversed(coefficients[1:-1]):
        total = binary(call, "MUL", binary(call, "ADD", total, number(coefficient)), z)
    return binary(call, "ADD", total, number(coefficients[0]))
