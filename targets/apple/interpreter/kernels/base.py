"""What a kernel is: built once from a node of the program, then called once per run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewise.errors import ModelError

Array = npt.NDArray[Any]
#: parameter name -> array, list of arrays (a variadic parameter), or text; absent ones are missing
Inputs = Mapping[str, Any]
#: an array or, for several outputs, a sequence of arrays; numpy types its functions no closer
Result = Any
#: floating point comes in and goes out as float32; the plan rounds what is declared fp16
Run = Callable[[Inputs], Result]


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of the program, as a kernel sees it when it is built.

    Parameters that MIL demands to be constant are read here, by name; `constants` holds every
    parameter whose value is known at load time. Tensors are read at run time, from `Inputs`.
    """

    name: str
    op_type: str
    parameters: frozenset[str]  # every parameter that was given
    constants: Mapping[str, Any]
    threads: int = 1

    def has(self, parameter: str) -> bool:
        return parameter in self.parameters

    def array(self, parameter: str) -> Array | None:
        """The constant's array, None when it was not given.

        Raises:
            ModelError: it was given, but is computed at run time.
        """
        if parameter not in self.parameters:
            return None
        if parameter not in self.constants:
            raise ModelError(
                f"parameter '{parameter}' must be a constant", where=f"'{self.name}' {self.op_type}"
            )
        return np.asarray(self.constants[parameter])

    def ints(self, parameter: str, default: Sequence[int] | None = None) -> list[int] | None:
        value = self.array(parameter)
        if value is None:
            return None if default is None else list(default)
        return [int(item) for item in value.reshape(-1)]

    def integer(self, parameter: str, default: int) -> int:
        value = self.array(parameter)
        return default if value is None else int(value.item())

    def number(self, parameter: str, default: float) -> np.float32:
        value = self.array(parameter)
        return np.float32(default if value is None else value.item())

    def flag(self, parameter: str, default: bool = False) -> bool:
        value = self.array(parameter)
        return default if value is None else bool(value.item())

    def text(self, parameter: str, default: str) -> str:
        value = self.array(parameter)
        return default if value is None else str(value.item())

    def refuse(self, why: str) -> ModelError:
        """The error for a parameter value that this operation does not define."""
        return ModelError(
            "the parameters make no sense", where=f"'{self.name}' {self.op_type}", why=why
        )


Kernel = Callable[[Node], Run]


def unary(compute: Callable[[Array], Result]) -> Kernel:
    """The kernel of an operation that has `x` alone."""

    def build(node: Node) -> Run:
        return lambda inputs: compute(inputs["x"])

    return build


def binary(compute: Callable[[Array, Array], Result]) -> Kernel:
    """The kernel of an operation on `x` and `y`, broadcast as numpy does."""

    def build(node: Node) -> Run:
        return lambda inputs: compute(inputs["x"], inputs["y"])

    return build


def along_channels(vector: Array, rank: int) -> Array:
    """A vector over axis 1, shaped to broadcast with a tensor of that rank."""
    return vector.reshape((1, -1) + (1,) * (rank - 2))
