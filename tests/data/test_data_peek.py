"""One example before the model's inputs are known."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from edgewise.data import ImagePreprocessing, peek

IMAGE = ImagePreprocessing(crop=(6, 8), mean=(127.0,), std=(128.0,))

SOURCES = """
import numpy as np

def rows():
    yield {"ids": np.arange(3), "mask": np.ones((1, 3), np.float32)}, 1
    raise ValueError("one is enough")

def broken():
    raise ValueError("no data")

def odd():
    yield 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "peeked.py").write_text(SOURCES)
    pictures = np.arange(5 * 10 * 12 * 3, dtype=np.uint8).reshape(5, 10, 12, 3)
    np.savez(tmp_path / "pictures.npz", x=pictures, label=np.arange(5))
    np.savez(tmp_path / "rows.npz", a=np.arange(12.0).reshape(4, 3), b=np.arange(4), y=np.arange(4))
    np.savez(tmp_path / "objects.npz", a=np.array([{}, {}]))
    (tmp_path / "damaged.npz").write_bytes(b"PK")
    (tmp_path / "photos").mkdir()
    Image.fromarray(pictures[0]).save(tmp_path / "photos" / "0.png")
    yield tmp_path
    sys.modules.pop("peeked", None)


def shapes(found) -> dict:
    return {name: (array.shape, array.dtype.name) for name, array in found.items()}


def test_first_rows_of_arrays_without_the_labels(folder):
    assert shapes(peek("rows.npz", base=folder)) == {"a": ((1, 3), "float64"), "b": ((1,), "int64")}
    assert shapes(peek("pictures.npz", base=folder)) == {"x": ((1, 10, 12, 3), "uint8")}


def test_pictures_in_arrays_are_as_large_as_the_preprocessing_makes_them(folder):
    found = peek("pictures.npz", image=IMAGE, base=folder)
    assert shapes(found) == {"x": ((1, 3, 6, 8), "float32")}
    whole = ImagePreprocessing(layout="nhwc")
    assert shapes(peek("pictures.npz", image=whole, base=folder)) == {
        "x": ((1, 10, 12, 3), "float32")
    }


def test_pictures_have_no_name(folder):
    assert shapes(peek("photos", image=IMAGE, base=folder)) == {"": ((1, 3, 6, 8), "float32")}
    assert peek("photos", base=folder) is None  # their size is the model's


def test_the_first_example_of_a_function(folder):
    found = peek("peeked.py:rows", base=folder)
    assert shapes(found) == {"ids": ((1, 3), "int64"), "mask": ((1, 3), "float32")}


@pytest.mark.parametrize(
    "spec",
    [None, "absent.npz", "absent", "damaged.npz", "objects.npz", "peeked.py:broken",
     "peeked.py:odd", "peeked.py:absent"],
)  # fmt: skip
def test_what_is_wrong_with_the_data_is_told_later(folder, spec):
    assert peek(spec, base=folder) is None
