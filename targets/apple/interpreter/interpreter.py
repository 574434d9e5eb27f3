"""Running a saved Core ML program without a Mac."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgewise.errors import ModelError
from edgewise.targets.apple.flexible.sizes import FlexibleShape
from edgewise.targets.apple.interpreter.fused import Segment, fuse
from edgewise.targets.apple.interpreter.images import ImageInput, fits
from edgewise.targets.apple.interpreter.kernels import KERNELS
from edgewise.targets.apple.interpreter.kernels.base import Array
from edgewise.targets.apple.interpreter.numbers import HELD_AS, round_to_half
from edgewise.targets.apple.interpreter.optional import filled
from edgewise.targets.apple.interpreter.plan import Observer, Plan, Step, Tensor, build_plan
from edgewise.targets.apple.interpreter.program import load_program
from edgewise.targets.apple.interpreter.state import State

#: numpy's kinds of numbers, signed and unsigned integers taken together
_KIND = defaultdict(lambda: "other", {"b": "boolean", "f": "float", "i": "integer", "u": "integer"})

Rounding = Literal["declared", "none"]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape (text for a symbolic dimension) and numpy type of an input or output.

    A picture has the shape of its planes (see `images`). What a classifier says has no shape: its
    label is a text or a whole number, its probabilities a dictionary, of type `object`.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: np.dtype[Any]
    color_space: str | None = None  # of an image input
    optional: bool = False  # an input that may be left out
    sizes: FlexibleShape | None = None  # of an input that has several


class Interpreter:
    """A `.mlpackage` with an ML Program, loaded from disk and executed operation by operation.

    With `rounding="declared"` every result that the program declares fp16 is rounded to the
    nearest fp16 number (ties to even); inside an operation everything is float32. With "none"
    fp16 is computed as float32, which tells rounding from other differences.

    Attributes:
        inputs, outputs, states: the specs, in the program's order.
        input_names, output_names: their names.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int = 1,
        rounding: Rounding = "declared",
        function: str | None = None,
    ) -> None:
        """Load and resolve a function of the package, the default one without its name.

        Raises:
            UsageError: there is nothing at `path`, or no such function in it.
            UnsupportedOperator: the program has an operation that cannot be executed here.
            ModelError: the package is damaged, or holds no ML Program.
        """
        self._rounds = rounding == "declared"
        self._threads = threads
        loaded = load_program(path, KERNELS, function)
        self._images: Mapping[str, ImageInput] = loaded.images
        self._defaults: Mapping[str, float] = loaded.defaults
        self._sizes: Mapping[str, FlexibleShape] = loaded.sizes
        self._plan: Plan = build_plan(loaded.function, threads=threads, rounding=self._rounds)
        self.inputs = tuple(
            replace(self._spec(tensor), sizes=self._sizes.get(tensor.name))
            for tensor in self._plan.inputs
        )
        self.outputs = tuple(self._spec(tensor) for tensor in self._plan.outputs)
        self.states = tuple(self._spec(tensor) for tensor in self._plan.states)
        self.input_names = [spec.name for spec in self.inputs]
        self.output_names = [spec.name for spec in self.outputs]

    def make_state(self) -> State:
        """States of zeros, for `run` to read and write."""
        return State(self._plan.states, self._take)

    def run(
        self,
        feeds: Mapping[str, Array],
        *,
        state: State | None = None,
        outputs: list[str] | None = None,
        observe: Observer | None = None,
    ) -> dict[str, Any]:
        """Execute the program once.

        Args:
            feeds: one array per input, optional ones as it may be; floating point of any width is
                taken for fp16 and fp32.
            state: what the program keeps; without it, it starts from zeros and keeps nothing.
            outputs: which outputs to return and in which order (all by default).
            observe: called with name and value of every tensor that is computed, in order. fp16
                values come as float32. Tensors that depend on constants alone are not seen. What it
                gives back takes the value's place.

        Returns:
            New arrays in the types of the specs; a label and a dictionary from a classifier.

        Raises:
            ModelError: an input is missing, unknown or of the wrong shape or type, an output is
                unknown, or an operation fails on these values.
        """
        wanted = self.output_names if outputs is None else outputs
        unknown = set(wanted) - set(self.output_names)
        if unknown:
            raise ModelError(
                f"the program has no output '{min(unknown)}'",
                why=f"its outputs are {', '.join(self.output_names)}",
            )
        kept = self.make_state() if state is None else state
        values: dict[str, Any] = {**self._plan.constants, **kept.cells}
        with np.errstate(all="ignore"):  # infinities and NaN are results here, not accidents
            values.update(self._taken(feeds))
            for step in self._fused if observe is None else self._plan.steps:
                step.run(values, observe)
        types = {spec.name: spec.dtype for spec in self.outputs}
        return {
            name: values[name] if types[name].kind == "O" else np.array(values[name], types[name])
            for name in wanted
        }

    @cached_property
    def _fused(self) -> tuple[Step | Segment, ...]:
        return fuse(self._plan)

    def _spec(self, tensor: Tensor) -> TensorSpec:
        half = tensor.dtype == "fp16" and self._rounds
        dtype = np.dtype(np.float16 if half else HELD_AS.get(tensor.dtype, np.object_))
        image = self._images.get(tensor.name)
        if image is not None:
            return TensorSpec(tensor.name, tensor.shape, image.dtype, image.color_space)
        return TensorSpec(tensor.name, tensor.shape, dtype, optional=tensor.name in self._defaults)

    def _taken(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if set(feeds) - set(self.input_names) or set(self.input_names) - {*feeds, *self._defaults}:
            raise ModelError(
                f"inputs {', '.join(sorted(feeds)) or 'none'} were given",
                why=f"the program's inputs are {', '.join(self.input_names)}",
            )
        taken = {}
        for tensor in self._plan.inputs:
            absent = tensor.name not in feeds
            array = filled(tensor, self._defaults[tensor.name]) if absent else feeds[tensor.name]
            taken[tensor.name] = self._take(tensor, array)
        return taken

    def _take(self, tensor: Tensor, array: Array) -> Array:
        if tensor.name in self._images:
            array = self._images[tensor.name].planes(array, tensor)
        array = np.asarray(array)
        held_as = np.dtype(HELD_AS[tensor.dtype])
        if not fits(array, tensor) or _KIND[array.dtype.kind] != _KIND[held_as.kind]:
            raise ModelError(
                f"input '{tensor.name}' got {array.dtype} {list(array.shape)}",
                why=f"the program takes {tensor.dtype} {list(tensor.shape)}",
            )
        sizes = self._sizes.get(tensor.name)
        if sizes is not None and not sizes.allows(array.shape):
            raise ModelError(
                f"input '{tensor.name}' got {array.dtype} {list(array.shape)}",
                why=f"the package takes the sizes {sizes}",
            )
        taken = np.asarray(array, held_as, order="C")
        rounds = self._rounds and tensor.dtype == "fp16"
        return round_to_half(taken, self._threads) if rounds else taken
