"""The reshape family and the operators that move elements, through the saved package."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper


def ints(*values: int):
    return np.array(values, np.int64)


@pytest.mark.parametrize("shape", [(4, 6), (-1, 3), (0, -1), (2, 0, 1, 4)])
def test_reshape(node_matches_ort, shape):
    node_matches_ort("Reshape", [(2, 3, 4), ints(*shape)])


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_flatten(node_matches_ort, axis):
    node_matches_ort("Flatten", [(2, 3, 4)], {"axis": axis})


def test_squeeze_and_unsqueeze(node_matches_ort):
    node_matches_ort("Squeeze", [(1, 3, 1, 4), ints(0, -2)])
    node_matches_ort("Squeeze", [(1, 3, 1, 4)])
    node_matches_ort("Unsqueeze", [(3, 4), ints(0, -1)])


def test_transpose(node_matches_ort):
    node_matches_ort("Transpose", [(2, 3, 4)])
    node_matches_ort("Transpose", [(2, 3, 4, 5)], {"perm": [0, 3, 1, 2]})


def test_concat(node_matches_ort):
    node_matches_ort("Concat", [(1, 2, 3), (1, 4, 3)], {"axis": 1})
    node_matches_ort("Concat", [(1, 2, 3), (1, 2, 1), (1, 2, 2)], {"axis": -1})


def test_split(node_matches_ort):
    node_matches_ort("Split", [(2, 7), ints(3, 4)], {"axis": 1}, outputs=2)
    node_matches_ort("Split", [(2, 7)], {"axis": -1, "num_outputs": 3}, outputs=3)
    node_matches_ort("Split", [(6, 2)], outputs=2, opset=11)


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ((1,), (3,), (1,), (1,)),
        ((-3, 0), (2**63 - 1, -1), (2, 0), (1, 1)),
        ((-1,), (-(2**63),), (1,), (-1,)),
        ((3, 4), (0, -6), (1, 2), (-2, -1)),
        ((0,), (100,), (2,), (3,)),
    ],
)
def test_slice(node_matches_ort, starts, ends, axes, steps):
    operands = [(3, 4, 5), ints(*starts), ints(*ends), ints(*axes), ints(*steps)]
    node_matches_ort("Slice", operands)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    start=st.integers(-9, 9), stop=st.integers(-9, 9), step=st.sampled_from([-3, -2, -1, 1, 2, 3])
)
def test_slices_of_any_bounds(node_matches_ort, start, stop, step):
    if len(range(7)[slice(start, stop, step)]) == 0:
        return  # Core ML has no empty tensors
    node_matches_ort("Slice", [(2, 7), ints(start), ints(stop), ints(1), ints(step)])


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_pad(node_matches_ort, mode):
    value = np.array(1.5, np.float32) if mode == "constant" else None
    node_matches_ort("Pad", [(1, 2, 4, 5), ints(0, 0, 1, 2, 0, 0, 3, 1), value], {"mode": mode})


def test_pad_of_any_axis_with_a_constant(node_matches_ort):
    node_matches_ort("Pad", [(2, 3, 4), ints(1, 0, 2, 0, 1, 0)])
    node_matches_ort("Pad", [(2, 3, 4), ints(1, 2), None, ints(-2)])


def test_negative_pads_cut(node_matches_ort):
    node_matches_ort("Pad", [(1, 2, 6, 6), ints(0, 0, -1, 1, 0, 0, 2, -2)])
    node_matches_ort("Pad", [(1, 2, 6, 6), ints(0, 0, -1, 0, 0, 0, 0, -2)])


@pytest.mark.parametrize(
    "indices", [np.array([0, 2, -1]), np.array(1), np.array([[0, 1], [2, -2]])]
)
@pytest.mark.parametrize("axis", [0, 1])
def test_gather(node_matches_ort, indices, axis):
    node_matches_ort("Gather", [(3, 4), indices.astype(np.int64)], {"axis": axis})


def test_gather_at_computed_positions(make, matches_ort):
    x, positions = make.random(5, 3), np.array([0, -1, 4, -5], np.int64)
    nodes = [helper.make_node("Gather", ["x", "i"], ["y"])]
    feeds = {"x": x, "i": positions}
    matches_ort(make.build_model(nodes, feeds, ["y"]), feeds)


def test_tile_and_expand(node_matches_ort):
    node_matches_ort("Tile", [(2, 3), ints(2, 3)])
    node_matches_ort("Expand", [(3, 1), ints(2, 3, 4)])
    node_matches_ort("Expand", [(3, 1), ints(3, 1)])
    node_matches_ort("Expand", [np.array([[True], [False]]), ints(3, 1, 2)])


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(node_matches_ort, mode):
    node_matches_ort("DepthToSpace", [(1, 12, 3, 2)], {"blocksize": 2, "mode": mode})


def test_space_to_depth(node_matches_ort):
    node_matches_ort("SpaceToDepth", [(1, 3, 4, 6)], {"blocksize": 2})


def test_shape_arithmetic_disappears(make, matches_ort):
    """Flattening as PyTorch exports it: Shape, Gather, Concat, Reshape."""
    x = make.random(1, 3, 2, 2)
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "zero_axis"], ["n1"]),
        helper.make_node("Concat", ["n1", "minus"], ["t"], axis=0),
        helper.make_node("Reshape", ["x", "t"], ["y"]),
    ]
    constants = {"zero": np.array(0, np.int64), "zero_axis": ints(0), "minus": ints(-1)}
    matches_ort(make.build_model(nodes, {"x": x}, ["y"], constants), {"x": x})


def test_an_unused_second_output_is_fine(make, matches_ort):
    x = make.random(2, 4)
    nodes = [
        helper.make_node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
        helper.make_node("Cast", ["a"], ["y"], to=TensorProto.FLOAT),
    ]
    matches_ort(make.build_model(nodes, {"x": x}, ["y"]), {"x": x})


@pytest.mark.parametrize("system", ["iOS15", "iOS18"])
@pytest.mark.parametrize("indices", [[2, 0], 1])
def test_elements_of_a_constant_that_was_joined_to_a_value(make, matches_ort, indices, system):
    """coremltools knows them before it runs the program, and takes fractions for integers."""
    x = make.random(2)
    nodes = [
        helper.make_node("Concat", ["c", "x"], ["joined"], axis=0),
        helper.make_node("Gather", ["joined", "i"], ["picked"], axis=0),
        helper.make_node("Mul", ["picked", "picked"], ["y"]),
    ]
    constants = {"c": np.array([0.5, 1.25, 3.75], np.float32), "i": np.array(indices)}
    model = make.build_model(nodes, {"x": x}, ["y", "picked"], constants)
    matches_ort(model, {"x": x}, system=system)
