"""Slices, gathers and scatters against numpy indexing written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewise.targets.apple._coremltools import Builder as mb
from edgewise.targets.apple._coremltools import ct


def _x(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@st.composite
def _slices(draw: st.DrawFn) -> tuple[tuple[int, ...], list[dict[str, Any]]]:
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    axes = [
        {
            "begin": draw(st.integers(-size, size - 1)),
            "end": draw(st.integers(-size, size)),
            "stride": draw(st.sampled_from([-3, -2, -1, 1, 2, 3])),
            "begin_mask": draw(st.booleans()),
            "end_mask": draw(st.booleans()),
            "squeeze_mask": draw(st.booleans()),
        }
        for size in shape
    ]
    return shape, axes


@settings(deadline=None, max_examples=200)
@given(_slices())
def test_slice_by_index(
    apply_kernel: Any, case: tuple[tuple[int, ...], list[dict[str, Any]]]
) -> None:
    """Element by element: position p along an axis reads start + p * stride until the bound."""
    shape, axes = case
    x = np.arange(np.prod(shape)).reshape(shape)
    picked: list[Any] = []
    for size, axis in zip(shape, axes, strict=True):
        stride = axis["stride"]
        start = axis["begin"] % size if axis["begin"] < 0 else axis["begin"]
        stop = axis["end"] % size if axis["end"] < 0 else axis["end"]
        if axis["begin_mask"]:
            start = 0 if stride > 0 else size - 1
        if axis["end_mask"]:
            stop = size if stride > 0 else -1
        if axis["squeeze_mask"]:
            start = axis["begin"] % size
            picked.append([start])
        else:
            picked.append(list(range(start, stop, stride)))
    expected = x[np.ix_(*picked)]
    squeezed = tuple(index for index, axis in enumerate(axes) if axis["squeeze_mask"])
    names = ("begin", "end", "stride", "begin_mask", "end_mask", "squeeze_mask")
    arguments = {name: np.array([axis[name] for axis in axes]) for name in names}
    result = apply_kernel("slice_by_index", x=x, **arguments)
    assert np.array_equal(result, expected.squeeze(squeezed))


def test_slices_of_a_saved_program(run_mil: Any) -> None:
    x = _x(4, 5, 6)

    def build(x: Any) -> list[Any]:
        return [
            mb.slice_by_index(x=x, begin=[1, 0, -2], end=[3, 5, 6], stride=[1, 2, 1]),
            mb.slice_by_index(
                x=x, begin=[2, 1, 0], end=[0, 0, 0], end_mask=[False, True, True],
                squeeze_mask=[True, False, False],
            ),
            mb.slice_by_size(x=x, begin=[1, 0, 2], size=[2, -1, 3]),
        ]  # fmt: skip

    first, second, third = run_mil(build, {"x": x})
    assert np.array_equal(first, x[1:3, 0:5:2, -2:6])
    assert np.array_equal(second, x[2, 1:])
    assert np.array_equal(third, x[1:3, :, 2:5])


def test_slice_update(run_mil: Any) -> None:
    x, update = _x(4, 5), np.ones((2, 5), np.float32)
    (result,) = run_mil(
        lambda x, update: mb.slice_update(
            x=x, update=update, begin=[1, 0], end=[3, 0], end_mask=[False, True]
        ),
        {"x": x, "update": update},
        target=ct.target.iOS18,
    )
    expected = x.copy()
    expected[1:3] = 1
    assert np.array_equal(result, expected)


def test_gathers(run_mil: Any) -> None:
    x = _x(2, 3, 4)
    rows = np.array([2, 0], np.int32)
    batched = np.array([[0, 2], [1, 1]], np.int32)
    along = np.array([[[1, 0, 2, 2]], [[0, 0, 1, 2]]], np.int32)
    points = np.array([[0, 2], [1, 0]], np.int32)

    def build(x: Any) -> list[Any]:
        return [
            mb.gather(x=x, indices=rows, axis=1),
            mb.gather(x=x, indices=batched, axis=1, batch_dims=1),
            mb.gather(x=x, indices=batched, axis=-1),
            mb.gather_along_axis(x=x, indices=along, axis=1),
            mb.gather_nd(x=x, indices=points),
            mb.gather_nd(x=x, indices=batched[..., None], batch_dims=1),
        ]

    expected = [
        x[:, rows],
        np.stack([x[b][batched[b]] for b in range(2)]),
        x[:, :, batched],
        np.take_along_axis(x, along.astype(np.int64), 1),
        np.stack([x[0, 2], x[1, 0]]),
        np.stack([x[b][batched[b]] for b in range(2)]),
    ]
    for result, reference in zip(run_mil(build, {"x": x}), expected, strict=True):
        assert np.array_equal(result, reference)


_MODES = {
    "add": lambda old, new: old + new,
    "sub": lambda old, new: old - new,
    "mul": lambda old, new: old * new,
    "div": lambda old, new: old / new,
    "max": max,
    "min": min,
    "update": lambda old, new: new,
}


@pytest.mark.parametrize("mode", sorted(_MODES))
def test_scatters(apply_kernel: Any, mode: str) -> None:
    """Repeated indices combine one after the other."""
    data, combine = _x(3, 4), _MODES[mode]
    indices = np.array([2, 0, 2], np.int32)
    updates = _x(3, 3) + 3
    expected = data.copy()
    for column, index in enumerate(indices):
        for row in range(3):
            expected[row, index] = combine(expected[row, index], updates[row, column])
    result = apply_kernel("scatter", data=data, indices=indices, updates=updates, axis=1, mode=mode)
    np.testing.assert_allclose(result, expected, rtol=1e-6)

    along = np.array([[2, 0], [1, 1], [3, 2]], np.int32)
    expected = data.copy()
    for row, column in np.ndindex(along.shape):
        at = (row, along[row, column])
        expected[at] = combine(expected[at], updates[row, column])
    result = apply_kernel(
        "scatter_along_axis", data=data, indices=along, updates=updates[:, :2], axis=1, mode=mode
    )
    np.testing.assert_allclose(result, expected, rtol=1e-6)

    points = np.array([[0, 1], [2, 3], [0, 1]], np.int32)
    expected = data.copy()
    for point, update in zip(points, updates[0], strict=True):
        expected[tuple(point)] = combine(expected[tuple(point)], update)
    result = apply_kernel("scatter_nd", data=data, indices=points, updates=updates[0], mode=mode)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_scatter_on_a_negative_axis_of_integers(apply_kernel: Any) -> None:
    data = np.array([[9, 9, 9]], np.int32)
    result = apply_kernel(
        "scatter",
        data=data,
        indices=np.array([1], np.int32),
        updates=np.array([[2]], np.int32),
        axis=-1,
        mode="div",
    )
    assert result.tolist() == [[9, 4, 9]]
    assert data.tolist() == [[9, 9, 9]]  # the input is untouched


@pytest.mark.parametrize(("axis", "batch"), [(0, 1), (1, 0), (2, 0), (-1, 1)])
def test_reverse_sequence(run_mil: Any, axis: int, batch: int) -> None:
    x = _x(3, 4, 5)
    lengths = np.arange(x.shape[batch], dtype=np.int32)
    (result,) = run_mil(
        lambda x: mb.reverse_sequence(x=x, lengths=lengths, seq_axis=axis, batch_axis=batch),
        {"x": x},
    )
    for at in np.ndindex(x.shape):
        source, length = list(at), lengths[at[batch]]
        if at[axis] < length:
            source[axis] = length - 1 - at[axis]
        assert result[at] == x[tuple(source)]


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(run_mil: Any, axis: int) -> None:
    indices = np.array([[0, 2], [5, -1]], np.int32)  # out of range: no hot place
    (result,) = run_mil(
        lambda i: mb.one_hot(
            indices=i, one_hot_vector_size=3, axis=axis, on_value=np.float32(4),
            off_value=np.float32(-1),
        ),
        {"i": indices},
    )  # fmt: skip
    expected = np.full((2, 2, 3), -1, np.float32)
    expected[0, 0, 0] = expected[0, 1, 2] = 4
    assert np.array_equal(result, np.moveaxis(expected, -1, axis))
