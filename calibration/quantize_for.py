"""The QDQ model for any quantized scheme: weights and activations, or weights alone."""

from __future__ import annotations

import onnx_ir as ir

from edgewise.calibration.quantize import Quantized, quantize_with_findings
from edgewise.calibration.recipe import PLAIN, Recipe
from edgewise.calibration.scheme import Scheme
from edgewise.calibration.statistics import Statistics
from edgewise.calibration.weight_only import quantize_weights
from edgewise.errors import UsageError
from edgewise.graph import known_ranges


def quantize_for(
    model: ir.Model,
    statistics: Statistics | None,
    scheme: Scheme,
    recipe: Recipe = PLAIN,
) -> Quantized:
    """`quantize_weights` where the scheme leaves activations in float, else
    `quantize_with_findings`.

    Args:
        model: hub model, never changed.
        statistics: collected with this model; None will do where activations stay in float,
            and where the model knows ranges of its own.
        scheme: a quantized one.
        recipe: what was chosen for the quantization of activations.

    Raises:
        UsageError: the scheme is a float one, statistics are needed and missing, or an unknown
            method.
        UnsupportedPrecision, ModelError: see the two functions.
    """
    if not scheme.is_quantized:
        raise UsageError(
            f"precision {scheme.precision} has nothing to quantize",
            remedy=f"Emit the hub model as it is: `edgewise emit --precision {scheme.precision}`.",
        )
    if not scheme.needs_statistics:
        return quantize_weights(model, scheme)
    if statistics is None and not known_ranges(model):
        raise UsageError(
            "statistics are missing",
            why=f"precision {scheme.precision} chooses the scales of activations from them",
            remedy="Collect them with `edgewise calibrate`, or choose a precision that quantizes "
            "weights alone (w8, w4 or a palette, where the target has it).",
        )
    return quantize_with_findings(model, statistics, scheme, recipe)
