"""A model in the operators that the lowering knows: prepared, expanded, in Apple's quantized form.

Still ONNX: what stands here knows nothing of how a program is written to a file, so that another
writer can stand beside the one for Core ML.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from edgewise.graph import prepare
from edgewise.graph.expand import CannotExpand, expand
from edgewise.graph.matmul_nbits import unpack_matmul_nbits
from edgewise.graph.patterns import fuse_patterns
from edgewise.graph.prepare import settle
from edgewise.targets.apple.flat_layers import flatten_layers
from edgewise.targets.apple.overwritten import drop_overwritten
from edgewise.targets.apple.rank_limit import limit_rank
from edgewise.targets.apple.redundant_pairs import drop_redundant_pairs
from edgewise.targets.apple.states import State, states_of
from edgewise.targets.apple.unsigned_pairs import store_unsigned
from edgewise.targets.apple.whole_layers import join_layers


@dataclass(frozen=True, slots=True)
class LegalModel:
    """`declined` tells why some nodes that the writer lacks could not be expanded, `states` which
    inputs and outputs the package is to keep to itself, `user_shapes` which shapes inputs and
    outputs of more axes than Core ML has had in the user's model."""

    model: ir.Model
    declined: Mapping[ir.Node, CannotExpand]
    states: tuple[State, ...] = ()
    user_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def legalize(
    source: str | Path | ir.Model,
    is_known: Callable[[ir.Node], bool],
    *,
    owned: bool = False,
    states: Mapping[str, str] | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
) -> LegalModel:
    """A copy ready for `lower`.

    Args:
        source: float or QDQ model; an `owned` one is changed instead of copied.
        is_known: whether the writer has a form of its own for a node.
        states: name of an input -> name of the output that is its next value.
        input_shapes: static shapes that take the place of those in the model.

    Raises:
        UsageError: `states` names what the model has not.
        ModelError: the model cannot be prepared, or cannot have these states.
    """
    model = prepare(source, input_shapes=input_shapes, batch=1, owned=owned)
    if unpack_matmul_nbits(model):
        settle(model)

    drop_overwritten(model)
    fuse_patterns(model)
    declined = expand(model, lambda node: not is_known(node), loops=True)
    limited = limit_rank(model)
    if limited.changed:
        declined = expand(model, lambda node: not is_known(node), loops=True)
        declined |= limited.declined
    join_layers(model)
    drop_redundant_pairs(model)
    store_unsigned(model)
    flatten_layers(model)
    return LegalModel(model, declined, states_of(model.graph, states or {}), limited.shapes)
