"""Hub model and data in, statistics out; statistics and a scheme in, QDQ model out.

statistics = collect_statistics(model, source)
qdq = quantize(model, statistics, scheme)
weights_only = quantize_weights(model, scheme).model
"""

from __future__ import annotations

from edgewise.calibration.collect import collect_statistics, observed_tensors
from edgewise.calibration.quantize import Quantized, quantize, quantize_with_findings
from edgewise.calibration.ranges import DEFAULT_PERCENTILE, METHODS
from edgewise.calibration.recipe import Recipe
from edgewise.calibration.scheme import (
    PRECISION_ALIASES,
    NumberFormat,
    Palette,
    Precision,
    QuantParams,
    Scheme,
)
from edgewise.calibration.statistics import Statistics, TensorStatistics, model_hash
from edgewise.calibration.weight_only import quantize_weights

__all__ = [
    "DEFAULT_PERCENTILE",
    "METHODS",
    "PRECISION_ALIASES",
    "NumberFormat",
    "Palette",
    "Precision",
    "QuantParams",
    "Quantized",
    "Recipe",
    "Scheme",
    "Statistics",
    "TensorStatistics",
    "collect_statistics",
    "model_hash",
    "observed_tensors",
    "quantize",
    "quantize_weights",
    "quantize_with_findings",
]
