"""What a stateful program keeps from run to run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from edgewise.errors import ModelError
from edgewise.targets.apple.interpreter.kernels.base import Array
from edgewise.targets.apple.interpreter.numbers import HELD_AS
from edgewise.targets.apple.interpreter.plan import Tensor


@dataclass(slots=True)
class Cell:
    """One state's present value, in the type that kernels compute with."""

    value: Array


class State:
    """The states of one program, as Core ML's `MLState`: zeros until they are written.

    Made by `Interpreter.make_state`; one for each stream of data that the program is run on.
    """

    def __init__(self, tensors: Iterable[Tensor], take: Callable[[Tensor, Array], Array]) -> None:
        self._tensors = {tensor.name: tensor for tensor in tensors}
        self._take = take
        self.cells = {
            tensor.name: Cell(np.zeros([int(size) for size in tensor.shape], HELD_AS[tensor.dtype]))
            for tensor in self._tensors.values()
        }

    @property
    def names(self) -> list[str]:
        return list(self.cells)

    def read(self, name: str) -> Array:
        """A copy of the state, fp16 as float32. Raises ModelError for an unknown name."""
        self._known(name)
        return self.cells[name].value.copy()

    def write(self, name: str, array: Array) -> None:
        """Set the state to a copy of `array`, rounded to its type.

        Raises:
            ModelError: an unknown name, or a wrong shape or type.
        """
        self._known(name)
        self.cells[name].value = self._take(self._tensors[name], np.array(array))

    def _known(self, name: str) -> None:
        if name not in self.cells:
            raise ModelError(
                f"the program has no state '{name}'",
                why=f"its states are {', '.join(self.cells) or 'none'}",
            )
