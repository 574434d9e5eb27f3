"""Negative indices that are counted from the end before a Gather."""

from __future__ import annotations

import numpy as np
import pytest

NAME = "unwrap-indices"


def model(parse, *, entries=7, compared="less = Less (i, zero)", axis=0):
    return parse(
        f"""g (int64[n] j) => (float[a, b] out) {{
          i = Sub (j, one)
          {compared}
          sum = Add (i, count)
          k = Where (less, sum, i)
          out = Gather <axis = {axis}> (w, k) }}""",
        w=np.arange(49, dtype=np.float32).reshape(7, 7),
        one=np.array(1), zero=np.array(0), minus=np.array(-1), count=np.array(entries),
    )  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1])
def test_gather_counts_from_the_end_itself(parse, rewrite, axis):
    assert rewrite(model(parse, axis=axis), NAME).ops == {"Sub": 1, "Gather": 1}


@pytest.mark.parametrize(
    "changes",
    [{"entries": 6}, {"compared": "less = Less (i, minus)"}, {"compared": "less = Less (j, zero)"}],
)
def test_other_choices_stay(parse, rewrite, changes):
    assert not rewrite(model(parse, **changes), NAME).modified
