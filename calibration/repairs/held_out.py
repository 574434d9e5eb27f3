"""Factors per channel, chosen on one half of calibration data and tried on the other.

A tensor whose channels all fill its range leaves it more easily on data that was not seen than one
with a single wide channel. The halves are every other sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np
import onnx_ir as ir

from edgewise.calibration.repairs.base import RepairInput
from edgewise.calibration.repairs.channel_values import (
    ChannelValues,
    Vector,
    by_channel,
    tensors_of,
)
from edgewise.calibration.repairs.equalization_factors import Choice, span
from edgewise.data.source import Sample

Options = Mapping[str, Mapping[Choice, Vector]]


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """By tensor: mean squares (C,) of what the held-out half loses at the ends of the range that
    the first half gives each option; and the channel values of both halves together."""

    lost: Mapping[str, Mapping[Choice, Vector]]
    whole: Mapping[str, ChannelValues]


def half(given: RepairInput, first: int) -> Iterator[Sample]:
    """Every other sample, from 0 or 1 on."""
    return islice(islice(given.source, given.limit), first, None, 2)


def try_held_out(
    model: ir.Model,
    given: RepairInput,
    axes: Mapping[str, int],
    seen: Mapping[str, ChannelValues],
    options: Options,
    bounds: Mapping[str, Vector],
) -> HeldOut:
    """What each option loses on the second half of the data.

    Args:
        axes: of the channels of each tensor.
        seen: of the first half.
        options: factors (C,) that the tensors would be divided by.
        bounds: upper bounds (C,) of a Clip that would act on the scaled tensor, infinite without.
    """
    whole = {name: seen[name] for name in axes}
    lost = {name: {c: np.zeros(len(f)) for c, f in options[name].items()} for name in axes}
    counts = dict.fromkeys(axes, 0)
    for tensors in tensors_of(model, half(given, 1), axes, threads=given.threads):
        for name, array in tensors.items():
            new = ChannelValues.of(array, axes[name])
            whole[name] = whole[name] + new
            counts[name] += new.count
            rows = by_channel(array, axes[name])
            for choice, factors in options[name].items():
                low, high = span(factors, seen[name])
                bottom, top = low * factors, np.minimum(high, bounds[name]) * factors
                out = np.flatnonzero((new.maximum > top) | (new.minimum < bottom))
                if out.size:
                    kept = np.clip(rows[out], bottom[out, None], top[out, None])
                    lost[name][choice][out] += ((rows[out] - kept) ** 2).sum(axis=1)
    shares = {
        name: {choice: total / max(counts[name], 1) for choice, total in found.items()}
        for name, found in lost.items()
    }
    return HeldOut(shares, whole)
