"""The artifact against its QDQ model layer by layer, before differences accumulate with depth.

Every layer of the artifact is fed what the QDQ model feeds it, the very integers, so that a layer's
difference is its own: the rounding of its kernel. Outputs of a deep network say little about that,
because each layer amplifies what the ones before it hand on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import onnx_ir as ir

from edgewise.targets.base import Array, Artifact, Feeds

#: what a faithful kernel stays within: one rounding at a tie or in another precision
LAYER_LSB = 1.0
_STEPS_OF_A_FLOAT = 255
_BINS = 1 << 16


@dataclass(frozen=True, slots=True)
class LayerDifference:
    """One layer over all samples. Differences are in steps (LSB) of the output's scale.

    A float output has no scale: its step is 1/255 of the range that the reference gives, zero
    included, as in the ranges that a quantizer takes.
    """

    node: str  # the ONNX node that computes the tensor
    tensor: str  # the tensor of the QDQ model
    operators: tuple[str, ...]  # what the artifact computes it with
    elements: int
    max_lsb: float
    p99_lsb: float
    different: float  # share of the elements that are not equal, 0..1
    #: what the artifact's kernels may differ by, and why where it is more than one step
    tolerance: float = LAYER_LSB
    reason: str = ""

    @property
    def ok(self) -> bool:
        return self.max_lsb <= self.tolerance


@dataclass(frozen=True, slots=True)
class LayerReport:
    """All layers in the order of execution, over `samples` inputs."""

    layers: tuple[LayerDifference, ...]
    samples: int

    @property
    def worst(self) -> LayerDifference | None:
        """The layer that is furthest above (or least below) its tolerance."""
        return max(self.layers, key=lambda layer: layer.max_lsb - layer.tolerance, default=None)

    @property
    def beyond(self) -> tuple[LayerDifference, ...]:
        """The layers that differ by more than their tolerance."""
        return tuple(layer for layer in self.layers if not layer.ok)


class Steps:
    """Differences in steps (LSB), gathered over samples in memory of a fixed size."""

    def __init__(self) -> None:
        self._histogram = np.zeros(1, np.int64)
        self.largest = 0.0

    def add(self, found: Array, expected: Array) -> None:
        """Integers count as they are; a float has 255 steps over the range that is expected."""
        if found.dtype.kind == "f":
            span = float(np.max(expected, initial=0)) - float(np.min(expected, initial=0))
            span = max(span, float(np.finfo(np.float32).tiny))
            steps = np.abs(found.astype(np.float64) - expected) * (_STEPS_OF_A_FLOAT / span)
        else:
            steps = np.abs(found.astype(np.int32) - expected.astype(np.int32)).astype(np.float64)
        self.largest = max(self.largest, float(steps.max(initial=0)))
        whole = np.minimum(np.ceil(steps), _BINS).astype(np.int64)
        counts = np.bincount(whole.reshape(-1), minlength=self._histogram.size)
        counts[: self._histogram.size] += self._histogram
        self._histogram = counts

    @property
    def elements(self) -> int:
        return int(self._histogram.sum())

    @property
    def p99(self) -> float:
        within = np.cumsum(self._histogram)
        return float(np.searchsorted(within, np.ceil(0.99 * self.elements)))

    @property
    def different(self) -> float:
        """The share that is not equal."""
        return 1.0 - float(self._histogram[0]) / self.elements if self.elements else 0.0


@runtime_checkable
class LayerwiseTarget(Protocol):
    """A target whose artifacts can be taken apart into layers."""

    def compare_layers(
        self, model: ir.Model, artifact: Artifact, feeds: Iterable[Feeds], *, threads: int = 1
    ) -> LayerReport:
        """Feed each layer of the artifact with the QDQ model's own values.

        Raises ModelError when the artifact was not emitted from this model.
        """
