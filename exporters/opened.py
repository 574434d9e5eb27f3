"""What opening a source needs and gives, whatever it was made with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt
import onnx_ir as ir

from edgewise.data.preprocessing import Preprocessing
from edgewise.findings import Finding
from edgewise.graph.quantized import TensorQuantization

Array = npt.NDArray[Any]
#: by input name; a dimension is a size, or the name of one that stays free
Shapes = Mapping[str, Sequence[int | str]]
#: runs the original: arrays by input name to arrays in the order of the outputs
Runner = Callable[[Mapping[str, Array]], list[Array]]
#: runs the original: arrays by input name to the results of its layers, in the order they are made
LayerRunner = Callable[[Mapping[str, Array]], Iterable[tuple[str, Array]]]
ExporterName = Literal["auto", "dynamo", "torchscript"]
SourceKind = Literal[
    "onnx",
    "onnx-model",
    "torch-module",
    "torch-program",
    "torch-script",
    "keras",
    "saved-model",
    "tflite",
    "transformers",
    "sklearn",
    "jax",
]


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What the user says of a source beside where it is: `[model]` of the project file.

    Attributes:
        input_shapes: per input; a name in the place of a size keeps that dimension free.
        example: one real input, arrays by input name, where there are data that tell without
            knowing the model; see `edgewise.data.peek`, which names pictures "".
        weights: state dict for the module that a factory makes.
        signature: of a SavedModel or TFLite file with several.
        task: of a Hugging Face model, such as `image-classification`.
        exporter: of PyTorch; `auto` takes TorchScript's where dynamo's fails.
        allow_code: load files that hold code, which runs it.
        base: folder that relative paths and modules are looked up in; None: the working directory.
    """

    input_shapes: Shapes = field(default_factory=dict)
    example: Mapping[str, Array] | None = None
    weights: str | None = None
    signature: str | None = None
    task: str | None = None
    exporter: ExporterName = "auto"
    allow_code: bool = False
    base: Path | None = None


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A source that was read and is ONNX now.

    Attributes:
        model: not yet canonical.
        open_runner: makes the original runnable, once.
        exporter: what wrote the ONNX, with its version; empty where the source is ONNX.
        open_layers: makes the original runnable layer by layer; None where it cannot be.
        findings: remarks, such as another exporter than the first choice.
        preprocessing: of the input, where the source says.
        labels: names of the classes, where the source says.
        ranges: of a source that was quantized already: scale and zero point by name of a value of
            `model`, which is its float form.
        tolerance: of the parity check, relative; None: the general one.
    """

    kind: SourceKind
    model: ir.Model
    open_runner: Callable[[], Runner]
    exporter: str = ""
    open_layers: Callable[[], LayerRunner] | None = None
    findings: tuple[Finding, ...] = ()
    preprocessing: Preprocessing | None = None
    labels: tuple[str, ...] = ()
    ranges: Mapping[str, TensorQuantization] | None = None
    tolerance: float | None = None
