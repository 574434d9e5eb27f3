"""What a Pad adds is no data."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.calibration import collect_statistics


def padded(net, constant, reader, **attributes):
    n = net()
    x = n.input("x", 1, 2, 6, 6)
    amounts = n.const(np.array([0, 0, 1, 2, 0, 0, 3, 0], np.int64))
    wide = n.op("Pad", x, amounts, n.const(np.float32(constant)), name="wide")
    return n.model(n.op(reader, wide, name="y", **attributes))


SAMPLE = {"x": np.random.default_rng(0).normal(0, 1, (1, 2, 6, 6)).astype(np.float32)}
POOL = {"kernel_shape": [2, 2]}


def test_only_what_is_padded_enters_the_histogram(net, source):
    found = collect_statistics(padded(net, 0.0, "Relu"), source([SAMPLE])).tensors
    assert found["wide"].count == found["x"].count == 72
    assert np.array_equal(found["wide"].histogram.counts, found["x"].histogram.counts)


@pytest.mark.parametrize(("constant", "end"), [(-9.0, "minimum"), (7.0, "maximum")])
def test_a_constant_that_is_read_is_part_of_the_range(net, source, constant, end):
    found = collect_statistics(padded(net, constant, "Relu"), source([SAMPLE])).tensors["wide"]
    assert getattr(found, end) == constant
    assert np.abs(getattr(found, f"channel_{end}")).min() == abs(constant)


def test_maxima_need_no_constant_below_all_values(net, source):
    model = padded(net, -1e4, "MaxPool", **POOL)
    found = collect_statistics(model, source([SAMPLE])).tensors
    assert found["wide"].minimum == found["x"].minimum
    high = collect_statistics(padded(net, 7.0, "MaxPool", **POOL), source([SAMPLE])).tensors
    assert high["wide"].maximum == 7.0
