"""Functions of the user's as data."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.data import InputSpec, open_source
from edgewise.errors import DataError, UsageError

X = InputSpec("x", ("n", 2), np.dtype(np.float32))

MODULE = """
import numpy as np
import neighbour_of_feeding

def labelled():
    for i in range(4):
        yield {"x": np.full((1, 2), i, np.float32)}, np.int64(i)

def unlabelled():
    return [{"x": [float(i), 0.0]} for i in range(3)]

def failing():
    yield {"x": np.zeros((1, 2), np.float32)}, 0
    raise RuntimeError("disk on fire")

def empty():
    return []

def wrong():
    yield [1, 2, 3]

def with_nan():
    yield {"x": np.array([1.0, np.nan])}, 0

def misnamed():
    yield {"z": np.zeros(2)}, 0

text = "not a function"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "feeding.py").write_text(MODULE)
    (tmp_path / "neighbour_of_feeding.py").write_text("")
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    modules = __import__("sys").modules
    yield tmp_path
    for name in ("feeding", "neighbour_of_feeding"):
        modules.pop(name, None)


@pytest.mark.parametrize("module", ["feeding", "feeding.py"])
def test_labelled(folder, module):
    source = open_source(f"{module}:labelled", inputs=[X], base=folder, require_labels=True)
    assert [(s.label, s.feeds["x"].tolist()) for s in source] == [(i, [[i, i]]) for i in range(4)]
    assert len(source) == 4
    assert source.labelled


def test_batch_axis_and_type_are_completed(folder):
    source = open_source("feeding:unlabelled", inputs=[X], base=folder)
    (first, *_) = source
    assert first.feeds["x"].shape == (1, 2) and first.feeds["x"].dtype == np.float32
    assert not source.labelled and first.label is None
    with pytest.raises(DataError, match="Yield"):
        open_source("feeding:unlabelled", inputs=[X], base=folder, require_labels=True)


def test_limit_keeps_the_first(folder):
    source = open_source("feeding:labelled", inputs=[X], base=folder, limit=2)
    assert [s.label for s in source] == [0, 1]
    assert len(source) == 2


def test_fingerprint_follows_content(folder):
    def fingerprint(name: str) -> str:
        return open_source(f"feeding:{name}", inputs=[X], base=folder).fingerprint

    assert fingerprint("labelled") == fingerprint("labelled")
    assert fingerprint("labelled") != fingerprint("unlabelled")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("failing", r"RuntimeError: disk on fire \(feeding\.py, line 14\)"),
        ("empty", "yields nothing"),
        ("wrong", "found list"),
        ("with_nan", r"example 0.*'x'.*NaN"),
        ("misnamed", "expected 'x', found 'z'"),
    ],
)
def test_functions_that_misbehave(folder, name, message):
    with pytest.raises(DataError, match=message):
        list(open_source(f"feeding:{name}", inputs=[X], base=folder))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("feeding:absent", "has no 'absent'.*empty, failing"),
        ("feeding:text", "not a function"),
        ("no_such_module:f", "no module 'no_such_module'"),
        ("no_such_file.py:f", "no such file"),
    ],
)
def test_references_that_lead_nowhere(folder, spec, message):
    with pytest.raises(UsageError, match=message):
        open_source(spec, inputs=[X], base=folder)


def test_module_that_fails_or_needs_a_package(folder):
    (folder / "broken_feeding.py").write_text("1 / 0")
    with pytest.raises(DataError, match="ZeroDivisionError"):
        open_source("broken_feeding:f", inputs=[X], base=folder)
    (folder / "needy_feeding.py").write_text("import package_that_is_absent")
    with pytest.raises(UsageError, match=r"Install the package.*package_that_is_absent"):
        open_source("needy_feeding:f", inputs=[X], base=folder)
