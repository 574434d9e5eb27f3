"""Rewrites that bring any model to the form that the targets know, one per file."""

from collections.abc import Mapping

from edgewise.exporters.passes.base import Declined, Pass, PassOutcome
from edgewise.exporters.passes.drop_zero_states import drop_zero_states
from edgewise.exporters.passes.expand_attention import expand_attention
from edgewise.exporters.passes.expand_ml_linear import expand_ml_linear
from edgewise.exporters.passes.fold_affine import fold_affine
from edgewise.exporters.passes.fold_batch_normalization import fold_batch_normalization
from edgewise.exporters.passes.fold_constants import fold_constants
from edgewise.exporters.passes.fold_pads import fold_pads
from edgewise.exporters.passes.fold_scales import fold_scales
from edgewise.exporters.passes.fuse_affine import fuse_affine
from edgewise.exporters.passes.fuse_gelu import fuse_gelu
from edgewise.exporters.passes.fuse_group_normalization import fuse_group_normalization
from edgewise.exporters.passes.fuse_hard_activations import fuse_hard_activations
from edgewise.exporters.passes.fuse_linear import fuse_linear
from edgewise.exporters.passes.fuse_mean import fuse_mean
from edgewise.exporters.passes.fuse_normalization import fuse_normalization
from edgewise.exporters.passes.fuse_repeats import fuse_repeats
from edgewise.exporters.passes.fuse_silu import fuse_silu
from edgewise.exporters.passes.fuse_softmax import fuse_softmax
from edgewise.exporters.passes.keep_free_sizes import keep_free_sizes
from edgewise.exporters.passes.merge_clips import merge_clips
from edgewise.exporters.passes.merge_concats import merge_concats
from edgewise.exporters.passes.merge_reductions import merge_reductions
from edgewise.exporters.passes.merge_reshapes import merge_reshapes
from edgewise.exporters.passes.merge_slices import merge_slices
from edgewise.exporters.passes.merge_transposes import merge_transposes
from edgewise.exporters.passes.place_transposes import place_transposes
from edgewise.exporters.passes.remove_identities import remove_identities
from edgewise.exporters.passes.reorder_dense_inputs import reorder_dense_inputs
from edgewise.exporters.passes.settle_reshapes import settle_reshapes
from edgewise.exporters.passes.settle_shapes import settle_shapes
from edgewise.exporters.passes.share_subexpressions import share_subexpressions
from edgewise.exporters.passes.unwrap_indices import unwrap_indices

__all__ = ["PASSES", "Declined", "Pass", "PassOutcome"]

#: in the order they run, round after round while one of them still finds something
PASSES: Mapping[str, Pass] = {
    "expand-attention": expand_attention,
    "expand-ml-linear": expand_ml_linear,
    "settle-shapes": settle_shapes,
    "fold-constants": fold_constants,
    "settle-reshapes": settle_reshapes,
    "keep-free-sizes": keep_free_sizes,
    "drop-zero-states": drop_zero_states,
    "unwrap-indices": unwrap_indices,
    "fuse-repeats": fuse_repeats,
    "remove-identities": remove_identities,
    "merge-transposes": merge_transposes,
    "place-transposes": place_transposes,
    "reorder-dense-inputs": reorder_dense_inputs,
    "merge-reshapes": merge_reshapes,
    "merge-slices": merge_slices,
    "merge-concats": merge_concats,
    "merge-reductions": merge_reductions,
    "fold-pads": fold_pads,
    "fold-batch-normalization": fold_batch_normalization,
    "merge-clips": merge_clips,
    "fuse-gelu": fuse_gelu,
    "fuse-hard-activations": fuse_hard_activations,
    "fuse-silu": fuse_silu,
    "fuse-softmax": fuse_softmax,
    "fuse-mean": fuse_mean,
    "fuse-normalization": fuse_normalization,
    "fuse-group-normalization": fuse_group_normalization,
    "fold-affine": fold_affine,
    "fold-scales": fold_scales,
    "fuse-affine": fuse_affine,
    "fuse-linear": fuse_linear,
    "share-subexpressions": share_subexpressions,
}
