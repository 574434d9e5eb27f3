"""The original file in LiteRT, fed by the names of its border, in its own types."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgewise.errors import ModelError
from edgewise.exporters.opened import Array
from edgewise.exporters.tflite.border import Border


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

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Outputs in the order of the border."""
        with _captured(self._where):
            if self._signature is None:
                return self._by_index(feeds)
            found = self._signature(**feeds)
            return [np.array(found[name]) for name, _ in self._border.outputs]

    def _by_index(self, feeds: Mapping[str, Array]) -> list[Array]:
        interpreter = self._interpreter
        shapes = {d["index"]: tuple(d["shape"]) for d in interpreter.get_input_details()}
        changed = [
            (n, index) for n, index in self._border.inputs if shapes[index] != feeds[n].shape
        ]
        for name, index in changed:
            interpreter.resize_tensor_input(index, feeds[name].shape)
        if changed:
            interpreter.allocate_tensors()
        for name, index in self._border.inputs:
            interpreter.set_tensor(index, feeds[name])
        interpreter.invoke()
        return [np.array(interpreter.get_tensor(index)) for _, index in self._border.outputs]


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
