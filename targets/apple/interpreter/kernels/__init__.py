"""One kernel per MIL operation, one family per file; this table is the only list of them."""

from __future__ import annotations

from edgewise.targets.apple.interpreter.kernels import (
    activation,
    classification,
    convolution,
    creation,
    elementwise,
    indexing,
    linear,
    lists,
    normalization,
    pooling,
    quantization,
    rearrange,
    recurrent,
    reduction,
    regions,
    resize,
    sampling,
    state,
    suppression,
)
from edgewise.targets.apple.interpreter.kernels.base import Kernel

__all__ = ["FAMILIES", "KERNELS"]

FAMILIES: tuple[dict[str, Kernel], ...] = (
    activation.KERNELS,
    classification.KERNELS,
    convolution.KERNELS,
    creation.KERNELS,
    elementwise.KERNELS,
    indexing.KERNELS,
    linear.KERNELS,
    lists.KERNELS,
    normalization.KERNELS,
    pooling.KERNELS,
    quantization.KERNELS,
    rearrange.KERNELS,
    recurrent.KERNELS,
    reduction.KERNELS,
    regions.KERNELS,
    resize.KERNELS,
    sampling.KERNELS,
    state.KERNELS,
    suppression.KERNELS,
)

#: MIL operation -> kernel; two families never share a name (tests/apple/test_mil_kernel_table.py)
KERNELS: dict[str, Kernel] = {
    name: kernel for family in FAMILIES for name, kernel in family.items()
}
