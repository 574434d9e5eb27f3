"""Shapes and orders against numpy, ONNX's reference semantics, and each operation's inverse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgewise.graph import OrtSession
from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import ct


def _x(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_shape_changes(run_mil: Any) -> None:
    x = _x(2, 3, 4)

    def build(x: Any) -> list[Any]:
        return [
            mb.reshape(x=x, shape=[4, -1]),
            mb.reshape(x=x, shape=[-1, 0, 2, 2]),  # zeros count from the right
            mb.reshape(x=x, shape=[1, 0, -1, 0]),
            mb.transpose(x=x, perm=[2, 0, 1]),
            mb.expand_dims(x=x, axes=[0, -1]),
            mb.squeeze(x=mb.expand_dims(x=x, axes=[0, 2]), axes=[2]),
            mb.squeeze(x=mb.expand_dims(x=x, axes=[0, 2])),
            mb.reverse(x=x, axes=[1]),
            mb.reverse(x=x),
            mb.tile(x=x, reps=[1, 2, 3]),
            mb.flatten2d(x=x, axis=2),
            mb.sliding_windows(x=x, axis=-1, size=2, stride=2),
        ]

    windows = np.stack([x[:, :, 0:2], x[:, :, 2:4]], axis=2)
    expected = [
        x.reshape(4, 6),
        x.reshape(3, 2, 2, 2),
        x.reshape(1, 2, 3, 4),
        x.transpose(2, 0, 1),
        x[None, ..., None],
        x[None],
        x,
        x[:, ::-1],
        x[::-1, ::-1, ::-1],
        np.tile(x, (1, 2, 3)),
        x.reshape(6, 4),
        windows,
    ]
    for result, reference in zip(run_mil(build, {"x": x}), expected, strict=True):
        assert np.array_equal(result, reference)


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate"])
def test_pad_covers_the_last_axes(run_mil: Any, mode: str) -> None:
    x = _x(2, 3, 4, 5)
    (result,) = run_mil(
        lambda x: mb.pad(x=x, pad=[1, 2, 0, 3], mode=mode, constant_val=np.float32(7)), {"x": x}
    )
    widths = [(0, 0), (0, 0), (1, 2), (0, 3)]
    expected = {
        "constant": np.pad(x, widths, constant_values=7),
        "reflect": np.pad(x, widths, mode="reflect"),
        "replicate": np.pad(x, widths, mode="edge"),
    }
    assert np.array_equal(result, expected[mode])


def test_join_and_split(run_mil: Any) -> None:
    x, y = _x(2, 3, 4), _x(2, 3, 4) + 1

    def build(x: Any, y: Any) -> list[Any]:
        return [
            mb.concat(values=[x, y], axis=-2),
            mb.concat(values=[x, y], axis=1, interleave=True),
            mb.stack(values=[x, y, x], axis=1),
            *mb.split(x=x, num_splits=2, axis=-1),
            *mb.split(x=x, split_sizes=[1, 2], axis=1),
        ]

    interleaved = np.stack([x, y], axis=2).reshape(2, 6, 4)
    expected = [
        np.concatenate([x, y], axis=1),
        interleaved,
        np.stack([x, y, x], axis=1),
        x[..., :2],
        x[..., 2:],
        x[:, :1],
        x[:, 1:],
    ]
    for result, reference in zip(run_mil(build, {"x": x, "y": y}), expected, strict=True):
        assert np.array_equal(result, reference)


def test_space_and_depth(run_mil: Any) -> None:
    x = _x(2, 8, 4, 6)

    def build(x: Any) -> list[Any]:
        return [
            mb.depth_to_space(x=x, block_size=2),
            mb.pixel_shuffle(x=x, upscale_factor=2),
            mb.space_to_depth(x=x, block_size=2),
            mb.space_to_depth(x=mb.depth_to_space(x=x, block_size=2), block_size=2),
            mb.pixel_unshuffle(
                x=mb.pixel_shuffle(x=x, upscale_factor=2), downscale_factor=np.uint32(2)
            ),
        ]

    nodes = [
        helper.make_node("DepthToSpace", ["x"], ["a"], blocksize=2, mode="DCR"),
        helper.make_node("DepthToSpace", ["x"], ["b"], blocksize=2, mode="CRD"),
        helper.make_node("SpaceToDepth", ["x"], ["c"], blocksize=2),
    ]
    floats = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "reference",
        [helper.make_tensor_value_info("x", floats, x.shape)],
        [helper.make_tensor_value_info(name, floats, None) for name in "abc"],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    expected = [*OrtSession(model.SerializeToString()).run({"x": x}).values(), x, x]
    for result, reference in zip(run_mil(build, {"x": x}), expected, strict=True):
        assert np.array_equal(result, reference)


def test_shapes_computed_at_run_time(run_mil: Any) -> None:
    x = _x(2, 3, 4)

    def build(x: Any, like: Any) -> list[Any]:
        shape = mb.shape(x=like)
        return [
            mb.reshape(x=x, shape=mb.concat(values=[shape, np.array([-1], np.int32)], axis=0)),
            mb.fill(shape=shape, value=np.float32(2.5)),
            mb.reshape_like(
                x=x, ref_tensors=(like, x), begins=(0, 2), ends=(2, 3), end_masks=(True, False)
            ),
        ]

    like = np.zeros((3, 2), np.float32)
    reshaped, filled, shaped = run_mil(build, {"x": x, "like": like}, target=ct.target.iOS17)
    assert np.array_equal(reshaped, x.reshape(3, 2, 4))
    assert np.array_equal(filled, np.full((3, 2), 2.5, np.float32))
    assert np.array_equal(shaped, x.reshape(3, 2, 4))


def test_made_from_nothing(apply_kernel: Any) -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    integers = apply_kernel("range_1d", start=np.int32(1), end=np.int32(8), step=np.int32(3))
    assert integers.tolist() == [1, 4, 7]
    assert integers.dtype == np.int32
    floats = apply_kernel(
        "range_1d", start=np.float32(1), end=np.float32(0), step=np.float32(-0.25)
    )
    assert floats.tolist() == [1.0, 0.75, 0.5, 0.25]
    assert np.array_equal(apply_kernel("band_part", x=x, lower=0, upper=-1), np.triu(x))
    assert np.array_equal(apply_kernel("band_part", x=x, lower=-1, upper=0), np.tril(x))
    assert apply_kernel("non_zero", x=x > 9).tolist() == [[2, 2], [2, 3]]
    assert apply_kernel("fill_like", ref_tensor=x, value=np.int32(4)).tolist() == [[4] * 4] * 3
