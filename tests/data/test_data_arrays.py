""".npz files."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from edgewise.data import ImagePreprocessing, InputSpec, open_source
from edgewise.errors import DataError

X = InputSpec("x", ("n", 4), np.dtype(np.float32))
IDS = InputSpec("ids", (1, 3), np.dtype(np.int64))
rng = np.random.default_rng(0)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("label", ["label", "labels", "y"])
def test_rows_and_labels(tmp_path, save, label):
    x, ids = rng.normal(size=(5, 4)).astype(np.float32), rng.integers(0, 9, (5, 3))
    y = np.array([3, 1, 4, 1, 5], np.int32)
    save(tmp_path / "d.npz", **{"x": x, "ids": ids, label: y, "unused": np.zeros(2)})
    source = open_source("d.npz", inputs=[X, IDS], base=tmp_path, require_labels=True)
    for _ in range(2):
        samples = list(source)
        np.testing.assert_array_equal(np.concatenate([s.feeds["x"] for s in samples]), x)
        np.testing.assert_array_equal(np.concatenate([s.feeds["ids"] for s in samples]), ids)
    assert [s.label for s in samples] == y.tolist()
    assert all(type(s.label) is int for s in samples)
    assert samples[2].name == "d.npz[2]"


def test_safe_casts_and_fortran_order(tmp_path):
    x = np.asfortranarray(rng.normal(size=(5, 4)))
    np.savez(tmp_path / "d.npz", x=x, ids=rng.integers(0, 9, (5, 3)).astype(np.uint8))
    samples = list(open_source("d.npz", inputs=[X, IDS], base=tmp_path))
    assert samples[0].feeds["x"].dtype == np.float32
    assert samples[0].feeds["ids"].dtype == np.int64
    found = np.concatenate([s.feeds["x"] for s in samples])
    np.testing.assert_array_equal(found, x.astype(np.float32))


def test_one_column_of_labels_and_label_rows(tmp_path):
    x = np.zeros((3, 4), np.float32)
    np.savez(tmp_path / "column.npz", x=x, y=np.array([[1], [2], [3]]))
    assert [s.label for s in open_source("column.npz", inputs=[X], base=tmp_path)] == [1, 2, 3]
    np.savez(tmp_path / "rows.npz", x=x, y=np.eye(3))
    rows = [s.label for s in open_source("rows.npz", inputs=[X], base=tmp_path, limit=2)]
    np.testing.assert_array_equal(np.stack(rows), np.eye(3)[[0, 2]])


def test_input_named_like_a_label_is_an_input(tmp_path):
    y = InputSpec("y", ("n", 4), np.dtype(np.float32))
    np.savez(tmp_path / "d.npz", y=np.zeros((2, 4), np.float32))
    assert not open_source("d.npz", inputs=[y], base=tmp_path).labelled


def test_pictures_in_an_array(tmp_path):
    pixels = rng.integers(0, 256, (3, 6, 6, 3)).astype(np.uint8)
    np.savez(tmp_path / "d.npz", image=pixels, y=np.arange(3))
    spec = InputSpec("image", (1, 3, 4, 4), np.dtype(np.float32))
    image = ImagePreprocessing(resize=6, crop=4, mean=(128.0,), std=(2.0,))
    samples = list(open_source("d.npz", inputs=[spec], base=tmp_path, preprocessing=image))
    expected = (pixels[1, 1:5, 1:5].astype(np.float32) - 128) / 2
    np.testing.assert_array_equal(samples[1].feeds["image"][0], expected.transpose(2, 0, 1))
    gray = InputSpec("image", (1, 1, 6, 6), np.dtype(np.float32))
    np.savez(tmp_path / "g.npz", image=pixels[..., 0])
    one = next(
        iter(
            open_source(
                "g.npz",
                inputs=[gray],
                base=tmp_path,
                preprocessing=ImagePreprocessing(color="gray"),
            )
        )
    )
    np.testing.assert_array_equal(one.feeds["image"][0, 0], pixels[0, ..., 0].astype(np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_name_array_and_index(tmp_path, bad):
    x = np.zeros((5, 4), np.float32)
    x[3, 2] = bad
    np.savez(tmp_path / "d.npz", x=x)
    with pytest.raises(DataError, match=r"d\.npz\[3\].*'x'.*NaN or infinity.*\(2,\)"):
        list(open_source("d.npz", inputs=[X], base=tmp_path))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": np.zeros((2, 4), np.float32)}, "no array 'x'.*image"),
        ({"x": np.zeros((0, 4), np.float32)}, "no example"),
        ({"x": np.float32(1)}, "no example"),
        ({"x": np.zeros((2, 5), np.float32)}, r"expected shape \(n, 4\), found \(1, 5\)"),
        ({"x": np.zeros((2, 4), np.float32), "y": np.zeros(3)}, "'x' 2, 'y' 3"),
        ({"x": np.zeros((2, 4), np.complex64)}, "expected float32, found complex64"),
        ({"x": np.array([["a"] * 4])}, "expected float32, found <U1"),
        ({"x": np.array([[None] * 4])}, "Python objects"),
        ({"x": np.full((2, 4), 1e300)}, "NaN or infinity"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, arrays, message):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(DataError, match=message):
        list(open_source("d.npz", inputs=[X], base=tmp_path))


def test_floats_for_an_integer_input_are_refused(tmp_path):
    np.savez(tmp_path / "d.npz", ids=np.zeros((2, 3), np.float32))
    with pytest.raises(DataError, match="expected int64, found float32"):
        list(open_source("d.npz", inputs=[IDS], base=tmp_path))


def test_fixed_batch_above_one(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((2, 4), np.float32))
    spec = InputSpec("x", (8, 4), np.dtype(np.float32))
    with pytest.raises(DataError, match="batch of 1 or a symbolic"):
        list(open_source("d.npz", inputs=[spec], base=tmp_path))


@pytest.mark.parametrize("keep", [10, 200, 3000])
def test_damaged_archive(tmp_path, keep):
    np.savez_compressed(tmp_path / "d.npz", x=rng.normal(size=(500, 4)).astype(np.float32))
    whole = (tmp_path / "d.npz").read_bytes()
    (tmp_path / "d.npz").write_bytes(whole[:keep])
    with pytest.raises(DataError, match=r"d\.npz"):
        list(open_source("d.npz", inputs=[X], base=tmp_path))


def test_damaged_bytes_inside_the_archive(tmp_path):
    np.savez_compressed(tmp_path / "d.npz", x=rng.normal(size=(500, 4)).astype(np.float32))
    whole = bytearray((tmp_path / "d.npz").read_bytes())
    whole[2000:2100] = b"\x00" * 100
    (tmp_path / "d.npz").write_bytes(whole)
    with pytest.raises(DataError, match=r"cannot read the arrays"):
        list(open_source("d.npz", inputs=[X], base=tmp_path))


def test_labels_are_demanded(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((2, 4), np.float32))
    with pytest.raises(DataError, match="array 'label'"):
        open_source("d.npz", inputs=[X], base=tmp_path, require_labels=True)


def test_memory_holds_one_row(tmp_path):
    wide = InputSpec("x", (1, 100_000), np.dtype(np.float32))
    np.savez_compressed(tmp_path / "d.npz", x=np.zeros((100, 100_000), np.float32))
    source = open_source("d.npz", inputs=[wide], base=tmp_path)
    tracemalloc.start()
    for _ in source:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000  # all rows are 40 MB


def test_fingerprint_follows_content_and_limit(tmp_path):
    def fingerprint(limit: int | None = None) -> str:
        return open_source("d.npz", inputs=[X], base=tmp_path, limit=limit).fingerprint

    np.savez(tmp_path / "d.npz", x=np.zeros((4, 4), np.float32))
    first = fingerprint()
    assert first == fingerprint() == fingerprint(4)
    assert first != fingerprint(2)
    np.savez(tmp_path / "d.npz", x=np.ones((4, 4), np.float32))
    assert first != fingerprint()
