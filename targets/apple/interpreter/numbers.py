"""How MIL's numbers are held in numpy, and how fp16 is rounded.

A tensor that MIL declares fp16 is held as float32 whose values are exact fp16 numbers: every
operation computes and accumulates in float32 and its result is rounded once. Core ML does not
document the width of its accumulators; this is the best case that a device can reach.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgewise.targets.apple.interpreter.kernels.base import Array
from edgewise.targets.apple.interpreter.kernels.engine import half_rounder

#: MIL type name -> numpy type that holds it; types of fewer than 8 bits use the next wider one
HELD_AS: dict[str, type[np.generic]] = {
    "fp16": np.float32,
    "fp32": np.float32,
    "bool": np.bool_,
    "int4": np.int8,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint1": np.uint8,
    "uint2": np.uint8,
    "uint3": np.uint8,
    "uint4": np.uint8,
    "uint6": np.uint8,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
}

#: type name of lists of tensors
LIST = "list"

#: MIL type name of modes and other texts
TEXT = "string"
#: what a classifier gives for its labels
DICTIONARY = "dictionary"

#: operations whose results are values of their inputs: rounding them again would change nothing
MOVES_VALUES = frozenset(
    (
        "concat",
        "cond",
        "coreml_update_state",
        "depth_to_space",
        "expand_dims",
        "flatten2d",
        "gather",
        "gather_along_axis",
        "gather_nd",
        "identity",
        "max_pool",
        "pixel_shuffle",
        "pixel_unshuffle",
        "read_state",
        "relu",
        "reshape",
        "reshape_like",
        "resize_nearest_neighbor",
        "reverse",
        "slice_by_index",
        "slice_by_size",
        "sliding_windows",
        "space_to_depth",
        "split",
        "squeeze",
        "stack",
        "tile",
        "transpose",
        "upsample_nearest_neighbor",
        "while_loop",
    )
)

#: below this size numpy's own casts cost less than a call into ONNX Runtime
_SMALL = 4096


def round_to_half(values: Array, threads: int = 1) -> Array:
    """The fp16 numbers nearest to float32 values: ties to even, overflow to infinity."""
    if values.size < _SMALL:
        with np.errstate(over="ignore"):
            return values.astype(np.float16).astype(np.float32)
    return half_rounder(threads)(values)


def held(value: Any, dtype: str) -> Any:
    """A constant of a program as kernels want it: text stays text, numbers become arrays."""
    return str(value) if dtype == TEXT else np.asarray(value).astype(HELD_AS[dtype])
