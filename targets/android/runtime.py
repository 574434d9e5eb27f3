"""The LiteRT interpreter: loading a file in silence, with its own words in the error."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ai_edge_litert.interpreter import Interpreter, OpResolverType

_WITHOUT_DELEGATES = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES


class LoadFailure(Exception):
    """LiteRT refused a model; the text says why, in LiteRT's words."""


def load(model: bytes | Path, threads: int, *, delegates: bool = True) -> Any:
    """An interpreter with its tensors allocated; its `delegates` are those by default, XNNPACK.

    Raises LoadFailure.
    """
    kernels = OpResolverType.AUTO if delegates else _WITHOUT_DELEGATES
    source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
    with _captured_stderr() as chatter:
        try:
            interpreter = Interpreter(
                **source, num_threads=threads, experimental_op_resolver_type=kernels
            )
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            reason = f"{error} {_last_error(chatter)}".strip()
            raise LoadFailure(" ".join(reason.split())) from error
    return interpreter


def resize(interpreter: Any, shapes: Mapping[int, Sequence[int]]) -> None:
    """Give inputs, by tensor index, another shape, and allocate again. Raises LoadFailure."""
    with _captured_stderr() as chatter:
        try:
            for index, shape in shapes.items():
                interpreter.resize_tensor_input(index, list(shape), strict=True)
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            reason = f"{error} {_last_error(chatter)}".strip()
            raise LoadFailure(" ".join(reason.split())) from error


def _last_error(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines()
    return next((line for line in reversed(lines) if line.startswith("ERROR")), "")


@contextmanager
def _captured_stderr() -> Iterator[Path]:
    """File descriptor 2 goes to a file: the runtime is C++ and prints to it on every load."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stderr"
        sys.stderr.flush()
        saved = os.dup(2)
        try:
            with path.open("wb") as file:
                os.dup2(file.fileno(), 2)
                yield path
        finally:
            os.dup2(saved, 2)
            os.close(saved)
