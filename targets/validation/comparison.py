"""The reference model, run beside an artifact: unfused for the comparison, fused for its noise."""

from __future__ import annotations

import time
from dataclasses import dataclass

import onnx_ir as ir

from edgewise.data.source import Array, Sample
from edgewise.findings import Finding
from edgewise.graph import OrtSession, is_quantized_model
from edgewise.targets.host_cpu import read_host_cpu
from edgewise.targets.validation.equivalence import (
    EquivalenceMeter,
    output_bits,
    output_scales,
)
from edgewise.targets.validation.results import Equivalence, Layers, NoiseFloor

_SATURATES = "ONNX Runtime's integer kernels saturate in 16 bits on this processor, or may do so"


@dataclass(frozen=True, slots=True)
class EquivalenceLimit:
    """The reference runs unfused and slowly: stop comparing after so many examples, or so much
    time in the reference, but not before `at_least`."""

    samples: int = 2000
    seconds: float = 20.0
    at_least: int = 16


class Comparison:
    """The reference, run beside the artifact until the limit is reached."""

    def __init__(self, reference: ir.Model, threads: int, limit: EquivalenceLimit) -> None:
        scales = output_scales(reference)
        self.meter = EquivalenceMeter(scales, output_bits(reference))
        self._session = OrtSession(reference, threads=threads, optimize="none")
        self._noise = _Noise(reference, threads) if is_quantized_model(reference) else None
        self._limit = limit
        self._seconds = 0.0

    @property
    def done(self) -> bool:
        count, limit = self.meter.samples, self._limit
        return count >= limit.samples or (count >= limit.at_least and self._seconds > limit.seconds)

    def observe(self, sample: Sample, outputs: dict[str, Array]) -> None:
        """Compare with what the artifact gives for an example, unless there is enough of it."""
        if self.done:
            return
        began = time.monotonic()
        expected = self._session.run(sample.feeds)
        if self._noise is not None:
            self._noise.observe(sample, expected)
        self._seconds += time.monotonic() - began
        self.meter.observe(expected, outputs, sample.name)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What ONNX Runtime could not do for the noise floor."""
        return () if self._noise is None else self._noise.findings

    def result(self, layers: Layers | None) -> Equivalence:
        """The figures, with the noise floor where the reference is a QDQ model."""
        return self.meter.result(None if self._noise is None else self._noise.floor(), layers)


class _Noise:
    """The reference once more, with fused integer kernels.

    Where those saturate in 16 bits they are no faithful way to round, and there is no floor.
    """

    def __init__(self, reference: ir.Model, threads: int) -> None:
        self._meter = EquivalenceMeter(output_scales(reference))
        self._session = None
        if read_host_cpu().saturates is False:
            self._session = OrtSession(reference, threads=threads, optimize="all")

    @property
    def findings(self) -> tuple[Finding, ...]:
        if self._session is None or not self._session.switched_off:
            return ()
        return (
            Finding(
                "validation/noise-floor",
                "info",
                "the noise floor was measured without ONNX Runtime's "
                f"{' and '.join(self._session.switched_off)}: with it, ONNX Runtime refuses the "
                "model for a zero point that it inserts itself",
            ),
        )

    def observe(self, sample: Sample, expected: dict[str, Array]) -> None:
        if self._session is not None:
            self._meter.observe(expected, self._session.run(sample.feeds), sample.name)

    def floor(self) -> NoiseFloor:
        if self._session is None:
            return NoiseFloor(None, None, None, 0, _SATURATES)
        return self._meter.floor()
