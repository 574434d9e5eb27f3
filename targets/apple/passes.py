"""The coremltools passes that a program goes through, by name and in order.

An explicit list, because coremltools' default pipeline changes the numbers of a quantized model:

- `common::int_op_canonicalization` drops the requantization in `dequantize(s1) -> reshape ->
  quantize(s2)` when the scales differ: a wrong result (coremltools 9.0);
- `common::nullify_redundant_quantization_zero_point` turns int8 with zero point -128 into uint8;
- `common::distributive_quantized_binary_op_scale_normalization` rescales the inputs of additions;
- `common::dequantize_to_constexpr`, `common::dequantize_quantize_pair_elimination` and
  `common::merge_affine_dequantize_with_consecutive_ops` rewrite quantization that is already in
  its final form.

`edgewise::reduce_transposes` is coremltools' pass of that name with a fixed order (`transposes`).

The rest is left out because the lowerings never produce what it cleans up: GELU and normalizations
that a model spells out are recognised in ONNX (`edgewise.graph.patterns`), where coremltools'
patterns miss them, and tensors of more than five axes are rewritten there (`rank_limit`).
"""

from __future__ import annotations

from typing import Any

from edgewise.targets.apple import transposes  # noqa: F401  # registers its pass
from edgewise.targets.apple._coremltools import PassPipeline

_FUSIONS = (
    "common::const_elimination",
    "common::const_deduplication",
    "common::fuse_matmul_weight_bias",
    "common::fuse_linear_bias",
    "common::fuse_leaky_relu",
    "common::merge_consecutive_paddings",
    "common::fuse_conv_scale",
    "common::fuse_conv_bias",
    "common::fuse_elementwise_to_batchnorm",
    "common::fuse_conv_batchnorm",
    "common::merge_consecutive_relus",
    "common::merge_consecutive_reshapes",
    "common::merge_consecutive_transposes",
    "common::fuse_transpose_matmul",
    "edgewise::reduce_transposes",
    "common::noop_elimination",
    "common::dedup_op_and_var_names",
)
_NARROWING = ("common::add_fp16_cast",)
_CLEANUP = (
    "common::cast_optimization",
    "common::const_elimination",
    "common::const_deduplication",
    "common::topological_reorder",
    "common::dead_code_elimination",
)
#: write a state right behind the operation that makes its value, and read it from there: what Core
#: ML can do in place
_STATES = (
    "common::canonicalize_inplace_pattern",
    "common::prefer_state_in_downstream",
    "common::dead_code_elimination",
)


def pipeline(compute: str, *, stateful: bool = False) -> Any:
    """A `PassPipeline` for computation in `fp16` or `fp32`."""
    narrowing = _NARROWING if compute == "fp16" else ()
    names = [*_FUSIONS, *narrowing, *_CLEANUP, *(_STATES if stateful else ())]
    return PassPipeline(pass_names=names, pipeline_name="edgewise")
