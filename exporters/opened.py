"""What opening a source gives, whatever it was made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy.typing as npt
import onnx_ir as ir

Array = npt.NDArray[Any]
Shapes = Mapping[str, Sequence[int]]
#: runs the original: arrays by input name to arrays in the order of the outputs
Runner = Callable[[Mapping[str, Array]], list[Array]]
SourceKind = Literal["onnx", "onnx-model", "torch-module", "torch-program"]


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """`model` is not yet canonical. `open_runner` makes the original runnable, once."""

    kind: SourceKind
    model: ir.Model
    open_runner: Callable[[], Runner]
