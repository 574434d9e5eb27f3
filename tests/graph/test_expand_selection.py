"""Trilu, EyeLike, Hardmax, Compress, CenterCropPad, CumProd and TfIdfVectorizer, expanded."""

from __future__ import annotations

import numpy as np
import pytest

DTYPES = ["float32", "int32", "int64", "int8", "uint8"]


def _numbers(rng, shape, dtype="float32"):
    return rng.integers(0, 9, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [-9, -2, 0, 1, 9])
def test_trilu(rewritten, rng, k, upper, dtype):
    inputs = [_numbers(rng, (2, 4, 5), dtype), np.array(k)]
    for constants in ([1], []):
        found = rewritten("Trilu", inputs, constants=constants, upper=upper, result=dtype)
        assert "Trilu" not in found.ops and found.error == 0


def test_trilu_keeps_infinities_out(rewritten):
    found = rewritten("Trilu", [np.full((3, 3), -np.inf, np.float32)], upper=1)
    assert found.error == 0


@pytest.mark.parametrize("k", [-1, 0, 2])
def test_eye_like_is_a_constant(rewritten, rng, k):
    found = rewritten("EyeLike", [_numbers(rng, (3, 4))], k=k, dtype=1)
    assert found.error == 0
    assert set(found.ops) <= {"Identity"}


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4)])
def test_hardmax_along_every_axis_takes_the_first_of_equals(rewritten, rng, shape):
    for axis in range(-len(shape), len(shape)):
        found = rewritten("Hardmax", [_numbers(rng, shape)], axis=axis)
        assert found.ops == ["ArgMax", "OneHot"] and found.error == 0


@pytest.mark.parametrize("axis", [None, 0, 2, -1])
def test_compress_with_a_short_condition(rewritten, rng, axis):
    condition = np.array([True, False, True])
    attributes = {} if axis is None else {"axis": axis}
    x = _numbers(rng, (3, 4, 5))
    found = rewritten("Compress", [x, condition], constants=[1], **attributes)
    assert "Compress" not in found.ops and found.error == 0


def test_compress_by_computed_conditions_is_declined(declined, rng):
    inputs = [_numbers(rng, (3, 4)), np.array([True, False, True])]
    assert "depends on the data" in declined("Compress", inputs, axis=0)


@pytest.mark.parametrize(
    ("wanted", "axes"),
    [((3, 2, 9), None), ((8, 1), [2, -3]), ((4, 7, 5), None), ((6,), [1])],
)
def test_center_crop_pad(rewritten, rng, wanted, axes):
    attributes = {} if axes is None else {"axes": axes}
    inputs = [_numbers(rng, (4, 7, 5)), np.array(wanted)]
    found = rewritten("CenterCropPad", inputs, constants=[1], **attributes)
    assert set(found.ops) <= {"Slice", "Pad", "Identity"} and found.error == 0


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_cum_prod(rewritten, rng, axis, reverse, exclusive, dtype):
    x = (_numbers(rng, (3, 1, 7), dtype) % 3 + 1).astype(dtype)
    inputs = [x, np.array(axis)]
    options = {"exclusive": exclusive, "reverse": reverse, "opset": 26, "constants": [1]}
    found = rewritten("CumProd", inputs, result=dtype, **options)
    assert "CumProd" not in found.ops and found.error < 1e-6


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize("skips", [0, 1, 5])
@pytest.mark.parametrize(("shortest", "longest"), [(1, 1), (1, 2), (2, 2), (2, 3)])
@pytest.mark.parametrize("shape", [(12,), (3, 12)])
def test_tf_idf_vectorizer(runtime_error, rng, shape, shortest, longest, skips, mode):
    error = runtime_error(
        "TfIdfVectorizer",
        [rng.integers(0, 4, shape)],
        mode=mode,
        min_gram_length=shortest,
        max_gram_length=longest,
        max_skip_count=skips,
        pool_int64s=[2, 3, 0, 1, 2, 3, 1, 1, 0, 1, 2],
        ngram_counts=[0, 2, 8],
        ngram_indexes=[0, 3, 1, 2, 5, 4],
        weights=[1.0, 2.0, 0.5, 3.0, 4.0, 0.25],
    )
    assert error < 1e-6
