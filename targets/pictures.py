"""Models whose one input is a picture: what the preprocessing of the project says of it.

Targets that normalize inside the file start here: hub channel `c` is `(pixel - mean[c]) / std[c]`,
where `pixel` is channel `order[c]` of the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.errors import ModelError, UsageError
from edgewise.targets.base import Normalization

_DEFAULTS: Mapping[str, float] = {"mean": 0.0, "std": 1.0}


@dataclass(frozen=True, slots=True)
class PictureInput:
    """The input, its axis of channels, and the preprocessing with one number per channel."""

    source: ir.Value
    channel_axis: int
    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]
    order: tuple[int, ...]

    @property
    def normalization(self) -> Normalization:
        mean, std = (tuple(float(n) for n in numbers) for numbers in (self.mean, self.std))
        return Normalization(mean, std, self.order)

    @property
    def hub_dtype(self) -> str:
        return "uint8" if self.source.dtype == ir.DataType.UINT8 else "float32"


def picture_input(
    model: ir.Model, preprocessing: Mapping[str, Any] | None, target: str
) -> PictureInput:
    """The input of a prepared model.

    Args:
        preprocessing: as the project has it, None where it has none.
        target: whose option `fold_preprocessing` asks for it.

    Raises:
        UsageError: nothing says how pictures become inputs.
        ModelError: the model has several inputs, or one that pictures cannot feed.
    """
    if preprocessing is None:
        raise UsageError(
            "fold_preprocessing needs to know the preprocessing",
            where=f"[targets.{target}]",
            remedy="Describe it in [data.image].",
        )
    inputs = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    if len(inputs) != 1:
        raise refuse_picture(target, f"the model has {len(inputs)} inputs, and pictures feed one")
    source = inputs[0]
    axis = 3 if preprocessing.get("layout") == "nhwc" else 1
    bgr = preprocessing.get("color") == "bgr"
    channels = 1 if preprocessing.get("color") == "gray" else 3
    if source.shape is None or len(source.shape) != 4 or source.shape[axis] != channels:
        raise refuse_picture(target, f"input '{source.name}' is no picture of {channels} channels")
    mean, std = (_per_channel(preprocessing.get(k, d), channels) for k, d in _DEFAULTS.items())
    if source.dtype == ir.DataType.UINT8 and (mean.any() or (std != 1).any()):
        raise refuse_picture(
            target, f"input '{source.name}' takes uint8, and would be normalized to fractions"
        )
    if source.dtype not in (ir.DataType.FLOAT, ir.DataType.UINT8):
        raise refuse_picture(target, f"input '{source.name}' is {source.dtype}, not float32")
    order = tuple(reversed(range(channels))) if bgr else tuple(range(channels))
    return PictureInput(source, axis, mean, std, order)


def remaining_preprocessing(preprocessing: Mapping[str, Any], layout: str) -> dict[str, Any]:
    """What is left to do for the application: resize, crop, and uint8 pixels, RGB or gray."""
    color = "gray" if preprocessing.get("color") == "gray" else "rgb"
    rest = {"color": color, "mean": (0.0,), "std": (1.0,), "layout": layout.lower()}
    return {**preprocessing, **rest}


def refuse_picture(target: str, why: str) -> ModelError:
    return ModelError(
        "the preprocessing cannot be folded into the graph",
        where=f"[targets.{target}] fold_preprocessing",
        why=why,
        remedy="Leave it out, and preprocess in the application.",
    )


def _per_channel(numbers: Any, channels: int) -> npt.NDArray[np.float64]:
    return np.broadcast_to(np.asarray(numbers, np.float64).reshape(-1), (channels,)).copy()
