"""Fake quantization with learned scales.

A tensor r is rounded and saturated as its integers will be (Jacob et al. 2018, arXiv:1712.05877,
section 3), with v = r / s, zero point z, integers qmin..qmax:

    q = clamp(round(v) + z, qmin, qmax),    r^ = (q - z) s

Gradients are those of "Learned step size quantization" (Esser et al. 2020, arXiv:1902.08153,
section 2.1): rounding passes them straight through, saturation stops them,

    dr^/dr = 1 inside, 0 outside
    dr^/ds = round(v) - v inside, qmin - z below, qmax - z above

and that of s is divided by sqrt(N Q), for N values with one scale and the largest integer Q. What
is trained in the place of s is the logarithm of its change, s = s0 2^t, as in "Trained quantization
thresholds" (Jain et al. 2020, arXiv:1903.08066): scales of all magnitudes move at one pace, stay
positive, and begin at exactly s0. Zero points stay.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

#: below, a target stores another scale (see `parameters.storable_scales`)
_SMALLEST_HALF = float(np.finfo(np.float16).smallest_normal)
_SMALLEST = 1e-12


class _Rounded(torch.autograd.Function):
    """See the top of this module; `scale` has the rank of `real` or none."""

    @staticmethod
    def forward(
        context: Any,
        real: torch.Tensor,
        scale: torch.Tensor,
        low: int,
        high: int,
    ) -> torch.Tensor:
        steps = real / scale
        rounded = torch.round(steps)
        kept = rounded.clamp(low, high)
        context.save_for_backward(steps, kept, (rounded >= low) & (rounded <= high))
        context.shape, context.largest = scale.shape, max(-low, high)
        return kept * scale

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> Any:
        steps, kept, inside = context.saved_tensors
        (gradient,) = gradients
        of_scale = gradient * torch.where(inside, kept - steps, kept)
        share = max(of_scale.numel() // max(context.shape.numel(), 1), 1)
        reduced = of_scale.sum_to_size(context.shape) / (share * context.largest) ** 0.5
        return gradient * inside, reduced, None, None


class _Straight(torch.autograd.Function):
    """The second tensor, with the gradient of the first."""

    @staticmethod
    def forward(context: Any, value: torch.Tensor, replacement: torch.Tensor) -> torch.Tensor:
        return replacement.clone()

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> Any:
        return gradients[0], None


def round_to_steps(real: torch.Tensor, scale: torch.Tensor, low: int, high: int) -> torch.Tensor:
    """r^ for v between `low` and `high`, the limits of q - z."""
    result: torch.Tensor = _Rounded.apply(real, scale, low, high)  # type: ignore[no-untyped-call]
    return result


class LearnedScale(nn.Module):
    """One scale, or one per channel: float32 numbers of the type that the target stores.

    Args:
        scale: s0, shape () or (channels,).
        half: the target stores float16 scales.
        learned: False for what the target prescribes.
        ceiling: the largest; s0 may be the next float16 number above it.
    """

    initial: torch.Tensor

    def __init__(
        self,
        scale: npt.NDArray[np.float32],
        *,
        half: bool,
        learned: bool,
        ceiling: float = math.inf,
    ) -> None:
        super().__init__()
        self.register_buffer("initial", torch.from_numpy(np.array(scale, np.float32)))
        self.half_stored, self.ceiling = half, ceiling
        self.log2_change = nn.Parameter(torch.zeros_like(self.initial), requires_grad=learned)

    def forward(self, floor: torch.Tensor | None = None) -> torch.Tensor:
        """s, at least `floor`."""
        scale = self.initial * torch.exp2(self.log2_change)
        if not self.log2_change.requires_grad:
            return self.initial
        with torch.no_grad():
            stored = scale.clamp(_SMALLEST, self.ceiling)
            if floor is not None:
                stored = torch.maximum(stored, floor.to(stored.dtype))
            if self.half_stored:
                stored = _half_upwards(stored)
        result: torch.Tensor = _Straight.apply(scale, stored)  # type: ignore[no-untyped-call]
        return result


def _half_upwards(scale: torch.Tensor) -> torch.Tensor:
    """The next float16 number upwards, as float32: the one whose bits follow."""
    wanted = scale.clamp_min(_SMALLEST_HALF)
    short = wanted.to(torch.float16)
    above = (short.view(torch.int16) + 1).view(torch.float16)
    return torch.where(short.float() < wanted, above, short).float()


class QuantizedActivation(nn.Module):
    """Rounds tensors that share one scale and zero point.

    Args:
        scale: theirs, per tensor.
        low, high: least and largest q - z.
    """

    def __init__(self, scale: LearnedScale, low: int, high: int) -> None:
        super().__init__()
        self.scale, self.low, self.high = scale, low, high

    def forward(self, real: torch.Tensor) -> torch.Tensor:
        return round_to_steps(real, self.scale(), self.low, self.high)


class QuantizedWeight(nn.Module):
    """A trained weight that is rounded at each step.

    Args:
        weight: its float values.
        scale: per tensor, or one per channel of `axis`.
        limit: integers run from -limit to limit.
    """

    def __init__(
        self, weight: npt.NDArray[np.float32], scale: LearnedScale, axis: int | None, limit: int
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(np.array(weight, np.float32)))
        self.scale, self.axis, self.limit = scale, axis, limit

    def spread(self, scale: torch.Tensor) -> torch.Tensor:
        """The scales along their axis."""
        if self.axis is None:
            return scale
        shape = [1] * self.weight.ndim
        shape[self.axis] = -1
        return scale.reshape(shape)

    def forward(self, floor: torch.Tensor | None = None) -> torch.Tensor:
        """The rounded weight; scales are at least `floor`."""
        scale = self.spread(self.scale(floor))
        return round_to_steps(self.weight, scale, -self.limit, self.limit)
