"""The artifact against the ONNX model that it was emitted from.

Differences are counted in LSB: steps of the scale with which the QDQ model quantizes the output. A
faithful artifact of a shallow model stays within 2 LSB, one for the rounding of the last layer and
one that earlier layers hand on, and gives the same argmax on 99.5 % of the rows. Deep models
amplify single roundings, so the limits follow the noise floor where that is higher: what ONNX
Runtime differs from itself on the same inputs, fused against unfused. Fused kernels are one
faithful way to round the arithmetic of the QDQ model and the artifact's are another; neither is
nearer to the truth, and their largest differences over a sample scatter, hence a factor of two:

    limit of LSB            = max(2, 2 * floor), with 16 bits max(64, 2 * floor)
    limit of disagreement   = max(0.5 %, 2 * disagreement of the floor, one example)

A step of 16 bits is 256 times smaller than one of 8, while layers round as often and kernels have
tables of their own; 64 such steps are a quarter of a step of 8 bits.

The floor tells noise from error only in distribution; that every single layer is right is told by
`layers`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from edgewise.findings import Finding
from edgewise.graph import TensorQuantization, quantization_of
from edgewise.graph.quantized import DEQUANTIZE
from edgewise.targets.validation.agreement import Agreement, Floats, Outputs, paired
from edgewise.targets.validation.results import Equivalence, Layers, NoiseFloor

GATE_MAX_LSB = 2.0
GATE_MAX_LSB_16_BITS = 64.0
GATE_ARGMAX_AGREEMENT = 0.995
#: a single example that disagrees is no evidence, unless it is more than this share of them
_SLACK = 0.05
#: how much further than the noise floor an artifact may be
FLOOR_FACTOR = 2.0

#: an 8-bit output cannot differ by more; larger differences share the last bin
_BINS = 1 << 16
#: float32 cannot hold q * scale exactly: a difference this close to a whole LSB is one
_WHOLE_LSB = 1e-3
#: operators that move values without changing them
_MOVING = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


def output_bits(model: ir.Model) -> int | None:
    """The fewest bits that a quantized output has; None where all are computed in float."""
    found = [_output_quantization(value) for value in model.graph.outputs]
    bits = [8 * q.zero_point.dtype.itemsize for q in found if q is not None and q.per_tensor]
    return min(bits, default=None)


def output_scales(model: ir.Model) -> dict[str, float | None]:
    """Per graph output, the per-tensor scale of the DequantizeLinear that gives its values; None
    where the output is computed in float."""
    return {str(value.name): _scale(value) for value in model.graph.outputs}


def _scale(value: ir.Value) -> float | None:
    quantization = _output_quantization(value)
    if quantization is None or not quantization.per_tensor:
        return None
    return float(quantization.scale)


def _output_quantization(value: ir.Value) -> TensorQuantization | None:
    node = value.producer()
    while node is not None and node.op_type in _MOVING and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    if node is None or node.op_type != DEQUANTIZE:
        return None
    return quantization_of(node)


class EquivalenceMeter:
    """Gathers outputs example by example; memory is a histogram of fixed size."""

    def __init__(self, scales: Mapping[str, float | None], bits: int | None = None) -> None:
        self._scales, self._bits = scales, bits
        self._agreement = Agreement()
        self._max_lsb = 0.0
        self._histogram = np.zeros(_BINS, dtype=np.int64)  # of differences in whole LSB

    @property
    def samples(self) -> int:
        return self._agreement.samples

    def observe(self, expected: Outputs, actual: Outputs, sample: str = "") -> None:
        """One example: what the reference gives, and what the artifact gives."""
        self._agreement.observe(expected, actual, sample)
        for name, wanted, found in paired(expected, actual):
            scale = self._scales.get(name)
            if scale is not None and np.isfinite(found).all():
                self._count(np.abs(found - wanted) / scale)

    def _count(self, lsb: Floats) -> None:
        whole = np.rint(lsb)
        snapped = np.where(np.abs(lsb - whole) < _WHOLE_LSB, whole, lsb)
        self._max_lsb = max(self._max_lsb, float(snapped.max(initial=0)))
        bins = np.minimum(whole, _BINS - 1).astype(np.int64).reshape(-1)
        self._histogram += np.bincount(bins, minlength=_BINS)

    def result(self, floor: NoiseFloor | None = None, layers: Layers | None = None) -> Equivalence:
        """`p99_lsb` is the smallest whole number of LSB that 99 % of the elements stay within."""
        agreement = self._agreement
        reason = agreement.not_finite_reason
        if not agreement.samples or reason:
            return not_measured(reason or "there is no data", agreement.samples)
        in_float = [name for name, scale in self._scales.items() if scale is None]
        has_lsb = bool(self._histogram.any())
        return Equivalence(
            max_lsb=self._max_lsb if has_lsb else None,
            p99_lsb=self._percentile(0.99) if has_lsb else None,
            argmax_agreement=agreement.argmax_agreement,
            sqnr_db=agreement.sqnr_db,
            max_abs_error=agreement.max_abs_error,
            identical=agreement.identical,
            samples=agreement.samples,
            reason=f"no LSB for {', '.join(in_float)}: computed in float" if in_float else None,
            floor=floor,
            layers=layers,
            bits=self._bits,
        )

    def floor(self) -> NoiseFloor:
        """The figures as a noise floor, when both sides were the reference."""
        found = self.result()
        return NoiseFloor(
            found.max_lsb, found.p99_lsb, found.argmax_agreement, found.samples, found.reason
        )

    def _percentile(self, share: float) -> float:
        within = np.cumsum(self._histogram)
        return float(np.searchsorted(within, np.ceil(share * within[-1])))


def not_measured(reason: str, samples: int = 0) -> Equivalence:
    """The result where there is nothing to compare."""
    return Equivalence(None, None, None, None, None, False, samples, reason)


def limits(floor: NoiseFloor | None, samples: int, bits: int | None = None) -> tuple[float, float]:
    """The most LSB, and the least agreement of the argmax, that the gate lets pass."""
    lsb = GATE_MAX_LSB_16_BITS if bits == 16 else GATE_MAX_LSB
    agreement = min(GATE_ARGMAX_AGREEMENT, 1.0 - min(1.0 / max(samples, 1), _SLACK))
    if floor is not None and floor.max_lsb is not None:
        lsb = max(lsb, FLOOR_FACTOR * floor.max_lsb)
    if floor is not None and floor.argmax_agreement is not None:
        agreement = min(agreement, 1.0 - FLOOR_FACTOR * (1.0 - floor.argmax_agreement))
    return lsb, agreement


def equivalence_findings(result: Equivalence) -> list[Finding]:
    """A warning where the artifact is not the model it was made from, by the gate above."""
    if result.max_lsb is None and result.argmax_agreement is None and result.samples:
        return [Finding("validation/not-equal", "error", result.reason or "no figures")]
    most, least = limits(result.floor, result.samples, result.bits)
    misses = []
    if result.max_lsb is not None and result.max_lsb > most:
        misses.append(f"outputs differ by up to {result.max_lsb:.3g} LSB (limit {most:.3g})")
    agreement = result.argmax_agreement
    if agreement is not None and agreement < least - 1e-9:
        misses.append(f"the argmax is equal on {agreement:.2%} (limit {least:.2%})")
    if not misses:
        return []
    return [
        Finding(
            "validation/not-equal",
            "warning",
            f"over {result.samples} examples, {' and '.join(misses)} against the ONNX model that "
            f"the artifact was emitted from{_explanation(result)}",
            remedy="Judge the artifact by its accuracy: deep networks amplify single roundings, "
            "those with random weights most of all.",
        )
    ]


def _explanation(result: Equivalence) -> str:
    """What is known of the cause: the noise floor, and the layers."""
    parts = []
    floor, layers = result.floor, result.layers
    if floor is not None and floor.max_lsb is not None:
        parts.append(f"ONNX Runtime differs from itself by {floor.max_lsb:.3g} LSB")
    if layers is not None and layers.max_lsb is not None and not layers.beyond:
        parts.append("every single layer is within its limit")
    return f"; {', and '.join(parts)}" if parts else ""
