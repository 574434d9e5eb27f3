"""Models that are quantized already, as float models with what the source knows of its tensors."""

from edgewise.exporters.quantized.float_form import FloatForm, float_form, is_quantized_source
from edgewise.exporters.quantized.opening import as_float
from edgewise.exporters.quantized.put_back import (
    ROUNDED_FORM,
    as_rounded,
    put_back,
    with_surviving_ranges,
)

__all__ = [
    "ROUNDED_FORM",
    "FloatForm",
    "as_float",
    "as_rounded",
    "float_form",
    "is_quantized_source",
    "put_back",
    "with_surviving_ranges",
]
