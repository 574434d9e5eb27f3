"""Rewrites that bring any model to the form that the targets know, one per file."""

from collections.abc import Mapping

from edgewise.exporters.passes.base import Declined, Pass, PassOutcome
from edgewise.exporters.passes.expand_attention import expand_attention
from edgewise.exporters.passes.fold_batch_normalization import fold_batch_normalization
from edgewise.exporters.passes.fold_scales import fold_scales
from edgewise.exporters.passes.fuse_gelu import fuse_gelu
from edgewise.exporters.passes.fuse_hard_activations import fuse_hard_activations
from edgewise.exporters.passes.fuse_normalization import fuse_normalization
from edgewise.exporters.passes.merge_clips import merge_clips
from edgewise.exporters.passes.merge_transposes import merge_transposes
from edgewise.exporters.passes.remove_identities import remove_identities
from edgewise.exporters.passes.settle_reshapes import settle_reshapes

__all__ = ["PASSES", "Declined", "Pass", "PassOutcome"]

#: in the order they run: each finds more after those before it
PASSES: Mapping[str, Pass] = {
    "expand-attention": expand_attention,
    "settle-reshapes": settle_reshapes,
    "remove-identities": remove_identities,
    "merge-transposes": merge_transposes,
    "fold-batch-normalization": fold_batch_normalization,
    "merge-clips": merge_clips,
    "fuse-gelu": fuse_gelu,
    "fuse-hard-activations": fuse_hard_activations,
    "fuse-normalization": fuse_normalization,
    "fold-scales": fold_scales,
}
