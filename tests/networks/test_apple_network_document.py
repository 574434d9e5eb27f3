"""The page about networks in Core ML says what the networks of today say."""

from __future__ import annotations

import pytest
from zoo.apple_document import DOCUMENT, document, line
from zoo.apple_figures import AppleFigures, apple_figures_of
from zoo.table import NETWORKS

pytestmark = pytest.mark.slow

#: quick, and with float layers, operations that leave the Neural Engine, and all layers in form
_CHECKED = ("ds_cnn", "lstm_tagger", "minilm")
#: powers of ten of differences, which depend on the machine
_MEASURED = (3, 4)


def cells_of(text: str) -> list[str]:
    return [cell.strip() for cell in text.strip("|").split("|")]


def written() -> dict[str, list[str]]:
    """The cells of each row, by network."""
    rows = [cells_of(text) for text in DOCUMENT.read_text("utf-8").splitlines()]
    return {row[0]: row for row in rows if row[0] in NETWORKS}


def test_every_network_has_a_row() -> None:
    assert sorted(written()) == sorted(NETWORKS)


@pytest.mark.parametrize("name", _CHECKED)
def test_rows_are_as_written(name: str) -> None:
    found, expected = cells_of(line(apple_figures_of(name))), written()[name]
    kept = [k for k in range(len(found)) if k not in _MEASURED]
    assert [found[k] for k in kept] == [expected[k] for k in kept]


def test_equal_rows_give_equal_pages() -> None:
    row = AppleFigures("net", 9, ("gather", "tan"), "iOS17", -5, -2, 3, 4, 1, 1.0, 0.26)
    assert document([row]) == document([row])
    wanted = "| net | 9 | gather, tan | 1e-5 | 1e-2 | 3 of 4 | 1 | 1 | 0.26 | iOS17 |"
    assert wanted in document([row])
