"""make_list, list_write, list_read, list_scatter, list_gather, list_length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgewise.errors import ModelError
from edgewise.targets.apple._coremltools import Builder as mb

_X = np.arange(12, dtype=np.float32).reshape(4, 3)


def _list(length: int, *, grows: bool = False) -> Any:
    return mb.make_list(
        init_length=length, elem_shape=(np.int32(3),), dtype="fp32", dynamic_length=grows
    )


def test_what_is_written_is_read(run_mil: Any) -> None:
    def build(x: Any) -> list[Any]:
        rows = mb.slice_by_size(x=x, begin=[2, 0], size=[2, 3])
        row = mb.squeeze(x=mb.slice_by_size(x=x, begin=[1, 0], size=[1, 3]), axes=[0])
        first = mb.list_write(ls=_list(4), index=np.int32(1), value=row)
        second = mb.list_scatter(ls=first, indices=np.array([2, 0], np.int32), value=rows)
        third = mb.list_write(ls=second, index=np.int32(1), value=mb.mul(x=row, y=np.float32(-1)))
        return [
            mb.list_gather(ls=second, indices=np.array([2, 1, 1, 0], np.int32)),
            mb.list_read(ls=third, index=np.int32(1)),
            mb.list_read(ls=first, index=np.int32(1)),
        ]

    gathered, new, old = run_mil(build, {"x": _X})
    assert np.array_equal(gathered, _X[[2, 1, 1, 3]])
    assert np.array_equal(new, -_X[1])
    assert np.array_equal(old, _X[1])  # writing left the first list as it was


def test_dynamic_lists_grow(run_mil: Any) -> None:
    def build(x: Any) -> list[Any]:
        grown = mb.list_scatter(
            ls=_list(1, grows=True), indices=np.array([0, 1, 5, 2], np.int32), value=x
        )
        return [mb.list_length(ls=grown), mb.list_read(ls=grown, index=np.int32(5))]

    length, last = run_mil(build, {"x": _X})
    assert length == 6
    assert np.array_equal(last, _X[2])


def test_lists_in_loops(run_mil: Any) -> None:
    """Running sums of the rows, one list element a turn."""

    def build(x: Any) -> Any:
        def more(turn: Any, total: Any, sums: Any) -> Any:
            return mb.less(x=turn, y=np.int32(4))

        def body(turn: Any, total: Any, sums: Any) -> list[Any]:
            total = mb.add(x=total, y=mb.gather(x=x, indices=turn, axis=0))
            sums = mb.list_write(ls=sums, index=turn, value=total)
            return [mb.add(x=turn, y=np.int32(1)), total, sums]

        start = (np.int32(0), np.zeros(3, np.float32), _list(4))
        *_, sums = mb.while_loop(_cond=more, _body=body, loop_vars=start)
        return mb.list_gather(ls=sums, indices=np.arange(4, dtype=np.int32))

    (result,) = run_mil(build, {"x": _X})
    assert np.array_equal(result, np.cumsum(_X, axis=0))


def test_what_was_never_written(run_mil: Any) -> None:
    def build(x: Any) -> Any:
        ls = mb.list_scatter(ls=_list(9), indices=np.arange(4, dtype=np.int32), value=x)
        return mb.list_read(ls=ls, index=np.int32(7), name="read")

    with pytest.raises(ModelError, match=r"'read' list_read: .*element 7 of 9 was never written"):
        run_mil(build, {"x": _X})
