"""Random graphs of operators of every family through the whole pipeline, pass by pass."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs.graphs import draw

from edgewise.errors import ModelError
from edgewise.exporters.pipeline import canonicalize
from edgewise.exporters.quiet import quiet
from edgewise.graph import OrtSession, prepare

#: of the largest value of an output: random graphs divide, and take differences of, like numbers
TOLERANCE = 1e-3


def with_free_sizes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every size of an input but 1 has a name, the same one for the same size."""
    free = onnx.ModelProto()
    free.CopyFrom(model)
    for value in free.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value > 1:
                dim.dim_param = f"d{dim.dim_value}"
    for value in free.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
    return free


@pytest.mark.slow
@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), free=st.booleans())
def test_every_pass_computes_the_same(seed: int, free: bool) -> None:
    drawn = draw(seed)
    model = with_free_sizes(drawn.model) if free else drawn.model
    with quiet():
        hub = prepare(ir.from_proto(model))
    try:
        OrtSession(hub).run(drawn.feeds)
    except ModelError:
        return  # a size that is named is not free: the operator reads it
    with quiet():
        canonicalize(hub, feeds=drawn.feeds, tolerance=TOLERANCE)
