"""How well each tensor of a QDQ model is kept: one pass over a few samples, in both forms.

For a tensor x with the values x' in the QDQ model, and r(x) = DQ(Q(x)) its own rounding alone:

    SQNR     = 10 log10( sum x^2 / sum (x' - x)^2 )    all before it is in integers, too
    own SQNR = 10 log10( sum x^2 / sum (r(x) - x)^2 )

A tensor with a low SQNR and a high own SQNR only hands on what others did.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewise.calibration.gates import GatedModel
from edgewise.calibration.output_error import with_outputs
from edgewise.data.source import DataSource
from edgewise.graph import OrtSession, TensorQuantization
from edgewise.progress import SILENT, Progress

Floats = npt.NDArray[np.float32]
_KEPT_PER_SAMPLE = 4096


@dataclass(frozen=True, slots=True, eq=False)
class TensorError:
    """One quantized tensor over all samples.

    `low` and `high` are those of its float values, `count` their number, `values` float32 (n,)
    some of them, evenly chosen. `saturated` is the share of values beyond the integers, and
    `saturation` their share of the tensor's own error. `channels` is the mean magnitude of each
    channel, float64 (channels,), along axis 1 of rank 4 and more, the last axis of rank 2 and 3;
    None otherwise.
    """

    name: str
    quantization: TensorQuantization
    low: float
    high: float
    count: int
    sqnr_db: float
    own_sqnr_db: float
    saturated: float
    saturation: float
    values: Floats
    channels: npt.NDArray[np.float64] | None


def tensor_errors(
    gated: GatedModel,
    source: DataSource,
    *,
    limit: int,
    threads: int = 1,
    progress: Progress = SILENT,
) -> dict[str, TensorError]:
    """By name of the tensor (what QuantizeLinear reads), in graph order.

    Raises:
        DataError: what `source` raises.
        ModelError: ONNX Runtime cannot run the model.
    """
    names = [gated.values[tensor] for tensor in gated.pairs]
    session = OrtSession(with_outputs(gated.model, names), threads=threads)
    sums = {tensor: _Sums(gated.quantizations[tensor]) for tensor in gated.pairs}
    closed, opened = gated.gates((), ()), gated.all_open()
    total = min(limit, len(source))
    for sample in progress.track(islice(source, limit), "tensors", total):
        wanted = session.run({**sample.feeds, **closed}, names)
        found = session.run({**sample.feeds, **opened}, names)
        for tensor, part in sums.items():
            name = gated.values[tensor]
            part.add(wanted[name], found[name])
    return {tensor: part.result(tensor) for tensor, part in sums.items() if part.count}


class _Sums:
    def __init__(self, quantization: TensorQuantization) -> None:
        self.count = 0
        self._quantization = quantization
        self._signal = self._noise = self._own = self._beyond_noise = 0.0
        self._beyond = 0
        self._low, self._high = math.inf, -math.inf
        self._kept: list[Floats] = []
        self._channels: npt.NDArray[np.float64] | None = None
        self._samples = 0

    def add(self, wanted: npt.NDArray[Any], found: npt.NDArray[Any]) -> None:
        finite = np.isfinite(wanted)
        if not finite.all():  # what a mask of minus infinity runs through
            wanted, found = wanted[finite], found[finite]
        if not wanted.size:
            return
        rounded = self._quantization.dequantize(self._quantization.quantize(wanted))
        own = np.square(rounded.astype(np.float64) - wanted)
        limits = np.iinfo(self._quantization.zero_point.dtype)
        ends = [
            self._quantization.dequantize(np.asarray(end, self._quantization.zero_point.dtype))
            for end in (limits.min, limits.max)
        ]
        half = self._quantization.scale / 2
        beyond = (wanted < ends[0] - half) | (wanted > ends[1] + half)
        self.count += wanted.size
        self._signal += float(np.square(wanted, dtype=np.float64).sum())
        self._noise += float(np.square(found.astype(np.float64) - wanted).sum())
        self._own += float(own.sum())
        self._beyond += int(beyond.sum())
        self._beyond_noise += float(own[beyond].sum())
        self._low = min(self._low, float(wanted.min()))
        self._high = max(self._high, float(wanted.max()))
        flat = wanted.reshape(-1)
        self._samples += 1
        self._kept.append(flat[:: max(1, flat.size // _KEPT_PER_SAMPLE)].astype(np.float32))
        if wanted.ndim > 1:
            self._add_channels(wanted)

    def _add_channels(self, array: npt.NDArray[Any]) -> None:
        axis = 1 if array.ndim > 3 else array.ndim - 1
        others = tuple(index for index in range(array.ndim) if index != axis)
        means = np.abs(array).mean(axis=others, dtype=np.float64)
        if self._channels is not None and self._channels.shape == means.shape:
            means = self._channels + means
        self._channels = means

    def result(self, name: str) -> TensorError:
        channels = self._channels
        return TensorError(
            name,
            self._quantization,
            self._low,
            self._high,
            self.count,
            _decibels(self._signal, self._noise),
            _decibels(self._signal, self._own),
            self._beyond / self.count,
            self._beyond_noise / self._own if self._own else 0.0,
            np.concatenate(self._kept),
            None if channels is None else channels / self._samples,
        )


def _decibels(signal: float, noise: float) -> float:
    if noise <= 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -math.inf
