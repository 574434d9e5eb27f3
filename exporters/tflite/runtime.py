"""The original file in LiteRT, fed by the names of its border.

Where the hub model has float32 in the place of a quantized input or output, the arrays are
quantized and dequantized as the application would: `real = (quantized - zero_point) * scale`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgewise.errors import ModelError
from edgewise.exporters.opened import Array
from edgewise.exporters.tflite.border import Border


@dataclass(frozen=True, slots=True)
class Slot:
    """An input or output of the file: a type, and scale and zero point where it is quantized."""

    name: str
    index: int
    dtype: np.dtype[Any]
    scale: float
    zero_point: int

    @classmethod
    def of(cls, name: str, details: Mapping[str, Any]) -> Slot:
        scale, zero_point = details["quantization"]
        return cls(name, details["index"], np.dtype(details["dtype"]), scale, zero_point)

    def stored(self, array: Array) -> Array:
        """What the file takes for an array of real values, or of its own type."""
        if array.dtype == self.dtype or not self.scale or array.dtype.kind != "f":
            return array
        limits = np.iinfo(self.dtype)
        found = np.round(array / self.scale) + self.zero_point
        return np.clip(found, limits.min, limits.max).astype(self.dtype)

    def real(self, array: Array) -> Array:
        """The real values of an array of the file."""
        if not self.scale or array.dtype.kind not in "iu":
            return array
        centred = array.astype(np.int32) - self.zero_point
        return np.asarray(np.multiply(centred, self.scale, dtype=np.float32))


class LiteRt:
    """One graph of a file in the interpreter, with one thread.

    Raises ModelError where LiteRT cannot load it, and says why in its words.
    """

    def __init__(self, path: Path, border: Border) -> None:
        self._where = str(path)
        self._border = border
        with _captured(self._where):
            from ai_edge_litert.interpreter import Interpreter

            self._interpreter: Any = Interpreter(model_path=str(path), num_threads=1)
            self._interpreter.allocate_tensors()
            self._signature: Any = (
                None
                if border.signature is None
                else self._interpreter.get_signature_runner(border.signature)
            )

    def run(self, feeds: Mapping[str, Array], *, real: bool) -> list[Array]:
        """Outputs in the order of the border; `real`: float32 for those that are quantized."""
        inputs, outputs = self._slots()
        arrays = {slot.name: slot.stored(feeds[slot.name]) for slot in inputs}
        with _captured(self._where):
            found = self._by_signature(arrays) if self._signature else self._by_index(arrays)
        results = zip(outputs, found, strict=True)
        return [slot.real(array) if real else array for slot, array in results]

    def _slots(self) -> tuple[list[Slot], list[Slot]]:
        if self._signature is not None:
            sides = self._signature.get_input_details(), self._signature.get_output_details()
            names = self._border.inputs, self._border.outputs
            return tuple(  # type: ignore[return-value]  # two lists
                [Slot.of(name, details[name]) for name, _ in side]
                for side, details in zip(names, sides, strict=True)
            )
        details = (self._interpreter.get_input_details(), self._interpreter.get_output_details())
        sides = []
        for side, found in zip((self._border.inputs, self._border.outputs), details, strict=True):
            sides.append([Slot.of(n, d) for (n, _), d in zip(side, found, strict=True)])
        return sides[0], sides[1]

    def _by_signature(self, arrays: Mapping[str, Array]) -> list[Array]:
        found = self._signature(**arrays)
        return [np.array(found[name]) for name, _ in self._border.outputs]

    def _by_index(self, arrays: Mapping[str, Array]) -> list[Array]:
        interpreter = self._interpreter
        inputs, outputs = self._slots()
        shapes = {d["index"]: tuple(d["shape"]) for d in interpreter.get_input_details()}
        changed = [slot for slot in inputs if shapes[slot.index] != arrays[slot.name].shape]
        for slot in changed:
            interpreter.resize_tensor_input(slot.index, arrays[slot.name].shape)
        if changed:
            interpreter.allocate_tensors()
        for slot in inputs:
            interpreter.set_tensor(slot.index, arrays[slot.name])
        interpreter.invoke()
        return [np.array(interpreter.get_tensor(slot.index)) for slot in outputs]


def tensor_shapes(
    path: Path, border: Border, sizes: Mapping[int, tuple[int, ...]]
) -> dict[int, tuple[int, ...]]:
    """The shape of each tensor of the border's graph, with those of inputs as in `sizes`.

    Raises ModelError where LiteRT cannot load the file, or take the sizes.
    """
    with _captured(str(path)):
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        interpreter = Interpreter(
            model_path=str(path), num_threads=1, experimental_op_resolver_type=plain
        )
        if border.graph == 0:
            for index, size in sizes.items():
                interpreter.resize_tensor_input(index, list(size), strict=True)
        interpreter.allocate_tensors()
        details = interpreter.get_tensor_details(border.graph)
        return {tensor["index"]: tuple(int(n) for n in tensor["shape"]) for tensor in details}


@contextmanager
def _captured(where: str) -> Iterator[None]:
    """File descriptor 2 goes to a file: the runtime is C++ and prints to it; its errors are read
    there."""
    with tempfile.TemporaryDirectory(prefix="edgewise-") as folder:
        said = Path(folder) / "stderr"
        sys.stderr.flush()
        saved = os.dup(2)
        try:
            with said.open("wb") as file:
                os.dup2(file.fileno(), 2)
            yield
        except (RuntimeError, ValueError) as error:
            lines = said.read_text(errors="replace").splitlines()
            told = next((line for line in reversed(lines) if line.startswith("ERROR")), "")
            raise ModelError(
                "LiteRT cannot run the model",
                where=where,
                why=told.removeprefix("ERROR:").strip() or str(error),
            ) from error
        finally:
            os.dup2(saved, 2)
            os.close(saved)
