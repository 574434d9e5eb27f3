"""The activation functions of LSTM, GRU and RNN, named by attributes (ONNX operator specification).

`activations` names one function per gate group and direction. `activation_alpha` and
`activation_beta` hold numbers for those functions only that have such a parameter, in the order of
the functions, as ONNX Runtime reads them too. A missing number takes the default below; where the
standard and ONNX Runtime do not agree on one there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import CannotExpand, Expansion

Write = Callable[[Expansion, ir.Value, float, float], ir.Value]
#: a default, "given" where there is none, None for a function without the parameter
Parameter = float | Literal["given"] | None


@dataclass(frozen=True, slots=True)
class Function:
    """`alpha` and `beta` tell whether the function has that parameter, and its default."""

    write: Write
    alpha: Parameter = None
    beta: Parameter = None


@dataclass(frozen=True, slots=True)
class Activation:
    """A function with its numbers."""

    name: str
    alpha: float
    beta: float

    def __call__(self, e: Expansion, x: ir.Value) -> ir.Value:
        return _FUNCTIONS[self.name].write(e, x, self.alpha, self.beta)


def activations_of(e: Expansion, defaults: Sequence[str], directions: int) -> list[Activation]:
    """The functions of all directions, one direction after the other. Raises CannotExpand"""
    names = [str(n) for n in e.attribute("activations") or [*defaults] * directions]
    if len(names) != len(defaults) * directions:
        raise CannotExpand(
            f"it names {len(names)} activations instead of {len(defaults) * directions}",
            "Export the model again.",
        )
    alphas = iter(e.attribute("activation_alpha") or [])
    betas = iter(e.attribute("activation_beta") or [])
    return [_activation(name, alphas, betas) for name in names]


def _activation(name: str, alphas: Iterator[float], betas: Iterator[float]) -> Activation:
    key = name.lower()
    if key not in _FUNCTIONS:
        raise CannotExpand(f"the activation '{name}' is not one of ONNX", "Use a standard one.")
    function = _FUNCTIONS[key]
    alpha = _number(name, "activation_alpha", function.alpha, alphas)
    return Activation(key, alpha, _number(name, "activation_beta", function.beta, betas))


def _number(name: str, attribute: str, default: Parameter, given: Iterator[float]) -> float:
    if default is None:
        return 0.0
    number = next(given, default)
    if number == "given":
        raise CannotExpand(
            f"its activation '{name}' has no number in {attribute}",
            "Give the number: runtimes do not agree on a default.",
        )
    return float(number)


def _plain(op_type: str) -> Write:
    def write(e: Expansion, x: ir.Value, alpha: float, beta: float) -> ir.Value:
        result: ir.Value = e.op(op_type, x)
        return result

    return write


def _with_alpha(op_type: str) -> Write:
    def write(e: Expansion, x: ir.Value, alpha: float, beta: float) -> ir.Value:
        result: ir.Value = e.op(op_type, x, alpha=alpha)
        return result

    return write


def _affine(e: Expansion, x: ir.Value, alpha: float, beta: float) -> ir.Value:
    result: ir.Value = e.op("Add", _scaled(e, x, alpha), e.array(beta, np.float32))
    return result


def _scaled_tanh(e: Expansion, x: ir.Value, alpha: float, beta: float) -> ir.Value:
    return _scaled(e, e.op("Tanh", _scaled(e, x, beta)), alpha)


def _hard_sigmoid(e: Expansion, x: ir.Value, alpha: float, beta: float) -> ir.Value:
    result: ir.Value = e.op("HardSigmoid", x, alpha=alpha, beta=beta)
    return result


def _scaled(e: Expansion, x: ir.Value, factor: float) -> ir.Value:
    result: ir.Value = x if factor == 1 else e.op("Mul", x, e.array(factor, np.float32))
    return result


_FUNCTIONS: dict[str, Function] = {
    "affine": Function(_affine, "given", "given"),
    "elu": Function(_with_alpha("Elu"), 1.0),
    "hardsigmoid": Function(_hard_sigmoid, 0.2, 0.5),
    "leakyrelu": Function(_with_alpha("LeakyRelu"), 0.01),
    "relu": Function(_plain("Relu")),
    "scaledtanh": Function(_scaled_tanh, "given", "given"),
    "sigmoid": Function(_plain("Sigmoid")),
    "softplus": Function(_plain("Softplus")),
    "softsign": Function(_plain("Softsign")),
    "tanh": Function(_plain("Tanh")),
    "thresholdedrelu": Function(_with_alpha("ThresholdedRelu"), "given"),
}
