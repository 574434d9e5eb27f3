"""Statistics add up exactly, stay small, and survive the disk."""

from __future__ import annotations

import json
import zipfile
from fractions import Fraction

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgewise.calibration.statistics import (
    BINS,
    SAMPLE_STRIDE,
    SAMPLED_ABOVE,
    Histogram,
    Statistics,
    TensorStatistics,
    model_hash,
)
from edgewise.calibration.tensor_statistics import Observation, Running
from edgewise.errors import DataError, ModelError, UsageError

floats = st.floats(-(2.0**127), 2.0**127, width=32)
chunks = st.lists(
    arrays.arrays(np.float32, st.integers(1, 40), elements=floats), min_size=1, max_size=6
)


def same(one: TensorStatistics, two: TensorStatistics) -> bool:
    return (
        (one.minimum, one.maximum, one.count) == (two.minimum, two.maximum, two.count)
        and one.histogram.exponent == two.histogram.exponent
        and np.array_equal(one.histogram.counts, two.histogram.counts)
    )


def total(parts):
    result = TensorStatistics.of(parts[0])
    for part in parts[1:]:
        result = result + TensorStatistics.of(part)
    return result


@given(chunks)
def test_shards_add_up_to_the_whole_exactly(parts):
    assert same(total(parts), TensorStatistics.of(np.concatenate(parts)))


@given(chunks, st.randoms(use_true_random=False))
def test_the_order_of_shards_leaves_no_trace(parts, random):
    shuffled = list(parts)
    random.shuffle(shuffled)
    assert same(total(parts), total(shuffled))


@given(chunks.filter(lambda parts: len(parts) > 2))
def test_addition_is_associative(parts):
    one, two, three = (TensorStatistics.of(part) for part in parts[:3])
    assert same((one + two) + three, one + (two + three))


@given(arrays.arrays(np.float32, st.integers(1, 200), elements=floats))
def test_each_value_is_counted_in_the_bin_that_holds_it(values):
    histogram = TensorStatistics.of(values).histogram
    edges = histogram.edges()
    wanted, _ = np.histogram(values.astype(np.float64), bins=edges)
    assert np.array_equal(histogram.counts, wanted)
    assert (values < edges[-1]).all() and (values >= edges[0]).all()


@given(st.integers(-100, 100), st.integers(0, 140))
def test_widening_keeps_counts_and_edges(exponent, more):
    counts = np.arange(BINS, dtype=np.int64)
    narrow = Histogram(exponent, counts)
    wide = narrow.widened(exponent + more)
    assert wide.counts.sum() == counts.sum()
    assert wide.counts[: BINS // 2].sum() == counts[: BINS // 2].sum()  # the sign is never lost
    assert wide.width == narrow.width * 2.0**more


def test_the_range_is_the_smallest_power_of_two_that_holds_the_values():
    histogram = TensorStatistics.of(np.array([-0.75, 0.5], np.float32)).histogram
    assert (histogram.exponent, histogram.width) == (0, 2 / BINS)
    assert TensorStatistics.of(np.array([1.0], np.float32)).histogram.exponent == 1


@given(chunks)
def test_extremes_of_single_arrays_are_summed_exactly(parts):
    found = total(parts)
    units = 2**149
    assert found.arrays == len(parts)
    assert found.sum_of_minima == sum(int(Fraction(float(p.min())) * units) for p in parts)
    wanted = sum(Fraction(float(p.max())) for p in parts) / len(parts)
    assert found.mean_maximum == float(wanted)


@given(chunks)
def test_counting_in_place_is_addition(parts):
    running = Running()
    for part in parts:
        running.add(Observation.of(part))
    assert same(running.statistics(), total(parts))
    assert running.statistics().sum_of_minima == total(parts).sum_of_minima


@pytest.mark.parametrize(
    ("shape", "axis"), [((2, 3, 4, 5), 1), ((1, 7, 1, 1), 1), ((1, 3, 2, 2, 2), 1), ((4, 6), 1),
                        ((1, 5, 6), 2)]
)  # fmt: skip
def test_channels_have_exact_extremes(shape, axis):
    parts = [np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32) for seed in (0, 1)]
    found = total(parts)
    others = tuple(index for index in range(len(shape)) if index != axis)
    assert np.array_equal(found.channel_minimum, np.min([p.min(others) for p in parts], axis=0))
    assert np.array_equal(found.channel_maximum, np.max([p.max(others) for p in parts], axis=0))


def test_vectors_and_changing_channels_have_no_channels():
    vector, three, four = (TensorStatistics.of(np.ones(s, np.float32)) for s in (5, (2, 3), (2, 4)))
    assert vector.channel_minimum is None
    mixed = three + four
    assert mixed.channel_minimum is None and (mixed + four).channel_maximum is None


def test_monotone_functions_need_no_second_look():
    array = np.random.default_rng(0).normal(0, 4, (1, 3, 80, 80)).astype(np.float32)

    def clip(values):
        return np.minimum(np.maximum(values, np.float32(0)), np.float32(6))

    running = Running()
    running.add(Observation.of(array).through(clip))
    found, wanted = running.statistics(), TensorStatistics.of(clip(array))
    assert same(found, wanted)
    assert np.array_equal(found.channel_maximum, wanted.channel_maximum)


def test_memory_is_fixed():
    small = TensorStatistics.of(np.ones(3, np.float32))
    grown = small
    for exponent in range(-30, 30):
        grown = grown + TensorStatistics.of(np.full(1000, 2.0**exponent, np.float32))
    assert grown.histogram.counts.nbytes == small.histogram.counts.nbytes == BINS * 8


def test_large_arrays_are_sampled_but_extremes_are_exact():
    values = np.zeros(SAMPLED_ABOVE + SAMPLE_STRIDE, np.float32)
    values[1], values[2] = -5.0, 7.0  # neither is on the stride
    found = TensorStatistics.of(values)
    assert (found.minimum, found.maximum, found.count) == (-5.0, 7.0, values.size)
    assert found.histogram.counts.sum() == -(-values.size // SAMPLE_STRIDE)


def test_arrays_up_to_the_limit_are_taken_whole():
    assert TensorStatistics.of(np.zeros(SAMPLED_ABOVE, np.float32)).histogram.counts.sum() == (
        SAMPLED_ABOVE
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="NaN or infinity"):
        TensorStatistics.of(np.array([0.0, bad, 1.0], np.float32))


def statistics(seed: int = 0, data: str = "a") -> Statistics:
    random = np.random.default_rng(seed)
    tensors = {
        name: TensorStatistics.of(random.normal(0, size, 500).astype(np.float32))
        for name, size in (("x", 1.0), ("conv/out:0", 300.0), ("ключ", 1e-4))
    }
    return Statistics(tensors, 5, "model", (data,))


def test_a_saved_file_gives_the_same_statistics(tmp_path):
    before = statistics()
    before.save(tmp_path / "s.npz")
    after = Statistics.load(tmp_path / "s.npz")
    assert (after.samples, after.model_hash, after.data_hashes) == (5, "model", ("a",))
    assert after.tensors.keys() == before.tensors.keys()
    assert all(same(before.tensors[name], after.tensors[name]) for name in before.tensors)


def test_all_that_is_known_of_a_tensor_is_saved(tmp_path):
    random = np.random.default_rng(5)
    shapes = {"plain": (9,), "wide": (1, 4, 3, 3), "tokens": (1, 6, 5)}
    tensors = {
        name: TensorStatistics.of(random.normal(0, 3, shape).astype(np.float32))
        + TensorStatistics.of(random.normal(0, 3, shape).astype(np.float32))
        for name, shape in shapes.items()
    }
    Statistics(tensors, 2, "model", ("a",)).save(tmp_path / "s.npz")
    for name, after in Statistics.load(tmp_path / "s.npz").tensors.items():
        before = tensors[name]
        assert (after.arrays, after.sum_of_minima, after.sum_of_maxima) == (
            2, before.sum_of_minima, before.sum_of_maxima,
        )  # fmt: skip
        if name == "plain":
            assert after.channel_minimum is None and after.channel_maximum is None
        else:
            assert np.array_equal(after.channel_minimum, before.channel_minimum)
            assert np.array_equal(after.channel_maximum, before.channel_maximum)


def test_no_tensors_are_statistics_too(tmp_path):
    Statistics({}, 1, "model", ("a",)).save(tmp_path / "s.npz")
    assert Statistics.load(tmp_path / "s.npz").tensors == {}


def test_another_version_of_the_format_is_named(tmp_path):
    header = json.dumps({"format": "edgewise-statistics-1", "names": []}).encode()
    np.savez(tmp_path / "s.npz", header=np.frombuffer(header, np.uint8))
    with pytest.raises(DataError, match=r"is edgewise-statistics-1, .* edgewise-statistics-2"):
        Statistics.load(tmp_path / "s.npz")


def test_equal_statistics_give_equal_bytes_in_any_order(tmp_path):
    one, two = statistics(0, "a"), statistics(1, "b")
    (one + two).save(tmp_path / "1")
    (two + one).save(tmp_path / "2")
    reordered = Statistics(dict(reversed((one + two).tensors.items())), 10, "model", ("a", "b"))
    reordered.save(tmp_path / "3")
    contents = {(tmp_path / name).read_bytes() for name in "123"}
    assert len(contents) == 1


def test_the_file_opens_in_numpy(tmp_path):
    statistics().save(tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as archive:
        assert archive["histogram"].shape == (3, BINS)
        assert archive["minimum"].dtype == np.float32


def test_shards_of_different_models_do_not_add():
    one = statistics()
    with pytest.raises(ModelError, match="different models"):
        one + Statistics(one.tensors, 5, "other", ("a",))
    with pytest.raises(ModelError, match="different models"):
        one + Statistics({"x": one.tensors["x"]}, 5, "model", ("a",))


def test_data_hash_covers_all_shards():
    one, two = statistics(0, "a"), statistics(1, "b")
    assert one.data_hash == "a"
    assert (one + two).data_hash == (two + one).data_hash
    assert (one + two).data_hash not in ("a", "b")


def test_a_missing_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        Statistics.load(tmp_path / "none.npz")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 half a header"])
def test_what_is_no_statistics_file_is_a_data_error(tmp_path, content):
    (tmp_path / "s.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read the calibration statistics.*Calibrate again"):
        Statistics.load(tmp_path / "s.npz")


def test_another_npz_is_a_data_error(tmp_path):
    np.savez(tmp_path / "s.npz", image=np.zeros(3))
    with pytest.raises(DataError):
        Statistics.load(tmp_path / "s.npz")
    np.save(tmp_path / "s.npy", np.zeros(3))
    with pytest.raises(DataError):
        Statistics.load(tmp_path / "s.npy")


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1), flip=st.integers(1, 255), cut=st.booleans())
@example(share=0.01953125, flip=2, cut=False)
def test_a_damaged_file_is_a_data_error(tmp_path_factory, share, flip, cut):
    path = tmp_path_factory.mktemp("damaged") / "s.npz"
    statistics().save(path)
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("histogram.npy")
    content = bytearray(path.read_bytes())
    # inside the compressed histogram: every byte there is covered by the archive's checksum
    position = entry.header_offset + 80 + int(share * (entry.compress_size - 100))
    if cut:
        content = content[:position]
    else:
        content[position] ^= flip
    path.write_bytes(bytes(content))
    with pytest.raises(DataError):
        Statistics.load(path)


def test_the_model_hash_follows_what_is_computed(models, net):
    model = models["mobile"]()
    assert model_hash(model) == model_hash(models["mobile"]())
    assert model_hash(model) != model_hash(models["decoder"]())
    before = model_hash(model)
    model.doc_string = "a remark"
    next(iter(model.graph)).outputs[0].shape = None
    assert model_hash(model) == before
    next(iter(model.graph)).name = "renamed"
    assert model_hash(model) != before
